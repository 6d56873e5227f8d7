"""An abstract interpreter of function bodies: statement by statement, with an abstract value for each name."""

from __future__ import annotations

import ast
import builtins
import types
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
    constant,
    item_of,
    joined,
    known,
)
from dagcelery.frontends.functional.definition import Definition
from dagcelery.frontends.functional.source_code import FunctionNode, function_node, own_nodes, parameters_of

_DEEP: Final = 12
_MOST: Final = 20_000
"""Expressions; what is longer is not followed to its end."""
_LISTS: Final = (builtins.list, builtins.tuple, builtins.sorted, builtins.reversed, builtins.iter)
_GROWING: Final = frozenset({"append", "add", "appendleft"})


class GivenUp(Exception):
    """There is too much to follow."""


class Interpreter:
    """Follows functions; `ask` is called for each expression, after its parts."""

    def __init__(self) -> None:
        self.functions: list[types.FunctionType] = []
        self._returned: list[list[AbstractValue]] = []
        self._seen: dict[int, AbstractValue] = {}
        self._left = _MOST
        self._deep = 0
        self._quiet = 0
        self._shown = 0
        self._unused: ast.expr | None = None

    def ask(self, node: ast.AST) -> None:
        """Look at an expression, or at a `match`; `seen` returns what its parts stand for."""

    def is_followed(self, function: types.FunctionType) -> bool:
        """Whether a function that is called is looked into."""
        return True

    def choose(self, call: ast.Call, callee: object, given: Sequence[AbstractValue]) -> AbstractValue | None:
        """Return what a call of `when` gives; None for any other call."""
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

    def run(self, node: FunctionNode, names: Names) -> AbstractValue:
        """Follow what is written in a function; returns what it returns."""
        known_names = {each.arg for each in parameters_of(node.args)}
        rest = tuple((name, names.own.pop(name)) for name in list(names.own) if name not in known_names)
        names.own.update({name: PLAIN for name in known_names if name not in names.own})
        if node.args.kwarg is not None:
            names.own[node.args.kwarg.arg] = Rest(rest)
        if isinstance(node, ast.Lambda):
            return self.value(node.body, names)
        self._returned.append([])
        is_over = not self.block(node.body, names)
        returned = self._returned.pop()
        is_generator = any(isinstance(each, ast.Yield | ast.YieldFrom) for each in own_nodes(node))
        return PLAIN if is_generator else joined(returned if is_over else [*returned, known(None)])

    # --- statements ---

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
        # After a break or a continue the loop goes on with some of these values; nothing more is claimed of any name.
        return not isinstance(node, ast.Raise)

    def _on_Return(self, node: ast.Return, names: Names) -> bool:
        self._returned[-1].append(known(None) if node.value is None else self.value(node.value, names))
        return False

    def _on_Expr(self, node: ast.Expr, names: Names) -> bool:
        self._unused = node.value
        self.value(node.value, names)
        return True

    def _on_Assign(self, node: ast.Assign, names: Names) -> bool:
        value = self.value(node.value, names)
        for target in node.targets:
            self.bind(target, value, names)
        return True

    def _on_AnnAssign(self, node: ast.AnnAssign, names: Names) -> bool:
        if node.value is not None:
            self.bind(node.target, self.value(node.value, names), names)
        return True

    def _on_AugAssign(self, node: ast.AugAssign, names: Names) -> bool:
        self.value(node.value, names)
        self.bind(node.target, PLAIN, names)
        return True

    def _on_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef, names: Names) -> bool:
        names.own[node.name] = PLAIN if node.decorator_list else Local(node, names)
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
        self.value(node.test, names)
        return self._paths([node.body, node.orelse], names)

    def _on_For(self, node: ast.For | ast.AsyncFor, names: Names) -> bool:
        source = self.value(node.iter, names)
        self._loop(node.body, names, lambda: self.bind(node.target, item_of(source), names))
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
        return self.block(node.body, names)

    _on_AsyncWith = _on_With

    def _on_Try(self, node: ast.Try, names: Names) -> bool:
        for handler in node.handlers:
            if handler.name:
                names.own[handler.name] = PLAIN
        paths = [[*node.body, *node.orelse], *(handler.body for handler in node.handlers)]
        return self.block(node.finalbody, names) if self._paths(paths, names) else False

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
        # What a name stands for when an iteration begins is known only after the one before.
        for is_quiet in (True, True, False):
            before = dict(names.own)
            self._quiet += is_quiet
            begin()
            self.block(body, names)
            self._quiet -= is_quiet
            _join(names, [before, dict(names.own)])

    def bind(self, target: ast.expr, value: AbstractValue, names: Names) -> None:
        """Let what is on the left of an assignment stand for a value."""
        if isinstance(target, ast.Name):
            names.own[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            exact = isinstance(value, Fixed) and len(value.items) == len(target.elts)
            starred = any(isinstance(each, ast.Starred) for each in target.elts)
            items = value.items if isinstance(value, Fixed) and exact and not starred else None
            for index, each in enumerate(target.elts):
                self.bind(each, items[index] if items is not None else item_of(value), names)
        elif isinstance(target, ast.Starred):
            self.bind(target.value, PLAIN, names)
        else:
            self.value(target, names)

    # --- expressions ---

    def value(self, node: ast.expr, names: Names) -> AbstractValue:
        """Follow an expression; returns what it stands for."""
        self._left -= 1
        if self._left < 0:
            raise GivenUp
        give = getattr(self, f"_of_{type(node).__name__}", None)
        value: AbstractValue = self._of_parts(node, names) if give is None else give(node, names)
        self._seen[id(node)] = value
        if not self._quiet:
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
        value = self.value(node.value, names)
        names.own[node.target.id] = value
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
        self.value(node.test, names)
        return joined([self.value(node.body, names), self.value(node.orelse, names)])

    def _of_BoolOp(self, node: ast.BoolOp, names: Names) -> AbstractValue:
        return joined([self.value(each, names) for each in node.values])

    def _of_Tuple(self, node: ast.Tuple | ast.List, names: Names) -> AbstractValue:
        values = tuple([self.value(each, names) for each in node.elts])
        return PLAIN if any(isinstance(each, ast.Starred) for each in node.elts) else Fixed(values)

    _of_List = _of_Tuple

    def _of_Dict(self, node: ast.Dict | ast.Set, names: Names) -> AbstractValue:
        self._of_parts(node, names)
        return TABLE

    _of_Set = _of_Dict

    def _of_Lambda(self, node: ast.Lambda, names: Names) -> AbstractValue:
        return Local(node, names)

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
            self.bind(each.target, item_of(self.value(each.iter, inner)), inner)
            for test in each.ifs:
                self.value(test, inner)
        return inner

    # --- calls ---

    def _of_Call(self, node: ast.Call, names: Names) -> AbstractValue:
        callee = self.value(node.func, names)
        is_shown = isinstance(callee, Known) and callee.value is builtins.print
        self._shown += is_shown
        given = [self.value(each, names) for each in node.args]
        named: dict[str | None, AbstractValue] = {}
        for each in node.keywords:
            value = self.value(each.value, names)
            named |= dict(value.pairs) if each.arg is None and isinstance(value, Rest) else {each.arg: value}
        self._shown -= is_shown
        if isinstance(callee, Local):
            return self.call_local(callee, given, named)
        if not isinstance(callee, Known):
            if isinstance(node.func, ast.Attribute) and node.func.attr in _GROWING and given:
                self._grow(node.func.value, given[0], names)
            return PLAIN
        chosen = self.choose(node, callee.value, [*given, *named.values()])
        return self._call_known(node, callee, given, named) if chosen is None else chosen

    def _call_known(
        self, node: ast.Call, callee: Known, given: list[AbstractValue], named: Mapping[str | None, AbstractValue]
    ) -> AbstractValue:
        function = callee.value
        if isinstance(function, Definition):
            is_variant = isinstance(node.func, ast.Attribute) and self.seen(node.func.value) is callee
            return callee if is_variant else self.result_of(function)
        if function is builtins.enumerate and given:
            return Each(Fixed((PLAIN, item_of(given[0]))))
        if function is builtins.zip:
            return Each(Fixed(tuple(map(item_of, given))))
        if any(function is each for each in _LISTS) and given:
            return Each(item_of(given[0]))
        if isinstance(function, types.MethodType) and isinstance(function.__func__, types.FunctionType):
            given, function = [known(callee.value.__self__), *given], function.__func__
        if isinstance(function, types.FunctionType):
            node_of_it = function_node(function.__code__)
            own = bound(node_of_it.args, given, named) if node_of_it is not None else {}
            return self.enter(function, own)
        return PLAIN

    def call_local(
        self, callee: Local, given: Sequence[AbstractValue], named: Mapping[str | None, AbstractValue]
    ) -> AbstractValue:
        """Follow a function that is written within the body; returns what it returns."""
        if self._deep >= _DEEP:
            return PLAIN
        own = bound(callee.node.args, given, named)
        self._deep += 1
        try:
            return self.run(callee.node, Names(own, callee.names.function, callee.names))
        finally:
            self._deep -= 1

    def _grow(self, holder: ast.expr, value: AbstractValue, names: Names) -> None:
        if isinstance(holder, ast.Name) and isinstance(known_list := names.look(holder.id), Each | Fixed):
            names.own[holder.id] = Each(joined([item_of(known_list), value]))


def _join(names: Names, paths: Sequence[Mapping[str, AbstractValue]]) -> None:
    every = dict.fromkeys(name for path in paths for name in path)
    names.own.clear()
    names.own.update({name: joined(path.get(name, NOTHING) for path in paths) for name in every})
