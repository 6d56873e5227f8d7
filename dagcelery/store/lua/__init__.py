"""The verbs as Lua: a file for each, run behind the parts that it uses, by a server or by the host in this process."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

_PARTS = {
    **dict.fromkeys(("finish", "fail"), ("prelude", "claims", "skipping", "committing")),
    **dict.fromkeys(("clear", "sweep"), ("prelude", "claims", "skipping")),
    **dict.fromkeys(("claim", "delegate", "release", "refuse", "resume", "block", "unblock"), ("prelude", "claims")),
    **dict.fromkeys(("look", "enroll", "heartbeat", "reserve", "limit", "cache_set", "cache_delete"), ()),
}
"""The parts in front of a verb; for the others it is the prelude alone."""


@cache
def source(verb: str) -> str:
    """Return the script of a verb."""
    return "".join((files(__name__) / f"{part}.lua").read_text() for part in (*_PARTS.get(verb, ("prelude",)), verb))


@cache
def sha1_of(verb: str) -> str:
    """Return the SHA1 of a verb's script, by which a server knows it."""
    return hashlib.sha1(source(verb).encode(), usedforsecurity=False).hexdigest()
