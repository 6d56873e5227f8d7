"""Texts of values, which are masked in what others are shown; where they are not all known, nothing is shown."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from struct import calcsize
from types import MappingProxyType, MemberDescriptorType
from typing import Any, Final
from uuid import UUID

from dagcelery.text import HIDDEN

_MOST_VALUES: Final = 10_000

_MOST_CHARACTERS: Final = 1_000_000

_SIZED: Final = (str, bytes, bytearray, list, tuple, set, frozenset, dict)

_BUILTIN: Final = (*_SIZED, bool, type(None), int, float)

_SAID_BY_STR: Final = (Decimal, Fraction, complex, UUID, date, time, timedelta, PurePath)

_POINTER: Final = calcsize("P")


class _Unknown(Exception):
    """There may be texts that are not known."""


def masking(values: object) -> Callable[[str], str | None]:
    """Return what masks values in a text, those within others too, short ones as whole words only.

    It returns None if the text might still say some of them: one is of a class whose content cannot be seen, or there
    is too much to look at.
    """
    try:
        texts = _texts(values)
    except Exception:  # also what methods of users' classes raise
        return lambda text: None

    def mask(text: str) -> str | None:
        if len(text) > _MOST_CHARACTERS:
            return None
        words = (
            re.escape(each) if len(each) > 3 else rf"(?<!\w){re.escape(each)}(?!\w)"
            for each in sorted(texts, key=len, reverse=True)
            if each in text  # thousands of alternatives would be tried at each character
        )
        return re.sub("|".join(words) or r"(?!)", HIDDEN, text)

    return mask


def _texts(values: object) -> set[str]:
    texts, waiting, objects = set[str](), [values], list[object]()
    seen = dict[int, object]()  # it keeps them, so that nothing else gets their ids
    characters = 0
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        said, parts = _told(value)
        if type(value) not in _BUILTIN:
            parts += _fields(value)
            if said is None:
                objects.append(value)
        waiting += parts
        texts.update(said or ())
        characters += sum(map(len, said or ()))
        if len(seen) + len(waiting) > _MOST_VALUES or characters > _MOST_CHARACTERS:
            raise _Unknown
    # Last, since it may be slow: of an object that holds what cannot be seen, it need not be asked.
    for each in objects:
        texts |= {*_lines(str(each)), *_lines(repr(each))}
        characters += len(str(each)) + len(repr(each))
        if characters > _MOST_CHARACTERS:
            raise _Unknown
    return texts - {""}


def _told(value: Any) -> tuple[list[str] | None, list[object]]:
    """Return the texts of a value, None for an object that says itself, and the values in it but for its fields."""
    if isinstance(value, _SIZED) and len(value) > _MOST_CHARACTERS:
        raise _Unknown
    match value:
        case Enum():
            return [str(value), repr(value), value.name], [value.value]
        case str():
            return [*_lines(str.__str__(value))], []
        case bytes() | bytearray() | memoryview():
            data = bytes(value)
            lines = [repr(line)[2:-1] for line in data.splitlines()]
            return [repr(data)[2:-1], *lines, *_lines(data.decode(errors="replace"))], []
        case bool() | None:
            return [], []
        case int():
            return [int.__repr__(value)], []
        case float():
            return [float.__repr__(value)], []
        case dict() | MappingProxyType():
            return [], [*value.keys(), *value.values()]
        case list() | tuple() | set() | frozenset() | deque():
            return [], [*value]
    if isinstance(value, _SAID_BY_STR):
        return [str(value), repr(value), *([value.hex] if isinstance(value, UUID) else ())], []
    if not _is_all_fields(type(value)):
        raise _Unknown
    return None, [*value.keys(), *value.values()] if isinstance(value, Mapping) else []


def _lines(text: str) -> Iterator[str]:
    """Yield a text and each line of it, as they are and as they look within quotes."""
    for each in (text, *(line.strip() for line in text.splitlines())):
        yield each
        yield repr(each)[1:-1]


def _slots(kind: type) -> list[MemberDescriptorType]:
    return [
        each
        for base in kind.__mro__
        for name, each in vars(base).items()
        if isinstance(each, MemberDescriptorType) and name != "__dict__"
    ]


def _fields(value: object) -> Iterator[object]:
    """Yield the attributes of an object that are its own."""
    for name, each in vars(value).items() if hasattr(value, "__dict__") else ():
        if not (isinstance(value, Enum) and name.startswith("_")):  # the enum's own, its class for one
            yield each
    for slot in _slots(type(value)):
        with suppress(AttributeError):  # it is not set
            yield slot.__get__(value)


def _is_all_fields(kind: type) -> bool:
    """Return whether its objects hold nothing but attributes, as those do whose classes are written in Python."""
    own = len(_slots(kind)) + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    return kind.__basicsize__ == object.__basicsize__ + own * _POINTER
