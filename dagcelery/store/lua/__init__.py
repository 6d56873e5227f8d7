"""The verbs as Lua: a file for each, run behind the parts that it uses, by a server or by the host in this process."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files

_PARTS = {
    **dict.fromkeys(("finish", "fail"), ("prelude", "claims beside", "skipping", "logs", "committing")),
    "delegate": ("prelude", "claims beside", "logs"),
    "claim": ("prelude", "claims beside"),
    **dict.fromkeys(("clear", "sweep"), ("prelude", "claims", "skipping")),
    **dict.fromkeys(("release", "refuse", "resume"), ("prelude", "claims")),
    **dict.fromkeys(("block", "unblock", "wake_ups"), ("prelude", "claims")),
    **dict.fromkeys(("look", "enroll", "heartbeat", "count", "reserve", "limit"), ()),
    **dict.fromkeys(("cache_set", "cache_delete", "probe"), ()),
}
"""The parts in front of a verb, two of them as one; for the others it is the prelude alone."""

_SECTION = re.compile(r"^(?=-- [a-z ]+ -{20,}$)", re.MULTILINE)


@cache
def source(verb: str) -> str:
    """Return the script of a verb.

    Each part, and each section of the prelude, stands within a function that the one before it calls: there, what it
    uses of those before is found at once, while within one function Lua looks for each such name among all others, each
    time that a script is run. A function may use 60 names of those around it, so the claims are not divided as well.
    """
    *parts, text = map(_read, (*_PARTS.get(verb, ("prelude",)), verb))
    prelude, *others = parts or ("",)
    for section in reversed([*_SECTION.split(prelude), *others]):
        text = f"{section}return (function()\n{text}end)()\n"
    return text


def _read(names: str) -> str:
    return "".join((files(__name__) / f"{name}.lua").read_text() for name in names.split())


@cache
def sha1_of(verb: str) -> str:
    """Return the SHA1 of a verb's script, by which a server knows it."""
    return hashlib.sha1(source(verb).encode(), usedforsecurity=False).hexdigest()
