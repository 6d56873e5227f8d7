"""The verbs as Lua: one file a verb, run behind the parts that it uses, by a server or by the host in this process."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

_OF_CLAIMS = ("claim", "delegate", "release", "resume", "clear", "sweep", "block", "unblock")
_PARTS = {
    **dict.fromkeys(("finish", "fail"), ("prelude", "claims", "committing")),
    **dict.fromkeys(_OF_CLAIMS, ("prelude", "claims")),
    **dict.fromkeys(("look", "reserve", "limit", "cache_set", "cache_delete"), ()),
}
"""The parts in front of a verb; of the others it is the prelude alone."""


@cache
def source(verb: str) -> str:
    """The script of a verb."""
    folder = files("dagcelery.store") / "lua"
    return "".join((folder / f"{name}.lua").read_text() for name in (*_PARTS.get(verb, ("prelude",)), verb))


@cache
def sha1_of(verb: str) -> str:
    """The SHA1 of a verb's script, by which a server knows it."""
    return hashlib.sha1(source(verb).encode(), usedforsecurity=False).hexdigest()
