"""Questions about a parameter in code whose source is not there, such as that of a cell typed into an interpreter."""

from __future__ import annotations

import dis
import types
from collections.abc import Collection, Iterator
from typing import Final

_ASKING: Final = frozenset({"type", "isinstance", "issubclass", "callable", "id", "hash", "hasattr"})
_WRITING: Final = frozenset({"repr", "ascii"})
_TOLD: Final = frozenset({"CACHE", "PUSH_NULL", "EXTENDED_ARG", "NOP", "NOT_TAKEN", "PRECALL", "RESUME", "TO_BOOL"})
_CONVERTING: Final = frozenset({"CONVERT_VALUE", "FORMAT_VALUE"})


def questions(code: types.CodeType, parameters: Collection[str]) -> Iterator[tuple[str, int]]:
    """Yield a parameter that is asked for its identity, type or text, and the line; of those that never change."""
    steps = [each for each in dis.get_instructions(code) if each.opname not in _TOLD]
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
