"""What may change a list or a variable of a body elsewhere than where it is followed: then nothing is claimed of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from dagcelery.frontends.functional.source_code import FunctionNode

GROWING: Final = frozenset({"append", "add", "appendleft"})
READING: Final = frozenset({"copy", "count", "index"})
_PASSING: Final = (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Starred, ast.IfExp, ast.BoolOp, ast.NamedExpr, ast.Await)
_WITHIN: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@lru_cache(maxsize=256)
def changed_within(node: FunctionNode) -> frozenset[str]:
    """Return the names of a function that functions within it may change, at any time."""
    inner = [
        part for each in ast.walk(node) if isinstance(each, _WITHIN) and each is not node for part in ast.walk(each)
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
