"""What an expression in a body stands for, as far as that is known without running it."""

from __future__ import annotations

import ast
import builtins
import inspect
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from dagcelery.frontends.functional.definition import Definition
from dagcelery.frontends.functional.source_code import FunctionNode
from dagcelery.objects import cell_contents

MISSING: Final = object()


@dataclass(frozen=True)
class Mark:
    """A value of which only the kind is known."""

    name: str


PLAIN: Final = Mark("some value that is there")
OUTPUT: Final = Mark("the output of a node")
TABLE: Final = Mark("a dict or a set")
NOTHING: Final = Mark("an element of what has none")


@dataclass(frozen=True)
class Known:
    """An object that is there while the body is read."""

    value: Any = field(compare=False)
    identity: int = 0


@dataclass(frozen=True)
class Each:
    """A list or an iterator whose elements all stand for `of`."""

    of: AbstractValue


@dataclass(frozen=True)
class Fixed:
    """A tuple or a list of these."""

    items: tuple[AbstractValue, ...]
    is_tuple: bool = True


@dataclass(frozen=True)
class Local:
    """A function that is written within the body, and the names around it."""

    node: FunctionNode = field(compare=False)
    names: Names = field(compare=False)
    identity: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Rest:
    """The ``**kwargs`` of a function: arguments whose names it does not declare."""

    pairs: tuple[tuple[str, AbstractValue], ...]


AbstractValue: TypeAlias = Mark | Known | Each | Fixed | Local | Rest


@dataclass
class Names:
    """The variables of one call of a function; others are looked for in the functions around it, then in its module."""

    own: dict[str, AbstractValue]
    function: types.FunctionType
    outer: Names | None = None
    changing: frozenset[str] = frozenset()
    """Names of which nothing is claimed, since functions within this one change them."""

    def look(self, name: str) -> AbstractValue:
        """Return what a name stands for."""
        if name in self.own:
            return self.own[name]
        return self.outer.look(name) if self.outer is not None else _around(self.function, name)

    def put(self, name: str, value: AbstractValue) -> None:
        """Let a variable of this function stand for a value."""
        self.own[name] = PLAIN if name in self.changing else value

    def change(self, name: str, value: AbstractValue) -> None:
        """Let a variable stand for a list that was changed, wherever the variable is."""
        if name in self.own:
            self.put(name, value)
        elif self.outer is not None:
            self.outer.change(name, value)


def known(value: object) -> Known:
    """Return what stands for an object."""
    return Known(value, id(value))


def written_within(node: FunctionNode, names: Names) -> Local:
    """Return what stands for a function that is written within a body."""
    return Local(node, names, (id(node), id(names)))


def truth(value: AbstractValue) -> bool | None:
    """Return whether a condition holds; None if only the running body will tell."""
    return bool(value.value) if isinstance(value, Known) and type(value.value) in _CONSTANTS else None


def compared(one: AbstractValue, sign: ast.cmpop, other: AbstractValue) -> AbstractValue:
    """Return what stands for the answer of a comparison."""
    if not (isinstance(one, Known) and isinstance(other, Known)) or truth(one) is None or truth(other) is None:
        return PLAIN
    if isinstance(sign, ast.Eq | ast.NotEq):
        return known((one.value == other.value) is isinstance(sign, ast.Eq))
    is_single = any(each.value is None or type(each.value) is bool for each in (one, other))
    return known((one.value is other.value) is isinstance(sign, ast.Is)) if _is_identity(sign) and is_single else PLAIN


def _is_identity(sign: ast.cmpop) -> bool:
    return isinstance(sign, ast.Is | ast.IsNot)


def is_list(value: AbstractValue) -> bool:
    """Whether a value may grow."""
    return isinstance(value, Each) or (isinstance(value, Fixed) and not value.is_tuple)


def joined(values: Iterable[AbstractValue]) -> AbstractValue:
    """Return what stands for one of several, of which nobody knows which: nothing is claimed that may be wrong."""
    found: AbstractValue = NOTHING
    for value in values:
        found = _either(found, value)
    return found


def item_of(value: AbstractValue) -> AbstractValue:
    """Return what iterating a value gives."""
    if value == OUTPUT:
        return OUTPUT
    if isinstance(value, Each):
        return value.of
    if isinstance(value, Fixed):
        return joined(value.items)
    if isinstance(value, Known) and type(value.value) in (list, tuple) and value.value:
        items = value.value
        return known(items[0]) if all(isinstance(each, Definition) for each in items) else PLAIN
    return PLAIN


def holds_output(value: AbstractValue) -> bool:
    """Whether there are outputs in a list or a tuple."""
    if isinstance(value, Each):
        return value.of == OUTPUT or holds_output(value.of)
    return isinstance(value, Fixed) and any(each == OUTPUT or holds_output(each) for each in value.items)


def is_table(value: AbstractValue) -> bool:
    """Whether a value is searched by hash, which an output has, whatever it will be."""
    return value == TABLE or (isinstance(value, Known) and type(value.value) in (dict, set, frozenset))


def attribute_of(value: AbstractValue, name: str) -> AbstractValue:
    """Return what an attribute stands for, without running any code."""
    if value == OUTPUT:
        return OUTPUT
    if not isinstance(value, Known):
        return PLAIN
    holder = value.value
    if isinstance(holder, Definition):
        return value if name in ("options", "after") else PLAIN
    if isinstance(holder, types.ModuleType):
        return known(vars(holder)[name]) if name in vars(holder) else PLAIN
    try:
        found = inspect.getattr_static(holder, name)
    except Exception:  # classes of others may raise anything
        return PLAIN
    if isinstance(found, types.FunctionType) and not isinstance(holder, type) and name not in _own_of(holder):
        return known(types.MethodType(found, holder))
    # What an object holds may be another value later in the body; functions and tables mostly are not.
    return PLAIN if isinstance(found, _COMPUTED) or type(found) in _CONSTANTS else known(found)


def constant(node: ast.expr) -> object:
    """Return the value of a literal, MISSING for anything else."""
    return node.value if isinstance(node, ast.Constant) else MISSING


def bound(
    parameters: ast.arguments, given: Sequence[AbstractValue], named: Mapping[str | None, AbstractValue]
) -> dict[str, AbstractValue]:
    """Return what parameters stand for; one whose argument is unknown stands for some plain value."""
    places = [each.arg for each in (*parameters.posonlyargs, *parameters.args)]
    own: dict[str, AbstractValue] = dict(zip(places, given, strict=False))
    return own | {name: value for name, value in named.items() if name is not None}


def result_of_builtin(function: object, given: Sequence[AbstractValue]) -> AbstractValue:
    """Return what a function of Python's own gives."""
    if function is builtins.zip:
        return Each(Fixed(tuple(map(item_of, given))))
    if any(function is each for each in _TABLES):
        return TABLE
    if not given:
        return PLAIN
    if function is builtins.enumerate:
        return Each(Fixed((PLAIN, item_of(given[0]))))
    return Each(item_of(given[0])) if any(function is each for each in _LISTS) else PLAIN


def is_harmless(callee: AbstractValue) -> bool:
    """Whether a call changes nothing that it is given."""
    if not isinstance(callee, Known):
        return False
    function = callee.value
    is_builtin = function is getattr(builtins, str(getattr(function, "__name__", "")), None)
    return is_builtin or isinstance(function, Definition)


def _own_of(holder: object) -> Any:
    return getattr(holder, "__dict__", ())


def _either(one: AbstractValue, other: AbstractValue) -> AbstractValue:
    if one == other or other == NOTHING:
        return one
    if one == NOTHING:
        return other
    if isinstance(one, Each | Fixed) and isinstance(other, Each | Fixed):
        return Each(_either(item_of(one), item_of(other)))
    return PLAIN


def _around(function: types.FunctionType, name: str) -> AbstractValue:
    code = function.__code__
    if name in code.co_freevars:
        held = cell_contents((function.__closure__ or ())[code.co_freevars.index(name)])
        return known(held[0]) if held else PLAIN
    scope: dict[str, Any] = function.__globals__
    built_in: dict[str, Any] = cast(Any, function).__builtins__
    return known(scope[name]) if name in scope else known(built_in[name]) if name in built_in else PLAIN


_COMPUTED: Final = (property, classmethod, staticmethod, types.MemberDescriptorType, types.GetSetDescriptorType)
_CONSTANTS: Final = frozenset({bool, int, float, str, bytes, type(None)})
_TABLES: Final = (builtins.set, builtins.frozenset, builtins.dict)
_LISTS: Final = (builtins.list, builtins.tuple, builtins.sorted, builtins.reversed, builtins.iter)
