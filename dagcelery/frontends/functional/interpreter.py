"""A body is followed as it was written, statement by statement, with what its names stand for."""

from __future__ import annotations

import ast
import builtins
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from dagcelery.frontends.functional.abstract_values import (
    NOTHING,
    OUTPUT,
    PLAIN,
    TABLE,
    AbstractValue,
    Each,
    Fixed,
    Known,
    Local,
    Names,
    Rest,
    attribute_of,
    bound,
    compared,
    constant,
    is_harmless,
    is_list,
    item_of,
    joined,
    known,
    result_of_builtin,
    truth,
    written_within,
)
from dagcelery.frontends.functional.definition import Definition
from dagcelery.frontends.functional.source_code import (
    GROWING,
    READING,
    FunctionNode,
    changed_within,
    function_node,
    own_nodes,
    parameters_of,
    passed_on,
    root_of,
    stored_in,
)

_DEEP: Final = 12

_MOST: Final = 20_000
"""Expressions; what is longer is not followed to its end."""

_NEW: Final = (ast.List, ast.ListComp, ast.GeneratorExp, ast.Call, ast.BinOp)

_TELLING: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical"})

_LOGGING: Final = frozenset({"logging", "loguru", "structlog", "warnings", "_warnings"})


class GivenUp(Exception):
    """There is more to follow than is worth it."""


class ExpressionInterpreter(ABC):
    """Follows expressions; `ask` is told each with what its parts stand for."""

    def __init__(self) -> None:
        self.functions: list[types.FunctionType] = []
        self._seen: dict[int, AbstractValue] = {}
        self._left = _MOST
        self._deep = 0
        self._quiet = 0
        self._shown = 0
        self._unused: ast.expr | None = None

    @abstractmethod
    def ask(self, node: ast.AST) -> None:
        """Look at an expression, or at a `match`, whose parts were looked at before; `seen` tells what they are."""

    def is_followed(self, function: types.FunctionType) -> bool:
        """Whether a function that is called is looked into."""
        return True

    def choose(self, call: ast.Call, callee: object, given: Sequence[AbstractValue]) -> AbstractValue | None:
        """Return what a call of `when` gives; None if this is no such call."""
        return None

    def result_of(self, callee: Definition[..., object]) -> AbstractValue:
        """Return what stands for what a task or a nested DAG returns."""
        return OUTPUT

    def enter(self, function: types.FunctionType, own: dict[str, AbstractValue]) -> AbstractValue:
        """Follow a function with values for its parameters; returns what it returns."""
        node = function_node(function.__code__)
        if node is None or len(self.functions) >= _DEEP or not self.is_followed(function):
            return PLAIN
        self.functions.append(function)
        try:
            return self.run(node, Names(own, function))
        finally:
            self.functions.pop()

    @abstractmethod
    def run(self, node: FunctionNode, names: Names) -> AbstractValue:
        """Follow what is written in a function; returns what it returns."""

    def bind(self, target: ast.expr, value: AbstractValue, names: Names, *, is_own: bool = True) -> None:
        """Let what is on the left of an assignment stand for a value; a list may be one that others hold, too."""
        if isinstance(target, ast.Name):
            names.put(target.id, value if is_own or not is_list(value) else PLAIN)
        elif isinstance(target, ast.Tuple | ast.List):
            exact = isinstance(value, Fixed) and len(value.items) == len(target.elts)
            starred = any(isinstance(each, ast.Starred) for each in target.elts)
            items = value.items if isinstance(value, Fixed) and exact and not starred else None
            for index, each in enumerate(target.elts):
                self.bind(each, items[index] if items is not None else item_of(value), names, is_own=False)
        elif isinstance(target, ast.Starred):
            self.bind(target.value, PLAIN, names)
        else:
            self.value(target, names)
            self._doubt(root_of(target), names)

    def _doubt(self, changed: Iterable[str], names: Names) -> None:
        """Claim nothing more of lists that may hold something else now."""
        for name in changed:
            if is_list(names.look(name)):
                names.change(name, PLAIN)

    def _value_kept(self, node: ast.expr, names: Names) -> AbstractValue:
        """Follow an expression whose value gets another name, by which it may be changed."""
        value = self.value(node, names)
        self._doubt(passed_on(node), names)
        return PLAIN if is_list(value) and not isinstance(node, _NEW) else value

    def _value_iterated(self, node: ast.expr, names: Names) -> AbstractValue:
        """Follow an expression whose elements get names."""
        value = self.value(node, names)
        if not isinstance(node, ast.Name):
            self._doubt(passed_on(node), names)
        return value

    def _value_shown(self, node: ast.expr, names: Names) -> AbstractValue:
        """Follow an expression that is only told to people: what it asks changes nothing."""
        self._shown += 1
        try:
            return self.value(node, names)
        finally:
            self._shown -= 1

    def value(self, node: ast.expr, names: Names) -> AbstractValue:
        """Follow an expression; returns what it stands for."""
        self._left -= 1
        if self._left < 0:
            raise GivenUp
        give = getattr(self, f"_of_{type(node).__name__}", None)
        value: AbstractValue = self._of_parts(node, names) if give is None else give(node, names)
        self._seen[id(node)] = value
        if not (self._quiet or self._shown):
            self.ask(node)
        return value

    def seen(self, node: ast.expr) -> AbstractValue:
        """Return what an expression stood for when it was followed last."""
        return self._seen.get(id(node), PLAIN)

    def _of_parts(self, node: ast.expr, names: Names) -> AbstractValue:
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                self.value(part, names)
        return PLAIN

    def _of_Constant(self, node: ast.Constant, names: Names) -> AbstractValue:
        return known(node.value)

    def _of_Name(self, node: ast.Name, names: Names) -> AbstractValue:
        return names.look(node.id)

    def _of_NamedExpr(self, node: ast.NamedExpr, names: Names) -> AbstractValue:
        value = self._value_kept(node.value, names)
        names.put(node.target.id, value)
        return value

    def _of_Await(self, node: ast.Await, names: Names) -> AbstractValue:
        return self.value(node.value, names)

    def _of_Attribute(self, node: ast.Attribute, names: Names) -> AbstractValue:
        return attribute_of(self.value(node.value, names), node.attr)

    def _of_Subscript(self, node: ast.Subscript, names: Names) -> AbstractValue:
        value, _ = self.value(node.value, names), self.value(node.slice, names)
        at = constant(node.slice)
        if isinstance(value, Fixed) and isinstance(at, int) and -len(value.items) <= at < len(value.items):
            return value.items[at]
        return PLAIN if isinstance(node.slice, ast.Slice) or isinstance(value, Known) else item_of(value)

    def _of_IfExp(self, node: ast.IfExp, names: Names) -> AbstractValue:
        holds = truth(self.value(node.test, names))
        if holds is not None:
            return self.value(node.body if holds else node.orelse, names)
        return joined([self.value(node.body, names), self.value(node.orelse, names)])

    def _of_BoolOp(self, node: ast.BoolOp, names: Names) -> AbstractValue:
        values: list[AbstractValue] = []
        for each in node.values:
            values.append(self.value(each, names))
            if truth(values[-1]) is isinstance(node.op, ast.Or):
                break  # the others are not looked at
        return joined([each for each in values[:-1] if truth(each) is None] + values[-1:])

    def _of_UnaryOp(self, node: ast.UnaryOp, names: Names) -> AbstractValue:
        holds = truth(self.value(node.operand, names))
        return known(not holds) if isinstance(node.op, ast.Not) and holds is not None else PLAIN

    def _of_Compare(self, node: ast.Compare, names: Names) -> AbstractValue:
        one, *others = [self.value(each, names) for each in (node.left, *node.comparators)]
        return compared(one, node.ops[0], others[0]) if len(others) == 1 else PLAIN

    def _of_Tuple(self, node: ast.Tuple | ast.List, names: Names) -> AbstractValue:
        values = tuple([self.value(each, names) for each in node.elts])
        if any(isinstance(each, ast.Starred) for each in node.elts):
            return PLAIN
        return Fixed(values, isinstance(node, ast.Tuple))

    _of_List = _of_Tuple

    def _of_Dict(self, node: ast.Dict | ast.Set, names: Names) -> AbstractValue:
        self._of_parts(node, names)
        return TABLE

    _of_Set = _of_Dict

    def _of_Lambda(self, node: ast.Lambda, names: Names) -> AbstractValue:
        return written_within(node, names)

    def _of_ListComp(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, names: Names) -> AbstractValue:
        inner = self._comprehended(node.generators, names)
        made = self.value(node.elt, inner)
        return TABLE if isinstance(node, ast.SetComp) else Each(made)

    _of_GeneratorExp = _of_SetComp = _of_ListComp

    def _of_DictComp(self, node: ast.DictComp, names: Names) -> AbstractValue:
        inner = self._comprehended(node.generators, names)
        self.value(node.key, inner)
        self.value(node.value, inner)
        return TABLE

    def _comprehended(self, generators: Iterable[ast.comprehension], names: Names) -> Names:
        inner = Names({}, names.function, names)
        for each in generators:
            self.bind(each.target, item_of(self._value_iterated(each.iter, inner)), inner, is_own=False)
            for test in each.ifs:
                self.value(test, inner)
        return inner

    def _of_Call(self, node: ast.Call, names: Names) -> AbstractValue:
        callee = self.value(node.func, names)
        is_told = _is_told(node.func, callee)
        self._shown += is_told
        given = [self.value(each, names) for each in node.args]
        named: dict[str | None, AbstractValue] = {}
        for each in node.keywords:
            value = self.value(each.value, names)
            named |= dict(value.pairs) if each.arg is None and isinstance(value, Rest) else {each.arg: value}
        self._shown -= is_told
        if isinstance(node.func, ast.Attribute) and not isinstance(callee, Known):
            self._call_method(node.func, given, names)
        result = self._called(node, callee, given, named)
        if not (is_told or is_harmless(callee)):
            for part in (*node.args, *(each.value for each in node.keywords)):
                self._doubt(passed_on(part), names)
        return result

    def _called(
        self,
        node: ast.Call,
        callee: AbstractValue,
        given: list[AbstractValue],
        named: Mapping[str | None, AbstractValue],
    ) -> AbstractValue:
        starred = [at for at, each in enumerate(node.args) if isinstance(each, ast.Starred)]
        placed = given[: starred[0]] if starred else given  # how many a starred one stands for is not known
        if isinstance(callee, Local):
            return self.call_local(callee, placed, named)
        if not isinstance(callee, Known):
            return PLAIN
        chosen = self.choose(node, callee.value, [*given, *named.values()])
        if chosen is not None:
            return chosen
        function = callee.value
        if isinstance(function, Definition):
            is_variant = isinstance(node.func, ast.Attribute) and self.seen(node.func.value) is callee
            return callee if is_variant else self.result_of(function)
        if isinstance(function, types.MethodType) and isinstance(function.__func__, types.FunctionType):
            placed, function = [known(function.__self__), *placed], function.__func__
        if isinstance(function, types.FunctionType):
            node_of_it = function_node(function.__code__)
            own = bound(node_of_it.args, placed, named) if node_of_it is not None else {}
            is_all = not starred and None not in named
            return self.enter(function, {**_defaults_of(function), **own} if is_all else own)
        return PLAIN if starred else result_of_builtin(function, given)

    def call_local(
        self, callee: Local, given: Sequence[AbstractValue], named: Mapping[str | None, AbstractValue]
    ) -> AbstractValue:
        """Follow a call of a function that is defined within a body; returns what it returns."""
        if self._deep >= _DEEP:
            return PLAIN
        inner = Names({}, callee.names.function, callee.names)
        inner.own.update(bound(callee.node.args, given, named))
        self._deep += 1
        try:
            return self.run(callee.node, inner)
        finally:
            self._deep -= 1

    def _call_method(self, method: ast.Attribute, given: Sequence[AbstractValue], names: Names) -> None:
        if isinstance(method.value, ast.Name) and method.attr in GROWING and len(given) == 1:
            holder = names.look(method.value.id)
            if is_list(holder):
                names.change(method.value.id, Each(joined([item_of(holder), given[0]])))
        elif method.attr not in READING:
            self._doubt(root_of(method.value), names)


def _is_told(called: ast.expr, callee: AbstractValue) -> bool:
    """Whether a call tells people something, which then goes nowhere else."""
    if isinstance(callee, Known):
        module = getattr(callee.value, "__module__", None)
        return callee.value is builtins.print or str(module).partition(".")[0] in _LOGGING
    return isinstance(called, ast.Attribute) and called.attr in _TELLING


def _defaults_of(function: types.FunctionType) -> dict[str, AbstractValue]:
    code, defaults = function.__code__, function.__defaults__ or ()
    places = code.co_varnames[: code.co_argcount]
    own = dict(zip(places[len(places) - len(defaults) :], defaults, strict=True)) | (function.__kwdefaults__ or {})
    return {name: known(value) for name, value in own.items()}


_ROUNDS: Final = 8


class Interpreter(ExpressionInterpreter):
    """Follows functions."""

    def __init__(self) -> None:
        super().__init__()
        self._returned: list[list[AbstractValue]] = []
        self._left_early: list[list[dict[str, AbstractValue]]] = []

    def run(self, node: FunctionNode, names: Names) -> AbstractValue:
        """Follow what is written in a function; returns what it returns."""
        known_names = {each.arg for each in parameters_of(node.args)}
        rest = tuple((name, names.own.pop(name)) for name in list(names.own) if name not in known_names)
        names.own.update({name: PLAIN for name in known_names if name not in names.own})
        names.changing = changed_within(node)
        names.own.update(dict.fromkeys(names.changing.intersection(names.own), PLAIN))
        if node.args.kwarg is not None:
            names.own[node.args.kwarg.arg] = Rest(rest)
        if isinstance(node, ast.Lambda):
            return self.value(node.body, names)
        self._returned.append([])
        is_over = not self.block(node.body, names)
        returned = self._returned.pop()
        is_generator = any(isinstance(each, ast.Yield | ast.YieldFrom) for each in own_nodes(node))
        return PLAIN if is_generator else joined(returned if is_over else [*returned, known(None)])

    def block(self, statements: Iterable[ast.stmt], names: Names) -> bool:
        """Follow statements; returns whether what comes after them is reached."""
        return all(self.statement(each, names) for each in statements)

    def statement(self, node: ast.stmt, names: Names) -> bool:
        """Follow a statement; returns whether the next one is reached."""
        follow = getattr(self, f"_on_{type(node).__name__}", None)
        if follow is not None:
            return bool(follow(node, names))
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                self.value(part, names)
        return True

    def _on_Return(self, node: ast.Return, names: Names) -> bool:
        self._returned[-1].append(known(None) if node.value is None else self.value(node.value, names))
        return False

    def _on_Raise(self, node: ast.Raise, names: Names) -> bool:
        for part in (node.exc, node.cause):
            if part is not None:
                self._value_shown(part, names)
        return False

    def _on_Assert(self, node: ast.Assert, names: Names) -> bool:
        self.value(node.test, names)
        if node.msg is not None:
            self._value_shown(node.msg, names)
        return True

    def _on_Break(self, node: ast.Break | ast.Continue, names: Names) -> bool:
        self._left_early[-1].append(dict(names.own))
        return False

    _on_Continue = _on_Break

    def _on_Delete(self, node: ast.Delete, names: Names) -> bool:
        for target in node.targets:
            self._doubt(root_of(target), names)
        return True

    def _on_Expr(self, node: ast.Expr, names: Names) -> bool:
        self._unused = node.value
        self.value(node.value, names)
        return True

    def _on_Assign(self, node: ast.Assign, names: Names) -> bool:
        value = self._value_kept(node.value, names)
        for target in node.targets:
            self.bind(target, value, names, is_own=len(node.targets) == 1)
        return True

    def _on_AnnAssign(self, node: ast.AnnAssign, names: Names) -> bool:
        if node.value is not None:
            self.bind(node.target, self._value_kept(node.value, names), names)
        return True

    def _on_AugAssign(self, node: ast.AugAssign, names: Names) -> bool:
        self.value(node.value, names)
        self.bind(node.target, PLAIN, names)
        return True

    def _on_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef, names: Names) -> bool:
        names.put(node.name, PLAIN if node.decorator_list else written_within(node, names))
        return True

    _on_AsyncFunctionDef = _on_FunctionDef

    def _on_ClassDef(self, node: ast.ClassDef, names: Names) -> bool:
        names.own[node.name] = PLAIN
        return True

    def _on_Import(self, node: ast.Import | ast.ImportFrom, names: Names) -> bool:
        names.own.update({(each.asname or each.name).partition(".")[0]: PLAIN for each in node.names})
        return True

    _on_ImportFrom = _on_Import

    def _on_Global(self, node: ast.Global | ast.Nonlocal, names: Names) -> bool:
        names.own.update(dict.fromkeys(node.names, PLAIN))
        return True

    _on_Nonlocal = _on_Global

    def _on_If(self, node: ast.If, names: Names) -> bool:
        holds = truth(self.value(node.test, names))
        if holds is not None:
            return self.block(node.body if holds else node.orelse, names)
        return self._paths([node.body, node.orelse], names)

    def _on_For(self, node: ast.For | ast.AsyncFor, names: Names) -> bool:
        source = self._value_iterated(node.iter, names)
        self._loop(node.body, names, lambda: self.bind(node.target, item_of(source), names, is_own=False))
        return self.block(node.orelse, names) or True

    _on_AsyncFor = _on_For

    def _on_While(self, node: ast.While, names: Names) -> bool:
        self._loop(node.body, names, lambda: self.value(node.test, names))
        return self.block(node.orelse, names) or True

    def _on_With(self, node: ast.With | ast.AsyncWith, names: Names) -> bool:
        for item in node.items:
            self.value(item.context_expr, names)
            if item.optional_vars is not None:
                self.bind(item.optional_vars, PLAIN, names)
        before = dict(names.own)
        self.block(node.body, names)
        _join(names, [before, dict(names.own)])  # it may end an error, wherever that was raised
        return True

    _on_AsyncWith = _on_With

    def _on_Try(self, node: ast.Try, names: Names) -> bool:
        before = dict(names.own)
        is_over = self.block([*node.body, *node.orelse], names)
        after = dict(names.own)
        _join(names, [before, after])
        names.own.update(dict.fromkeys(stored_in(node.body), PLAIN))  # an error may come before or after
        broken = dict(names.own)
        ends = [after] if is_over else []
        for handler in node.handlers:
            names.own.clear()
            names.own.update(broken)
            if handler.name:
                names.put(handler.name, PLAIN)
            if self.block(handler.body, names):
                ends.append(dict(names.own))
        _join(names, [*ends, broken] if node.finalbody else ends or [broken])
        return self.block(node.finalbody, names) and bool(ends)

    _on_TryStar = _on_Try

    def _on_Match(self, node: ast.Match, names: Names) -> bool:
        self.value(node.subject, names)
        if not self._quiet:
            self.ask(node)
        for case in node.cases:
            for part in ast.walk(case.pattern):
                name = getattr(part, "name", None) or getattr(part, "rest", None)
                if name:
                    names.own[name] = PLAIN
            if case.guard is not None:
                self.value(case.guard, names)
        return self._paths([[], *(case.body for case in node.cases)], names)

    def _paths(self, paths: Sequence[Sequence[ast.stmt]], names: Names) -> bool:
        """Follow each of several ways to go on; those that come to an end say nothing of what is after them."""
        before = dict(names.own)
        after = []
        for path in paths:
            names.own.clear()
            names.own.update(before)
            if self.block(path, names):
                after.append(dict(names.own))
        _join(names, after or [before])
        return bool(after)

    def _loop(self, body: Sequence[ast.stmt], names: Names, begin: Callable[[], object]) -> None:
        # What a name stands for when the body begins anew is known once that stays the same.
        self._quiet += 1
        try:
            for _ in range(_ROUNDS):
                before = dict(names.own)
                self._go_round(body, names, begin)
                if names.own == before:
                    break
            else:
                raise GivenUp
        finally:
            self._quiet -= 1
        self._go_round(body, names, begin)

    def _go_round(self, body: Sequence[ast.stmt], names: Names, begin: Callable[[], object]) -> None:
        before = dict(names.own)
        self._left_early.append([])
        begin()
        is_over = self.block(body, names)
        ends = self._left_early.pop()
        _join(names, [before, *ends, *([dict(names.own)] if is_over else [])])


def _join(names: Names, paths: Sequence[Mapping[str, AbstractValue]]) -> None:
    every = dict.fromkeys(name for path in paths for name in path)
    names.own.clear()
    names.own.update({name: joined(path.get(name, NOTHING) for path in paths) for name in every})
