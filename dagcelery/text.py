"""Text for people, used by all rooms: values as they are shown, secrets masked in addresses, names that were meant."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import re
import reprlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import Enum
from numbers import Number
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final

# -- any value ----------------------------------------------------------------------------------
_MOST_CHARACTERS: Final = 200

_MOST_ITEMS: Final = 20

_MOST_LEVELS: Final = 6

_MOST_VALUES: Final = 500

_MOST_BITS: Final = 4000
"""Python may refuse to write longer ints, and their digits are useless."""


def shown(value: object, most: int = _MOST_CHARACTERS) -> str:
    """Return the repr of `value`, cut at `most` characters; an object whose repr fails is named by its class.

    The repr of a user's object may raise, be of any size, or never end; an error or a log line must not.
    """
    text = _SHOWN.repr1(value, _MOST_LEVELS)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def short(value: object) -> str:
    """Return `value` as an error shows it, cut at 60 characters."""
    return shown(value, 60)


def one_line(text: str, most: int = _MOST_CHARACTERS) -> str:
    """Return a text on one line, without what cannot be seen, cut at `most` characters."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def word(value: object) -> str:
    """Return a str as it is, and any other value as `shown`."""
    return value if isinstance(value, str) else shown(value)


def brief(value: object, most: int = _MOST_CHARACTERS) -> str:
    """Return the repr of `value` in one line of at most so many characters, with the secrets of URLs masked.

    It takes no longer for a large value: an object whose repr may be large, or ask a database, is named by its class.
    """
    text = _Brief().repr1(value, _MOST_LEVELS)[: 4 * _MOST_CHARACTERS]
    return one_line(_URL.sub(lambda url: masked(url[0]), text), most)


_URL: Final = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>]+")


class _Shown(reprlib.Repr):
    """Python's `Repr`, but it chooses by class instead of its name, does not sort dicts, and shows ints of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = _MOST_ITEMS
        self.maxstring = 4 * _MOST_CHARACTERS

    def repr1(self, x: Any, level: int) -> str:
        own = _OWN.get(type(x))
        return own(self, x, level) if own is not None else self.repr_instance(x, level)

    def repr_int(self, x: int, level: int) -> str:
        if x.bit_length() <= _MOST_BITS:
            return repr(x)
        return f"<{'negative ' if x < 0 else ''}int of about {digits(x):,} digits>"

    def repr_bytes(self, x: bytes | bytearray, level: int) -> str:
        return repr(x) if len(x) <= self.maxstring else f"{x[: self.maxstring]!r}..."

    def repr_dict(self, x: Mapping[Any, Any], level: int) -> str:
        if not x or level <= 0:
            return "{...}" if x else "{}"
        first = itertools.islice(x.items(), _MOST_ITEMS)
        pairs = [f"{self.repr1(key, level - 1)}: {self.repr1(item, level - 1)}" for key, item in first]
        return f"{{{', '.join([*pairs, '...'] if len(x) > _MOST_ITEMS else pairs)}}}"

    def repr_instance(self, x: Any, level: int) -> str:
        try:
            text = repr(x)
        except Exception:  # a broken __repr__ must not hide the message
            return f"<{type(x).__qualname__}>"
        return text if isinstance(text, str) and len(text) <= self.maxstring else f"{text[: self.maxstring]}..."


class _Brief(_Shown):
    """Shows one value, of which it looks at a part whose size is bounded."""

    def __init__(self) -> None:
        super().__init__()
        self._left = _MOST_VALUES

    def repr1(self, x: Any, level: int) -> str:
        self._left -= 1
        return super().repr1(x, level) if self._left >= 0 else "..."

    def repr_instance(self, x: Any, level: int) -> str:
        kind = type(x)
        if isinstance(x, _SMALL) or kind.__module__.partition(".")[0] in _SMALL_IN:
            return super().repr_instance(x, level)
        if _is_plain_dataclass(kind):
            if level <= 0:
                return f"{kind.__qualname__}(...)"
            with suppress(Exception):  # an attribute is missing, or computed
                names = [each.name for each in dataclasses.fields(x) if each.repr][: _MOST_ITEMS + 1]
                parts = [f"{name}={self.repr1(getattr(x, name), level - 1)}" for name in names[:_MOST_ITEMS]]
                return f"{kind.__qualname__}({', '.join([*parts, *['...'][: len(names) - _MOST_ITEMS]])})"
        return f"<{kind.__qualname__}>"


def _is_plain_dataclass(kind: Any) -> bool:
    """Return whether the repr of a class is the one that `dataclass` wrote."""
    code = getattr(getattr(kind.__repr__, "__wrapped__", None), "__code__", None)
    return dataclasses.is_dataclass(kind) and code is not None and code.co_filename == "<string>"


def type_name(value: object) -> str:
    """Return the name of the type of `value`, with its module unless it is Python's own."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def digits(value: int) -> int:
    """Return the approximate number of digits of an int, without writing them."""
    return int(value.bit_length() * 0.30103) + 1


_SMALL: Final = (Number, Enum, range, type, FunctionType, BuiltinFunctionType, type(None), type(...))

_SMALL_IN: Final = frozenset({"dagcelery", "datetime", "fractions", "ipaddress", "pathlib", "uuid", "zoneinfo"})
"""Modules whose objects have small reprs."""

_OWN: Final[Mapping[type, Any]] = {
    int: _Shown.repr_int,
    str: _Shown.repr_str,
    bytes: _Shown.repr_bytes,
    bytearray: _Shown.repr_bytes,
    list: _Shown.repr_list,
    tuple: _Shown.repr_tuple,
    dict: _Shown.repr_dict,
    set: _Shown.repr_set,
    frozenset: _Shown.repr_frozenset,
}

_SHOWN: Final = _Shown()


# -- what UTF-8 cannot hold -------------------------------------------------------------------------
SURROGATE: Final = "is a str with a lone surrogate, which UTF-8 cannot hold"
CLEAN: Final = 'clean it with text.encode("utf-8", "replace").decode()'


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can hold `text`: it has no lone surrogate."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return True


# -- secrets in addresses ------------------------------------------------------------------------
HIDDEN: Final = "***"
"""Stands for what is not shown."""

_NEXT_URL: Final = re.compile(r"[;,](?=[\w+.-]+://)")

_PAIR: Final = re.compile(r"(?<=[?&;])([^=&;?]*)=([^&]*)")

_SECRET: Final = re.compile(r"pass(word|wd|phrase|code)?$|passw|pwd|secret|token|credential|signature|sig$|auth$|key$")
"""A part or the end of names of options whose values are secrets; letters only."""

_PORT: Final = re.compile(r"\d*$|\d+,")


def masked(urls: str, *, hides_query: bool = False) -> str:
    """Return a URL, or a list of URLs, with its secrets masked, fit for logs and errors.

    With `hides_query`, all options are masked: any of them may be secret.
    """
    parts = _NEXT_URL.split(urls)
    separators = [*_NEXT_URL.findall(urls), ""]
    return "".join(_one(url, hides_query) + end for url, end in zip(parts, separators, strict=True))


def _one(url: str, hides_query: bool) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _PAIR.sub(_pair, url)
    # An unescaped password may contain @, slashes and question marks: it ends at the last @, except for those in
    # options, so these are masked first.
    hidden = _PAIR.sub(_pair, rest)
    user, at, place = hidden.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        hidden = f"{name}{colon}{HIDDEN if colon else ''}@{place}"
    elif not _is_place(rest):
        hidden = f"{rest.partition(':')[0]}:{HIDDEN}"  # a password with ? before its @
    if hides_query and "?" in hidden:
        hidden = hidden.partition("?")[0] + "?" + HIDDEN
    return f"{scheme}://{hidden}"


def _is_place(rest: str) -> bool:
    """Return whether the text after a scheme begins with hosts, whose ports, if any, are numbers."""
    host, colon, port = re.split(r"[/?#]", rest, maxsplit=1)[0].partition(":")
    return not colon or host.startswith("[") or _PORT.match(port) is not None


def _pair(match: re.Match[str]) -> str:
    from urllib.parse import unquote  # here, since it is rarely needed and slow to import

    name, value = match.groups()
    if _SECRET.search(re.sub(r"[^a-z]", "", unquote(name).lower())):
        return f"{name}={HIDDEN}"
    return f"{name}={_PAIR.sub(_pair, value)}"


# -- names that were meant ----------------------------------------------------------------------
def nearest(name: object, candidates: Iterable[str]) -> str:
    """Return "did you mean ...?" with the candidates nearest to a name, "" if none is near."""
    import difflib  # here, since only mistakes need it

    near = difflib.get_close_matches(word(name), list(candidates), n=3)
    return f"did you mean {listed(near, 'or')}?" if near else ""


def choices(name: object, candidates: Iterable[str]) -> str:
    """Return a remedy for a name that does not exist: the nearest candidates, or else all of them."""
    names = sorted(candidates)
    if near := nearest(name, names):
        return near
    return f"there {'is' if len(names) == 1 else 'are'} {listed(names)}" if names else "there are none"


def listed(names: Iterable[str], last: str = "and", most: int = 12) -> str:
    """Return names as a list in a sentence, at most `most` of them."""
    quoted = [shown(name) for name in names]
    if len(quoted) > most:
        quoted = [*quoted[:most], f"{len(quoted) - most} more"]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"


_PLAIN: Final = (str, bytes, int, float, bool, tuple, frozenset, type(None))


def constructor_repr(value: object) -> str:
    """Return the constructor call that makes a value, without arguments that equal their defaults."""
    return f"{type(value).__name__}({', '.join(constructor_arguments(value))})"


def constructor_arguments(value: object) -> list[str]:
    """Return the arguments in `constructor_repr`."""
    kind: Any = type(value)
    arguments = [(name, getattr(value, name, default), default) for name, default in _defaults(kind).items()]
    changed = [(name, argument) for name, argument, default in arguments if not _is_default(argument, default)]
    return [f"{name}={_repr(each)}" for name, each in changed if name != "options" or constructor_arguments(each)]


def _repr(value: object) -> str:
    """Return the repr of an argument; a function is named, without its address in memory."""
    if isinstance(value, FunctionType):
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, functools.partial):
        given = [*map(_repr, value.args), *(f"{name}={_repr(each)}" for name, each in value.keywords.items())]
        return f"partial({', '.join([_repr(value.func), *given])})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name!r}: {_repr(inner)}' for name, inner in value.items())}}}"
    return repr(value)


@functools.cache
def _defaults(kind: type) -> dict[str, Any]:
    return {each.name: each.default for each in inspect.signature(kind).parameters.values()}


def _is_default(value: object, default: object) -> bool:
    # Objects of users' classes are compared by identity: their __eq__ may return anything, or raise.
    if value is default or (isinstance(value, Mapping | frozenset) and not value):
        return True
    return type(value) is type(default) and isinstance(value, _PLAIN) and value == default
