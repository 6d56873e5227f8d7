"""Expressions are read and rewritten here, and nothing else knows how they are nested.

A token is *read* in one of four manners:

* ``"whole"``: the value, or all results of a fan-out;
* ``"each"``: the element or result that belongs to the step's own item;
* ``"spliced"``: an element per item of a splice, so in the end all of them;
* ``"over"``: a splice counts its items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

from dagcelery.planner.plan import Expr

Reading: TypeAlias = Literal["whole", "each", "spliced", "over"]

SEQUENCES = frozenset({"list", "tuple", "set"})


def tokens(expr: Expr, *, spliced: bool = False) -> Iterator[tuple[str, Reading]]:
    """Yield every token of `expr` with the manner in which it is read, in the order of the text."""
    tag = expr[0]
    if tag == "ref":
        yield expr[1], "whole"
    elif tag == "each":
        yield expr[1], "spliced" if spliced else "each"
    elif tag in SEQUENCES:
        for item in expr[1]:
            yield from tokens(item, spliced=spliced)
    elif tag == "splice":
        yield from tokens(expr[1], spliced=True)
        yield expr[2], "over"
    elif tag == "dict":
        for key, value in expr[1]:
            yield from tokens(key, spliced=spliced)
            yield from tokens(value, spliced=spliced)
    elif tag in ("part", "choice"):
        yield from tokens(expr[1], spliced=spliced)
    elif tag == "first":
        for item in expr[1:]:
            yield from tokens(item, spliced=spliced)


def substituted(expr: Expr, replace: Callable[[Expr], Expr]) -> Expr:
    """Return `expr` with every ``ref``, ``each`` and ``splice`` replaced, the innermost first."""
    tag = expr[0]
    if tag in ("ref", "each"):
        return replace(expr)
    if tag in SEQUENCES:
        return (tag, tuple([substituted(item, replace) for item in expr[1]]))
    if tag == "splice":
        return replace(("splice", substituted(expr[1], replace), expr[2]))
    if tag == "dict":
        return (tag, tuple([(substituted(k, replace), substituted(v, replace)) for k, v in expr[1]]))
    if tag == "part":
        return (tag, substituted(expr[1], replace), expr[2])
    if tag in ("choice", "first"):
        return (tag, *[substituted(item, replace) for item in expr[1:]])
    return expr


def is_constant(expr: Expr) -> bool:
    """Whether `expr` has the same value wherever it is read."""
    return next(tokens(expr), None) is None


def level(token: str) -> tuple[int, str]:
    """Return how many scopes up `token` points, and what it is called there: ``"^^3.0"`` → (2, "3.0")."""
    name = token.lstrip("^")
    return len(token) - len(name), name


def raised(token: str, levels: int) -> str:
    """Return the name by which a scope `levels` further down calls `token`."""
    return "^" * levels + token


def step_of(token: str) -> int | None:
    """Return the index of the step of this same scope that `token` belongs to; None for all others."""
    if token[0] in "^$":
        return None
    return int(token[: token.index(".")])
