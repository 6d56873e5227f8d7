"""Which names of its surroundings a function's code reads, in all the functions that are written within it."""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, TypeAlias

# A name that is looked up around the function, whether in a cell, and the attributes that are read from it at once.
Read: TypeAlias = tuple[bool, str, tuple[str, ...]]

_GLOBAL: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_CELL: Final = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF"})
_ATTRIBUTE: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_UNTOLD: Final = frozenset({"IMPORT_NAME", "LOAD_BUILD_CLASS", "LOAD_LOCALS"})
"""What comes from elsewhere than the names around, or looks names up in a way of its own."""
_REACHING: Final = frozenset({"fn", "invoke", "submit", "asubmit", "_fn"})
"""By these a definition gives more than a node, and by names of Python's own everything can be reached."""
_NOTHING: Final = frozenset({"CACHE", "PUSH_NULL", "EXTENDED_ARG", "NOP", "NOT_TAKEN"})


@lru_cache(maxsize=512)
def reads(code: types.CodeType) -> tuple[Read, ...] | None:
    """Return what a function with this code reads; None if that cannot be told from the code."""
    found = dict.fromkeys(_within(code, frozenset(code.co_freevars)))
    return None if None in found else tuple(each for each in found if each is not None)


def _within(code: types.CodeType, free: frozenset[str]) -> Iterator[Read | None]:
    steps = [each for each in dis.get_instructions(code) if each.opname not in _NOTHING]
    for at, step in enumerate(steps):
        if step.opname in _UNTOLD or (step.opname in _ATTRIBUTE and _reaches_out(step.argval)):
            yield None
        elif step.opname in _GLOBAL or (step.opname in _CELL and step.argval in free):
            yield step.opname in _CELL, step.argval, tuple(_attributes(steps, at + 1))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            # A variable of a function in between may have the name of one that lies further out.
            yield from _within(constant, free.intersection(constant.co_freevars).difference(code.co_cellvars))


def _attributes(steps: list[dis.Instruction], at: int) -> Iterator[str]:
    while at < len(steps) and steps[at].opname in _ATTRIBUTE:
        yield steps[at].argval
        at += 1


def _reaches_out(attribute: str) -> bool:
    return attribute in _REACHING or attribute.startswith("__")
