"""What the bytecode of a function says: which names it reads, and, where there is no source, what it asks."""

from __future__ import annotations

import dis
import types
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Final, TypeAlias

# A name that is looked up around the function, whether in a cell, and the attributes that are read from it at once.
Read: TypeAlias = tuple[bool, str, tuple[str, ...]]

_GLOBAL: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_CELL: Final = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF"})
_ATTRIBUTE: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_UNKNOWN: Final = frozenset({"IMPORT_NAME", "LOAD_BUILD_CLASS", "LOAD_LOCALS"})
"""Instructions that look names up elsewhere, or in a way of their own."""
_REACHING: Final = frozenset({"fn", "invoke", "submit", "asubmit", "_fn"})
"""By these a definition gives more than a node; names with two underscores lead anywhere."""
_ASKING: Final = frozenset({"type", "isinstance", "issubclass", "callable", "id", "hash", "hasattr"})
_WRITING: Final = frozenset({"repr", "ascii"})
_CONVERTING: Final = frozenset({"CONVERT_VALUE", "FORMAT_VALUE"})
_SKIPPED: Final = frozenset({"CACHE", "PUSH_NULL", "EXTENDED_ARG", "NOP", "NOT_TAKEN", "PRECALL", "RESUME", "TO_BOOL"})
"""Instructions between two that belong together; which of them there are depends on Python's version."""


@lru_cache(maxsize=512)
def reads(code: types.CodeType) -> tuple[Read, ...] | None:
    """Return what a function with this code reads; None if the code does not say."""
    found = dict.fromkeys(_within(code, frozenset(code.co_freevars)))
    return None if None in found else tuple(each for each in found if each is not None)


def _within(code: types.CodeType, free: frozenset[str]) -> Iterator[Read | None]:
    steps = _instructions(code)
    for at, step in enumerate(steps):
        if step.opname in _UNKNOWN or (step.opname in _ATTRIBUTE and _reaches_out(step.argval)):
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


def questions(code: types.CodeType, parameters: Collection[str]) -> Iterator[tuple[str, int]]:
    """Yield each parameter that is asked for its identity, type or text, and the line; not one that is assigned."""
    steps = _instructions(code)
    stored = {each.argval for each in steps if each.opname.startswith(("STORE_", "DELETE_"))}
    names = [_loaded(each) for each in steps]
    is_shown = "print" in code.co_names  # its text may go nowhere else
    line = code.co_firstlineno
    for at, step in enumerate(steps):
        line = _line_of(step) or line
        found = _asked(steps, names, at, is_shown)
        if found in parameters and found not in stored:
            yield found, line
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from questions(constant, {name for name in constant.co_freevars if name in parameters} - stored)


def _asked(steps: list[dis.Instruction], names: list[str], at: int, is_shown: bool) -> str:
    """Return the variable that an instruction asks, "" for none."""
    name, step = steps[at].opname, steps[at]
    before = names[at - 1] if at else ""
    if "IF_NONE" in name or "IF_NOT_NONE" in name or name == "IS_OP":
        return before or (names[at - 2] if name == "IS_OP" and at > 1 else "")
    if name in _CONVERTING:
        return before if not is_shown and any(each in step.argrepr for each in _WRITING) else ""
    asking = _ASKING if is_shown else _ASKING | _WRITING
    is_call = at > 0 and steps[at - 1].opname == "LOAD_GLOBAL" and steps[at - 1].argval in asking
    return names[at] if is_call else ""


def _loaded(step: dis.Instruction) -> str:
    if not step.opname.startswith(("LOAD_FAST", "LOAD_DEREF")):
        return ""
    return str(step.argval[-1] if isinstance(step.argval, tuple) else step.argval)


def _line_of(step: dis.Instruction) -> int | None:
    found = getattr(step, "line_number", None) or step.starts_line
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _instructions(code: types.CodeType) -> list[dis.Instruction]:
    return [each for each in dis.get_instructions(code) if each.opname not in _SKIPPED]
