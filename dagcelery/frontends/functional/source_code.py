"""The syntax tree of a function, where its source is there and is still what the function was made of."""

from __future__ import annotations
import __future__

import ast
import linecache
import types
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, TypeAlias

from dagcelery.model.signatures import parsed

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Place: TypeAlias = tuple[int, str]

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
    if len(functions) != 1 or len(codes) != 1 or _said(codes[0]) != _said(code):
        return None
    return functions[0]


def parameters_of(parameters: ast.arguments) -> Iterator[ast.arg]:
    """Yield all parameters, ``*args`` and ``**kwargs`` among them."""
    yield from (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs)
    yield from (each for each in (parameters.vararg, parameters.kwarg) if each is not None)


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is written in a function, but not in those within it."""
    for part in ast.iter_child_nodes(node):
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield part
            yield from own_nodes(part)


@lru_cache(maxsize=8)
def _module(
    text: str, flags: int
) -> tuple[dict[_Place, list[FunctionNode]], dict[_Place, list[types.CodeType]]] | None:
    """Return the functions of a module by the places where they begin, as written and as compiled."""
    try:
        tree = parsed(text)
        made = compile(tree, "<source>", "exec", flags=flags, dont_inherit=True)
    except (SyntaxError, SystemError, ValueError, RecursionError, MemoryError):  # cells may hold more than Python
        return None
    functions: dict[_Place, list[FunctionNode]] = {}
    for each in ast.walk(tree):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            functions.setdefault(_starts(each), []).append(each)
    codes: dict[_Place, list[types.CodeType]] = {}
    for code in _codes(made):
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


def _said(code: types.CodeType) -> tuple[object, ...]:
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars
