"""What a function was written as: its syntax tree where the source is there, and else its bytecode.

A tree is used only if it still is what the function was made of. What may change a list or a variable elsewhere than
where it is followed is looked for here too: then nothing is claimed of it.
"""

from __future__ import annotations
import __future__

import ast
import dis
import linecache
import types
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Final, TypeAlias

from dagcelery.signatures import parsed

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

_Place: TypeAlias = tuple[int, str]
_Extent: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

_FUTURES: Final = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})


@lru_cache(maxsize=256)
def function_node(code: types.CodeType) -> FunctionNode | None:
    """Return the node of a function with this code; None without a source, and if that has changed meanwhile."""
    text = "".join(linecache.getlines(code.co_filename))
    module = _module(text, code.co_flags & _FUTURES) if text else None
    if module is None:
        return None
    place = code.co_firstlineno, code.co_name
    functions, codes = module[0].get(place, []), module[1].get(place, [])
    if len(functions) > 1 and (extent := _extent(code)):  # lambdas on one line
        functions = [each for each in functions if isinstance(each, ast.Lambda) and _extent_of(each.body) == extent]
        codes = [each for each in codes if _extent(each) == extent]
    if len(functions) != 1 or len(codes) != 1 or _parts_of(codes[0]) != _parts_of(code):
        return None
    return functions[0]


def parameters_of(parameters: ast.arguments) -> Iterator[ast.arg]:
    """Yield all parameters, ``*args`` and ``**kwargs`` among them."""
    yield from (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs)
    yield from (each for each in (parameters.vararg, parameters.kwarg) if each is not None)


@lru_cache(maxsize=256)
def is_generator(node: FunctionNode) -> bool:
    """Whether a function yields; functions within it may do so for themselves."""
    return any(map(_yields, ast.iter_child_nodes(node)))


def _yields(node: ast.AST) -> bool:
    if isinstance(node, _FUNCTIONS):
        return False
    return isinstance(node, ast.Yield | ast.YieldFrom) or any(map(_yields, ast.iter_child_nodes(node)))


@lru_cache(maxsize=8)
def _module(
    text: str, flags: int
) -> tuple[dict[_Place, list[FunctionNode]], dict[_Place, list[types.CodeType]]] | None:
    """Return the functions of a module by the places where they begin, as written and as compiled."""
    try:
        tree = parsed(text)
        compiled = compile(tree, "<source>", "exec", flags=flags, dont_inherit=True)
    except (SyntaxError, SystemError, ValueError, RecursionError, MemoryError):  # cells may hold more than Python
        return None
    functions: dict[_Place, list[FunctionNode]] = {}
    for each in ast.walk(tree):
        if isinstance(each, _FUNCTIONS):
            functions.setdefault(_starts(each), []).append(each)
    codes: dict[_Place, list[types.CodeType]] = {}
    for code in _codes(compiled):
        codes.setdefault((code.co_firstlineno, code.co_name), []).append(code)
    return functions, codes


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


def _starts(node: FunctionNode) -> _Place:
    if isinstance(node, ast.Lambda):
        return node.lineno, "<lambda>"
    return min([node.lineno, *(each.lineno for each in node.decorator_list)]), node.name


def _extent(code: types.CodeType) -> _Extent | None:
    """Return where the body of a lambda begins and ends; None if the code does not say."""
    places = [
        ((row, column), (end_row, end_column))
        for row, end_row, column, end_column in code.co_positions()
        if row is not None and column is not None and end_row is not None and end_column is not None
    ]
    spans = [(start, end) for start, end in places if start != end]
    return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None


def _extent_of(node: ast.expr) -> _Extent:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _parts_of(code: types.CodeType) -> tuple[object, ...]:
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars


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
    read = dict.fromkeys(_within(code, frozenset(code.co_freevars)))
    return None if None in read else tuple(each for each in read if each is not None)


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
        name = _asked(steps, names, at, is_shown)
        if name in parameters and name not in stored:
            yield name, line
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
    line = getattr(step, "line_number", None) or step.starts_line
    return line if isinstance(line, int) and not isinstance(line, bool) else None


def _instructions(code: types.CodeType) -> list[dis.Instruction]:
    return [each for each in dis.get_instructions(code) if each.opname not in _SKIPPED]


GROWING: Final = frozenset({"append", "add", "appendleft"})
READING: Final = frozenset({"copy", "count", "index"})
_PASSING: Final = (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Starred, ast.IfExp, ast.BoolOp, ast.NamedExpr, ast.Await)


@lru_cache(maxsize=256)
def changed_within(node: FunctionNode) -> frozenset[str]:
    """Return the names of a function that functions within it may change, at any time."""
    inner = [
        part for each in ast.walk(node) if isinstance(each, _FUNCTIONS) and each is not node for part in ast.walk(each)
    ]
    rebound = {name for each in inner if isinstance(each, ast.Nonlocal) for name in each.names}
    return frozenset(rebound.union(*map(_changed_by, inner)))


def passed_on(node: ast.expr) -> Iterator[str]:
    """Yield the names whose objects an expression gives, itself or within a list or the like that it makes."""
    if isinstance(node, ast.Subscript | ast.Attribute):
        yield from root_of(node)
    elif isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, _PASSING):
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                yield from passed_on(part)
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        yield from passed_on(node.elt)
    elif isinstance(node, ast.DictComp):
        yield from passed_on(node.value)


def root_of(node: ast.expr) -> Iterator[str]:
    """Yield the name that a chain of attributes and subscripts begins with, if it begins with one."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def stored_in(statements: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that are bound or deleted in statements."""
    for statement in statements:
        for each in ast.walk(statement):
            if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load):
                yield each.id


def _changed_by(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr not in READING:
        return set(root_of(node.func.value))
    if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
        return set(root_of(node))
    return set()
