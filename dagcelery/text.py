"""The ground floor of words: secrets are hidden in what is shown, and a name that does not exist gets the nearest ones.

Everybody may import this, as `errors`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

_HIDDEN: Final = "***"
_NEXT_URL: Final = re.compile(r"[;,](?=[\w+.-]+://)")
_PAIR: Final = re.compile(r"(?<=[?&;])([^=&;?]*)=([^&]*)")
_SECRET: Final = re.compile(r"pass(word|wd|phrase|code)?$|passw|pwd|secret|token|credential|signature|sig$|auth$|key$")
"""What the names of options end with, or have in them, whose values are secrets; letters only."""
_PORT: Final = re.compile(r"\d*$|\d+,")


def masked(urls: str, *, hides_query: bool = False) -> str:
    """Return a URL, or a list of some, with the secrets hidden, fit for logs and errors.

    `hides_query` is for addresses of which nobody knows all the options that may be secret.
    """
    parts = _NEXT_URL.split(urls)
    separators = [found[0] for found in _NEXT_URL.finditer(urls)] + [""]
    return "".join(_one(url, hides_query) + end for url, end in zip(parts, separators, strict=True))


def _one(url: str, hides_query: bool) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _PAIR.sub(_pair, url)
    # A password that nobody escaped may hold anything, an @, a slash or a question mark itself: it ends at the last @.
    # Those of the options must not count as such, so they are hidden before.
    shown = _PAIR.sub(_pair, rest)
    user, at, place = shown.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        shown = f"{name}{colon}{_HIDDEN if colon else ''}@{place}"
    elif not _is_place(rest):
        shown = f"{rest.partition(':')[0]}:{_HIDDEN}"  # a password with a ?, whose @ is in what looks like an option
    if hides_query and "?" in shown:
        shown = shown.partition("?")[0] + "?" + _HIDDEN
    return f"{scheme}://{shown}"


def _is_place(rest: str) -> bool:
    """Whether what follows a scheme begins with hosts, with numbers for ports, if any."""
    host, colon, port = re.split(r"[/?#]", rest, maxsplit=1)[0].partition(":")
    return not colon or host.startswith("[") or _PORT.match(port) is not None


def _pair(found: re.Match[str]) -> str:
    name, value = found.groups()
    if _SECRET.search(re.sub(r"[^a-z]", "", unquote(name).lower())):
        return f"{name}={_HIDDEN}"
    return f"{name}={_PAIR.sub(_pair, value)}"


def nearest(wrong: object, known: Iterable[str]) -> str:
    """Return the question whether one of the known names was meant, "" if none is near."""
    near = difflib.get_close_matches(str(wrong), list(known), n=3)
    return f"did you mean {listed(near, 'or')}?" if near else ""


def choices(wrong: object, known: Iterable[str]) -> str:
    """Return a remedy for a name that does not exist: the nearest ones, else all that there are."""
    names = sorted(known)
    if near := nearest(wrong, names):
        return near
    return f"there {'is' if len(names) == 1 else 'are'} {listed(names)}" if names else "there are none"


def listed(names: Iterable[str], last: str = "and", most: int = 12) -> str:
    """Return names as a list in prose, at most `most` of them."""
    quoted = [repr(name) for name in names]
    if len(quoted) > most:
        quoted = [*quoted[:most], f"{len(quoted) - most} more"]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"
