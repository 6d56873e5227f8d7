"""A body is followed as it was written, statement by statement, with what its names stand for."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from dagcelery.frontends.functional.abstract_values import (
    NOTHING,
    PLAIN,
    AbstractValue,
    Names,
    Rest,
    item_of,
    joined,
    known,
    truth,
    written_within,
)
from dagcelery.frontends.functional.changing import changed_within, root_of, stored_in
from dagcelery.frontends.functional.expressions import ExpressionInterpreter, GivenUp
from dagcelery.frontends.functional.source_code import FunctionNode, own_nodes, parameters_of

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
