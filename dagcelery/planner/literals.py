"""A literal of a DAG stands in the plan as it is where JSON keeps it, else taken apart, else as an object."""

from __future__ import annotations

import math
from typing import Final

from dagcelery.planner.plan import Expr
from dagcelery.text import shown

# Beyond this Python refuses to write an int in decimal.
_INT_BITS: Final = 10_000
_ATOMS: Final = (type(None), bool, str)


def literal(value: object) -> Expr:
    """Return the expression of a constant; only exact types count, a subclass might mean more."""
    if _is_json(value):
        return ("lit", value)
    if type(value) is list:
        return ("list", tuple(map(literal, value)))
    if type(value) is tuple:
        return ("tuple", tuple(map(literal, value)))
    if type(value) is set:
        # The order of a set changes from process to process, and the plan's digest must not.
        return ("set", tuple(map(literal, sorted(value, key=_order))))
    if type(value) is dict:
        return ("dict", tuple([(literal(key), literal(item)) for key, item in value.items()]))
    return ("live", value)


def _order(value: object) -> str:
    try:
        return hex(value) if type(value) is int else repr(value)
    except Exception:  # an int in it has too many digits, or its class cannot show it
        return shown(value)


def _is_json(value: object) -> bool:
    if type(value) in _ATOMS:
        return True
    if type(value) is int:
        return value.bit_length() < _INT_BITS
    if type(value) is float:
        return math.isfinite(value)
    if type(value) is list:
        return all(map(_is_json, value))
    if type(value) is dict:
        return all(type(key) is str and _is_json(item) for key, item in value.items())
    return False
