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
from dagcelery.signatures import cell_contents


@dataclass(frozen=True)
class Kind:
    """A value of which only the kind is known."""

    name: str


PLAIN: Final = Kind("some value that is there")
OUTPUT: Final = Kind("the output of a node")
TABLE: Final = Kind("a dict or a set")
NOTHING: Final = Kind("an element of an empty list")


@dataclass(frozen=True)
class Known:
    """An object that is there while the body is read."""

    value: Any = field(compare=False)
    identity: int = 0


@dataclass(frozen=True)
class Uniform:
    """A list or an iterator whose elements all stand for `of`."""

    of: AbstractValue


@dataclass(frozen=True)
class Fixed:
    """A tuple or a list of these."""

    items: tuple[AbstractValue, ...]
    is_tuple: bool = True


@dataclass(frozen=True)
class LocalFunction:
    """A function that is written within the body, and the frame around it."""

    node: FunctionNode = field(compare=False)
    frame: CallFrame = field(compare=False)
    identity: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Rest:
    """The ``**kwargs`` of a function: arguments whose names it does not declare."""

    pairs: tuple[tuple[str, AbstractValue], ...]


AbstractValue: TypeAlias = Kind | Known | Uniform | Fixed | LocalFunction | Rest


@dataclass
class CallFrame:
    """The variables of one call of a function; others are looked for in the functions around it, then in its module."""

    own: dict[str, AbstractValue]
    function: types.FunctionType
    outer: CallFrame | None = None
    changing: frozenset[str] = frozenset()
    """Names of which nothing is claimed, since functions within this one change them."""

    def look(self, name: str) -> AbstractValue:
        """Return what a name stands for."""
        if name in self.own:
            return self.own[name]
        return self.outer.look(name) if self.outer is not None else _global(self.function, name)

    def put(self, name: str, value: AbstractValue) -> None:
        """Let a variable of this function stand for a value."""
        self.own[name] = PLAIN if name in self.changing else value

    def change(self, name: str, value: AbstractValue) -> None:
        """Let a variable stand for a list that was changed, in whichever frame the variable is."""
        if name in self.own:
            self.put(name, value)
        elif self.outer is not None:
            self.outer.change(name, value)

    def doubt(self, names: Iterable[str]) -> None:
        """Claim nothing more of lists that may hold something else now."""
        for name in names:
            if is_list(self.look(name)):
                self.change(name, PLAIN)

    def claim_nothing(self, names: Iterable[str]) -> None:
        """Let variables of this function stand for some plain value each."""
        self.own.update(dict.fromkeys(names, PLAIN))

    def join(self, paths: Sequence[Mapping[str, AbstractValue]]) -> None:
        """Let each variable stand for what it is at the ends of all `paths` that lead here."""
        names = dict.fromkeys(name for path in paths for name in path)
        self.own = {name: joined(path.get(name, NOTHING) for path in paths) for name in names}


def known(value: object) -> Known:
    """Return what stands for an object."""
    return Known(value, id(value))


def local_function(node: FunctionNode, frame: CallFrame) -> LocalFunction:
    """Return what stands for a function that is written within a body."""
    return LocalFunction(node, frame, (id(node), id(frame)))


def truth(value: AbstractValue) -> bool | None:
    """Return whether a condition holds; None if only the running body will tell."""
    return bool(value.value) if isinstance(value, Known) and type(value.value) in _CONSTANTS else None


def compared(one: AbstractValue, sign: ast.cmpop, other: AbstractValue) -> AbstractValue:
    """Return what stands for the answer of a comparison."""
    if not (isinstance(one, Known) and isinstance(other, Known)) or truth(one) is None or truth(other) is None:
        return PLAIN
    if isinstance(sign, ast.Eq | ast.NotEq):
        return known((one.value == other.value) is isinstance(sign, ast.Eq))
    has_one_object = any(each.value is None or type(each.value) is bool for each in (one, other))
    if isinstance(sign, ast.Is | ast.IsNot) and has_one_object:
        return known((one.value is other.value) is isinstance(sign, ast.Is))
    return PLAIN


def is_list(value: AbstractValue) -> bool:
    """Whether a value may grow."""
    return isinstance(value, Uniform) or (isinstance(value, Fixed) and not value.is_tuple)


def joined(values: Iterable[AbstractValue]) -> AbstractValue:
    """Return what stands for any one of several values: nothing is claimed that may be false."""
    result: AbstractValue = NOTHING
    for value in values:
        result = _either(result, value)
    return result


def _either(one: AbstractValue, other: AbstractValue) -> AbstractValue:
    if one == other or other == NOTHING:
        return one
    if one == NOTHING:
        return other
    if isinstance(one, Uniform | Fixed) and isinstance(other, Uniform | Fixed):
        return Uniform(_either(item_of(one), item_of(other)))
    return PLAIN


def item_of(value: AbstractValue) -> AbstractValue:
    """Return what iterating a value gives."""
    if value == OUTPUT:
        return OUTPUT
    if isinstance(value, Uniform):
        return value.of
    if isinstance(value, Fixed):
        return joined(value.items)
    if isinstance(value, Known) and type(value.value) in (list, tuple) and value.value:
        items = value.value
        return known(items[0]) if all(isinstance(each, Definition) for each in items) else PLAIN
    return PLAIN


def holds_output(value: AbstractValue) -> bool:
    """Whether there are outputs in a list or a tuple."""
    items = value.items if isinstance(value, Fixed) else (value.of,) if isinstance(value, Uniform) else ()
    return any(each == OUTPUT or holds_output(each) for each in items)


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
        attribute = inspect.getattr_static(holder, name)
    except Exception:  # the classes of users may raise anything
        return PLAIN
    is_own = name in getattr(holder, "__dict__", ())
    if isinstance(attribute, types.FunctionType) and not isinstance(holder, type) and not is_own:
        return known(types.MethodType(attribute, holder))
    # What an object holds may be another value later in the body; functions and tables mostly are not.
    return PLAIN if isinstance(attribute, _COMPUTED) or type(attribute) in _CONSTANTS else known(attribute)


def bound(
    parameters: ast.arguments, arguments: Sequence[AbstractValue], named: Mapping[str | None, AbstractValue]
) -> dict[str, AbstractValue]:
    """Return what parameters stand for; one whose argument is unknown stands for some plain value."""
    names = [each.arg for each in (*parameters.posonlyargs, *parameters.args)]
    own: dict[str, AbstractValue] = dict(zip(names, arguments, strict=False))
    return own | {name: value for name, value in named.items() if name is not None}


def defaults_of(function: types.FunctionType) -> dict[str, AbstractValue]:
    """Return what the parameters of a function stand for that have defaults."""
    code, defaults = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    own = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True)) | (function.__kwdefaults__ or {})
    return {name: known(value) for name, value in own.items()}


def result_of_builtin(function: object, arguments: Sequence[AbstractValue]) -> AbstractValue:
    """Return what a function of Python's own gives."""
    if function is builtins.zip:
        return Uniform(Fixed(tuple(map(item_of, arguments))))
    if any(function is each for each in _TABLES):
        return TABLE
    if not arguments:
        return PLAIN
    if function is builtins.enumerate:
        return Uniform(Fixed((PLAIN, item_of(arguments[0]))))
    return Uniform(item_of(arguments[0])) if any(function is each for each in _LISTS) else PLAIN


def is_harmless(callee: AbstractValue) -> bool:
    """Whether a call changes none of its arguments."""
    if not isinstance(callee, Known):
        return False
    function = callee.value
    is_builtin = function is getattr(builtins, str(getattr(function, "__name__", "")), None)
    return is_builtin or isinstance(function, Definition)


def is_message(called: ast.expr, callee: AbstractValue) -> bool:
    """Whether a call shows something to people, which then goes nowhere else."""
    if isinstance(callee, Known):
        module = getattr(callee.value, "__module__", None)
        return callee.value is builtins.print or str(module).partition(".")[0] in _LOGGING
    return isinstance(called, ast.Attribute) and called.attr in _LOG_METHODS


def _global(function: types.FunctionType, name: str) -> AbstractValue:
    code = function.__code__
    if name in code.co_freevars:
        contents = cell_contents((function.__closure__ or ())[code.co_freevars.index(name)])
        return known(contents[0]) if contents else PLAIN
    scope: dict[str, Any] = function.__globals__
    built_in: dict[str, Any] = cast(Any, function).__builtins__
    return known(scope[name]) if name in scope else known(built_in[name]) if name in built_in else PLAIN


_COMPUTED: Final = (property, classmethod, staticmethod, types.MemberDescriptorType, types.GetSetDescriptorType)
_CONSTANTS: Final = frozenset({bool, int, float, str, bytes, type(None)})
_TABLES: Final = (builtins.set, builtins.frozenset, builtins.dict)
_LISTS: Final = (builtins.list, builtins.tuple, builtins.sorted, builtins.reversed, builtins.iter)
_LOG_METHODS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_LOGGING: Final = frozenset({"logging", "loguru", "structlog", "warnings", "_warnings"})
