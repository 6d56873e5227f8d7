"""Functions whose results tell everything of their arguments: types, the sign of a zero, the order of keys."""

from __future__ import annotations

import hashlib
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, NamedTuple


class Color(Enum):
    RED = 1
    BLUE = True + 1


class Level(IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: Any
    y: Any


class Text(str):
    """A str of another class."""


class Whole(int):
    """An int of another class."""


class Box:
    """What holds a value, and equals every box."""

    def __init__(self, v: Any) -> None:
        self.v = v

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box)

    def __hash__(self) -> int:
        return 1

    def __repr__(self) -> str:
        return told(self)


class Slot:
    """What holds a value in a slot."""

    __slots__ = ("v",)

    def __init__(self, v: Any) -> None:
        self.v = v

    def __repr__(self) -> str:
        return told(self)


@dataclass
class Mark:
    """What equals others of its kind although `v` differs."""

    name: str = ""
    v: Any = field(default=None, compare=False)


def told(value: Any, above: tuple[int, ...] = ()) -> str:
    """Return a text that differs for any two values that differ in anything; `above` are containers that it lies in."""
    kind, inner = type(value), lambda each: told(each, (*above, id(value)))
    if id(value) in above:
        return "what it lies in"
    match value:
        case float():
            return f"{kind.__name__} {value.hex()}"
        case complex():
            return f"complex({told(value.real)}, {told(value.imag)})"
        case bool() | Enum() | None:
            return repr(value)
        case int():  # Python refuses the decimal digits of long ones
            return f"{kind.__name__} {value:#x}" if value.bit_length() < 999 else f"{value.bit_length()} {hash(value)}"
        case dict():
            return f"{kind.__name__}{{{', '.join(f'{inner(key)}: {inner(item)}' for key, item in value.items())}}}"
        case set() | frozenset():
            return f"{kind.__name__}({', '.join(sorted(map(inner, value)))})"
        case list() | tuple() | deque():
            return f"{kind.__name__}[{', '.join(map(inner, value))}]"
        case Box() | Slot() | Mark():
            return f"{kind.__name__}<{inner(value.v)}>"
        case types.FunctionType():
            return "a function"
        case str():  # its length says where it ends, so that no quotes are needed, and quotes of quotes
            return f"{kind.__name__} {len(value)} {value.encode('ascii', 'backslashreplace').decode()}"
    return f"{kind.__name__} {value!r}"


def short(text: str) -> str:
    """Return a text, or the beginning of one that is long, and what tells it from others."""
    return text if len(text) < 500 else f"{text[:300]}... {hashlib.sha1(text.encode()).hexdigest()}"


def seen(x: Any, y: Any = None) -> str:
    """What it was given."""
    return short(told([x, y]))


def seen_of(**given: Any) -> str:
    """What it was given by name."""
    return short(told(dict(sorted(given.items()))))


def keep(x: Any) -> Any:
    """Its argument."""
    return x


def listed(x: Any) -> list[Any]:
    """Three elements that are equal for Python, or few that are not."""
    return [x, [1, True, 0.0][len(told(x)) % 3], x][: len(told(x)) % 4]


def total(xs: list[Any]) -> str:
    """All elements, of a list."""
    return short(told(list(xs)))


def lazy_total(xs: Iterable[Any]) -> str:
    """All elements, of a list that need not be one."""
    return short(told(list(xs)))


def push(x: Any, y: Any = None) -> Any:
    """Change the argument, and give it back."""
    if isinstance(x, list):
        x.append(y)
    elif isinstance(x, dict):
        x["pushed"] = y
    elif isinstance(x, Box | Slot | Mark):
        x.v = [x.v, y]
    return x


_BUFFER: list[Any] = []


def reuse(x: Any) -> list[Any]:
    """The same list each time, with other contents."""
    _BUFFER[:] = [x]
    return _BUFFER


def apply(f: Callable[..., Any], x: Any) -> Any:
    """What a function gives."""
    return f(x)


def pair(*values: Any, **named: Any) -> tuple[Any, ...]:
    """All that it was given."""
    return (*values, *named.items())


FUNCTIONS = (seen, seen_of, keep, listed, total, lazy_total, push, reuse, apply)
"""What becomes tasks."""

VALUES: dict[str, Any] = {
    each.__name__: each
    for each in (Color, Level, Point, Text, Whole, Box, Slot, Mark, OrderedDict, defaultdict, deque, pair)
}
"""What literals are made of."""
