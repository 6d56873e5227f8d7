"""Values as they are shown to people: bounded, and never an error of their own."""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Mapping
from typing import Any, Final

# -- any value ----------------------------------------------------------------------------------
_MOST_CHARACTERS: Final = 200
_MOST_ITEMS: Final = 20
_MOST_LEVELS: Final = 6
_MOST_BITS: Final = 4000
"""Of longer ints Python may refuse to write the digits, and nobody reads them."""


def shown(value: object, most: int = _MOST_CHARACTERS) -> str:
    """Return the repr of `value`, cut at `most` characters; what has none is named by its class.

    An error, a name or a log line is about something else than its text: the repr of a user's object may raise, be
    of any size, or never end.
    """
    text = _SHOWN.repr1(value, _MOST_LEVELS)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def word(value: object) -> str:
    """Return a str as it is, and anything else as it is shown."""
    return value if isinstance(value, str) else shown(value)


class _Shown(reprlib.Repr):
    """Python's own, which chooses by the name of a class, sorts dicts, and lets an int's refusal pass."""

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

    def repr_dict(self, x: Mapping[Any, Any], level: int) -> str:
        if not x or level <= 0:
            return "{...}" if x else "{}"
        first = itertools.islice(x.items(), _MOST_ITEMS)
        pairs = [f"{self.repr1(key, level - 1)}: {self.repr1(item, level - 1)}" for key, item in first]
        return f"{{{', '.join([*pairs, '...'] if len(x) > _MOST_ITEMS else pairs)}}}"

    def repr_instance(self, x: Any, level: int) -> str:
        try:
            text = repr(x)
        except Exception:  # a broken __repr__ must not hide what is to be said
            return f"<{type(x).__qualname__}>"
        return text if isinstance(text, str) and len(text) <= self.maxstring else f"{text[: self.maxstring]}..."


def digits(value: int) -> int:
    """Return about how many digits an int has, without writing them."""
    return int(value.bit_length() * 0.30103) + 1


_OWN: Final[Mapping[type, Any]] = {
    int: _Shown.repr_int,
    str: _Shown.repr_str,
    list: _Shown.repr_list,
    tuple: _Shown.repr_tuple,
    dict: _Shown.repr_dict,
    set: _Shown.repr_set,
    frozenset: _Shown.repr_frozenset,
}
_SHOWN: Final = _Shown()
