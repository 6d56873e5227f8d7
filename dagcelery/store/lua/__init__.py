"""The verbs as Lua: a file for each, run behind the parts that it uses, by a server or by the host in this process."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

_PARTS = {
    **dict.fromkeys(("finish", "fail"), ("prelude", "claims", "skipping", "logs", "committing")),
    "delegate": ("prelude", "claims", "logs"),
    **dict.fromkeys(("clear", "sweep"), ("prelude", "claims", "skipping")),
    **dict.fromkeys(("claim", "release", "refuse", "resume"), ("prelude", "claims")),
    **dict.fromkeys(("block", "unblock", "wake_ups"), ("prelude", "claims")),
    **dict.fromkeys(("look", "enroll", "heartbeat", "reserve", "limit", "cache_set", "cache_delete"), ()),
}
"""The parts in front of a verb; for the others it is the prelude alone."""


@cache
def source(verb: str) -> str:
    """Return the script of a verb.

    Each part stands within a function that the part before it calls: there, what it uses of those before is found at
    once, while within one function Lua looks for each such name among all others, each time that a script is run.
    """
    *parts, text = ((files(__name__) / f"{part}.lua").read_text() for part in (*_PARTS.get(verb, ("prelude",)), verb))
    for part in reversed(parts):
        text = f"{part}return (function()\n{text}end)()\n"
    return text


@cache
def sha1_of(verb: str) -> str:
    """Return the SHA1 of a verb's script, by which a server knows it."""
    return hashlib.sha1(source(verb).encode(), usedforsecurity=False).hexdigest()
