"""An abstract interpreter follows a body as it was written, statement by statement, with what its names stand for.

It runs nothing. What is asked of the values is looked at by another (`questions.py`), which hears of each expression.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from dagcelery.frontends.functional.abstract_values import (
    OUTPUT,
    PLAIN,
    TABLE,
    AbstractValue,
    CallFrame,
    Fixed,
    Known,
    LocalFunction,
    Rest,
    Uniform,
    attribute_of,
    bound,
    compared,
    defaults_of,
    is_harmless,
    is_list,
    is_message,
    item_of,
    joined,
    known,
    local_function,
    result_of_builtin,
    truth,
)
from dagcelery.frontends.functional.definition import Definition
from dagcelery.frontends.functional.source_code import (
    GROWING,
    READING,
    FunctionNode,
    changed_within,
    function_node,
    is_generator,
    parameters_of,
    passed_on,
    root_of,
    stored_in,
)

_DEEPEST: Final = 12
"""Calls within each other; what a deeper one returns is not known."""

_MOST_EXPRESSIONS: Final = 20_000

_MOST_ROUNDS: Final = 8
"""Of a loop, until what the names stand for when it begins anew stays the same."""

_WHEN: Final = "dagcelery.frontends.functional.building"

_FRESH: Final = (ast.List, ast.ListComp, ast.GeneratorExp, ast.Call, ast.BinOp)
"""Expressions that make an object which has no other name."""


class GivenUp(Exception):
    """There is more to follow than is worth it."""


class Interpreter:
    """Follows functions; `ask` is called with each expression, and each `match`, once its parts have been followed.

    `follows` says whether a function that is called is looked into. In a dynamic task each call of a task or a DAG
    gives a promise. An exception ends the interpretation, and with it the use of what it has counted.
    """

    def __init__(
        self,
        ask: Callable[[ast.AST], None],
        follows: Callable[[types.FunctionType], bool],
        *,
        is_dynamic: bool,
    ) -> None:
        self._ask = ask
        self._follows = follows
        self._is_dynamic = is_dynamic
        self.functions: list[types.FunctionType] = []
        self._seen: dict[int, AbstractValue] = {}
        self._expressions = 0
        self._local_calls = 0
        self._unasked = 0
        self._shown = 0
        self._returned: list[list[AbstractValue]] = []
        self._left_early: list[list[dict[str, AbstractValue]]] = []

    def seen(self, node: ast.expr) -> AbstractValue:
        """Return what an expression stood for when it was followed last."""
        return self._seen.get(id(node), PLAIN)

    def enter(self, function: types.FunctionType, own: dict[str, AbstractValue]) -> AbstractValue:
        """Follow a function with values for its parameters; return what it returns."""
        node = function_node(function.__code__)
        if node is None or len(self.functions) >= _DEEPEST or not self._follows(function):
            return PLAIN
        self.functions.append(function)
        result = self._run(node, CallFrame(own, function))
        self.functions.pop()
        return result

    def _run(self, node: FunctionNode, frame: CallFrame) -> AbstractValue:
        declared = {each.arg for each in parameters_of(node.args)}
        rest = tuple((name, frame.own.pop(name)) for name in list(frame.own) if name not in declared)
        frame.changing = changed_within(node)
        frame.claim_nothing((declared - frame.own.keys()) | frame.changing.intersection(declared))
        if node.args.kwarg is not None:
            frame.own[node.args.kwarg.arg] = Rest(rest)
        if isinstance(node, ast.Lambda):
            return self._value(node.body, frame)
        self._returned.append([])
        ends = self._block(node.body, frame)
        returned = self._returned.pop()
        return PLAIN if is_generator(node) else joined([*returned, known(None)] if ends else returned)

    def _bind(self, target: ast.expr, value: AbstractValue, frame: CallFrame, *, is_own: bool = True) -> None:
        """Let the left side of an assignment stand for a value; a list that is not `is_own` has other names, too."""
        if isinstance(target, ast.Name):
            frame.put(target.id, value if is_own or not is_list(value) else PLAIN)
        elif isinstance(target, ast.Tuple | ast.List):
            exact = isinstance(value, Fixed) and len(value.items) == len(target.elts)
            starred = any(isinstance(each, ast.Starred) for each in target.elts)
            items = value.items if isinstance(value, Fixed) and exact and not starred else None
            for index, each in enumerate(target.elts):
                self._bind(each, items[index] if items is not None else item_of(value), frame, is_own=False)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, PLAIN, frame)
        else:
            self._value(target, frame)
            frame.doubt(root_of(target))

    # --- expressions ---

    def _value(self, node: ast.expr, frame: CallFrame, *, is_used: bool = True) -> AbstractValue:
        """Follow an expression; return what it stands for."""
        self._expressions += 1
        if self._expressions > _MOST_EXPRESSIONS:
            raise GivenUp
        follow = getattr(self, f"_of_{type(node).__name__}", self._of_parts)
        value: AbstractValue = follow(node, frame)
        self._seen[id(node)] = value
        if is_used and not (self._unasked or self._shown):
            self._ask(node)
        return value

    def _renamed_value(self, node: ast.expr, frame: CallFrame) -> AbstractValue:
        """Follow an expression whose value gets another name, by which it may be changed."""
        value = self._value(node, frame)
        frame.doubt(passed_on(node))
        return PLAIN if is_list(value) and not isinstance(node, _FRESH) else value

    def _iterated_value(self, node: ast.expr, frame: CallFrame) -> AbstractValue:
        """Follow an expression whose elements get names."""
        value = self._value(node, frame)
        if not isinstance(node, ast.Name):
            frame.doubt(passed_on(node))
        return value

    def _show(self, node: ast.expr | None, frame: CallFrame) -> None:
        """Follow an expression that is only shown to people: what it asks changes nothing."""
        self._shown += 1
        if node is not None:
            self._value(node, frame)
        self._shown -= 1

    def _of_parts(self, node: ast.AST, frame: CallFrame) -> AbstractValue:
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                self._value(part, frame)
        return PLAIN

    def _of_Constant(self, node: ast.Constant, frame: CallFrame) -> AbstractValue:
        return known(node.value)

    def _of_Name(self, node: ast.Name, frame: CallFrame) -> AbstractValue:
        return frame.look(node.id)

    def _of_NamedExpr(self, node: ast.NamedExpr, frame: CallFrame) -> AbstractValue:
        value = self._renamed_value(node.value, frame)
        frame.put(node.target.id, value)
        return value

    def _of_Await(self, node: ast.Await, frame: CallFrame) -> AbstractValue:
        return self._value(node.value, frame)

    def _of_Attribute(self, node: ast.Attribute, frame: CallFrame) -> AbstractValue:
        return attribute_of(self._value(node.value, frame), node.attr)

    def _of_Subscript(self, node: ast.Subscript, frame: CallFrame) -> AbstractValue:
        value, _ = self._value(node.value, frame), self._value(node.slice, frame)
        index = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if isinstance(value, Fixed) and isinstance(index, int) and -len(value.items) <= index < len(value.items):
            return value.items[index]
        return PLAIN if isinstance(node.slice, ast.Slice) or isinstance(value, Known) else item_of(value)

    def _of_IfExp(self, node: ast.IfExp, frame: CallFrame) -> AbstractValue:
        holds = truth(self._value(node.test, frame))
        if holds is not None:
            return self._value(node.body if holds else node.orelse, frame)
        return joined([self._value(node.body, frame), self._value(node.orelse, frame)])

    def _of_BoolOp(self, node: ast.BoolOp, frame: CallFrame) -> AbstractValue:
        values: list[AbstractValue] = []
        for each in node.values:
            values.append(self._value(each, frame))
            if truth(values[-1]) is isinstance(node.op, ast.Or):
                break  # the others are not looked at
        return joined([each for each in values[:-1] if truth(each) is None] + values[-1:])

    def _of_UnaryOp(self, node: ast.UnaryOp, frame: CallFrame) -> AbstractValue:
        holds = truth(self._value(node.operand, frame))
        return known(not holds) if isinstance(node.op, ast.Not) and holds is not None else PLAIN

    def _of_Compare(self, node: ast.Compare, frame: CallFrame) -> AbstractValue:
        one, *others = [self._value(each, frame) for each in (node.left, *node.comparators)]
        return compared(one, node.ops[0], others[0]) if len(others) == 1 else PLAIN

    def _of_Tuple(self, node: ast.Tuple | ast.List, frame: CallFrame) -> AbstractValue:
        values = tuple([self._value(each, frame) for each in node.elts])
        if any(isinstance(each, ast.Starred) for each in node.elts):
            return PLAIN
        return Fixed(values, isinstance(node, ast.Tuple))

    _of_List = _of_Tuple

    def _of_Dict(self, node: ast.Dict | ast.Set, frame: CallFrame) -> AbstractValue:
        self._of_parts(node, frame)
        return TABLE

    _of_Set = _of_Dict

    def _of_Lambda(self, node: ast.Lambda, frame: CallFrame) -> AbstractValue:
        return local_function(node, frame)

    def _of_ListComp(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, frame: CallFrame) -> AbstractValue:
        element = self._value(node.elt, self._inner_frame(node.generators, frame))
        return TABLE if isinstance(node, ast.SetComp) else Uniform(element)

    _of_GeneratorExp = _of_SetComp = _of_ListComp

    def _of_DictComp(self, node: ast.DictComp, frame: CallFrame) -> AbstractValue:
        inner = self._inner_frame(node.generators, frame)
        self._value(node.key, inner)
        self._value(node.value, inner)
        return TABLE

    def _inner_frame(self, generators: Iterable[ast.comprehension], frame: CallFrame) -> CallFrame:
        inner = CallFrame({}, frame.function, frame)
        for each in generators:
            self._bind(each.target, item_of(self._iterated_value(each.iter, inner)), inner, is_own=False)
            for test in each.ifs:
                self._value(test, inner)
        return inner

    # --- calls ---

    def _of_Call(self, node: ast.Call, frame: CallFrame) -> AbstractValue:
        callee = self._value(node.func, frame)
        is_shown = is_message(node.func, callee)
        self._shown += is_shown
        arguments = [self._value(each, frame) for each in node.args]
        named: dict[str | None, AbstractValue] = {}
        for each in node.keywords:
            value = self._value(each.value, frame)
            named |= dict(value.pairs) if each.arg is None and isinstance(value, Rest) else {each.arg: value}
        self._shown -= is_shown
        if isinstance(node.func, ast.Attribute) and not isinstance(callee, Known):
            self._call_method(node.func, arguments, frame)
        result = self._called(node, callee, arguments, named)
        if not (is_shown or is_harmless(callee)):
            for part in (*node.args, *(each.value for each in node.keywords)):
                frame.doubt(passed_on(part))
        return result

    def _called(
        self,
        node: ast.Call,
        callee: AbstractValue,
        arguments: list[AbstractValue],
        named: Mapping[str | None, AbstractValue],
    ) -> AbstractValue:
        starred = [at for at, each in enumerate(node.args) if isinstance(each, ast.Starred)]
        placed = arguments[: starred[0]] if starred else arguments  # a starred one stands for any number of them
        if isinstance(callee, LocalFunction):
            return self._call_local(callee, placed, named)
        if not isinstance(callee, Known):
            return PLAIN
        function = callee.value
        if getattr(function, "__module__", None) == _WHEN and (arguments or named):
            return self._choice([*arguments, *named.values()])
        if isinstance(function, Definition):
            is_variant = isinstance(node.func, ast.Attribute) and self.seen(node.func.value) is callee
            return callee if is_variant else self._result_of(function)
        if isinstance(function, types.MethodType) and isinstance(function.__func__, types.FunctionType):
            placed, function = [known(function.__self__), *placed], function.__func__
        if isinstance(function, types.FunctionType):
            callee_node = function_node(function.__code__)
            own = bound(callee_node.args, placed, named) if callee_node is not None else {}
            has_all = not starred and None not in named
            return self.enter(function, {**defaults_of(function), **own} if has_all else own)
        return PLAIN if starred else result_of_builtin(function, arguments)

    def _call_local(
        self, callee: LocalFunction, arguments: Sequence[AbstractValue], named: Mapping[str | None, AbstractValue]
    ) -> AbstractValue:
        if self._local_calls >= _DEEPEST:
            return PLAIN
        own = bound(callee.node.args, arguments, named)
        self._local_calls += 1
        result = self._run(callee.node, CallFrame(own, callee.frame.function, callee.frame))
        self._local_calls -= 1
        return result

    def _call_method(self, method: ast.Attribute, arguments: Sequence[AbstractValue], frame: CallFrame) -> None:
        if isinstance(method.value, ast.Name) and method.attr in GROWING and len(arguments) == 1:
            holder = frame.look(method.value.id)
            if is_list(holder):
                frame.change(method.value.id, Uniform(joined([item_of(holder), arguments[0]])))
        elif method.attr not in READING:
            frame.doubt(root_of(method.value))

    def _choice(self, arguments: Sequence[AbstractValue]) -> AbstractValue:
        """Return what `when` gives: of an output an output; its branches are bodies, too."""
        condition, *branches = arguments
        results = [self._branch(each) for each in branches]
        return OUTPUT if condition == OUTPUT else joined(results) if len(results) == 2 else PLAIN

    def _branch(self, branch: AbstractValue) -> AbstractValue:
        if isinstance(branch, LocalFunction):
            return self._call_local(branch, (), {})
        if isinstance(branch, Known) and isinstance(branch.value, types.FunctionType):
            return self.enter(branch.value, {})
        return PLAIN

    def _result_of(self, callee: Definition[..., object]) -> AbstractValue:
        """Return what a task or a DAG gives; of a DAG the structure of what its body returns, as far as it is known."""
        if self._is_dynamic or not hasattr(callee, "static"):
            return OUTPUT
        names = [name for name in callee._signature.parameters if name not in callee.static]
        self._unasked += 1
        function: object = callee.fn
        result: AbstractValue = PLAIN
        if isinstance(function, types.FunctionType):
            result = self.enter(function, dict.fromkeys(names, OUTPUT))
        self._unasked -= 1
        return OUTPUT if isinstance(result, Known) and result.value is None else result  # others may come after it

    # --- statements ---

    def _block(self, statements: Iterable[ast.stmt], frame: CallFrame) -> bool:
        """Follow statements; return whether what comes after them is reached."""
        return all(self._statement(each, frame) for each in statements)

    def _statement(self, node: ast.stmt, frame: CallFrame) -> bool:
        """Follow a statement; return whether the next one is reached, which most do not prevent."""
        follow = getattr(self, f"_on_{type(node).__name__}", self._of_parts)
        return follow(node, frame) is not False

    def _on_Return(self, node: ast.Return, frame: CallFrame) -> bool:
        self._returned[-1].append(known(None) if node.value is None else self._value(node.value, frame))
        return False

    def _on_Raise(self, node: ast.Raise, frame: CallFrame) -> bool:
        self._show(node.exc, frame)
        self._show(node.cause, frame)
        return False

    def _on_Assert(self, node: ast.Assert, frame: CallFrame) -> None:
        self._value(node.test, frame)
        self._show(node.msg, frame)

    def _on_Break(self, node: ast.Break | ast.Continue, frame: CallFrame) -> bool:
        self._left_early[-1].append(dict(frame.own))
        return False

    _on_Continue = _on_Break

    def _on_Delete(self, node: ast.Delete, frame: CallFrame) -> None:
        for target in node.targets:
            frame.doubt(root_of(target))

    def _on_Expr(self, node: ast.Expr, frame: CallFrame) -> None:
        self._value(node.value, frame, is_used=False)

    def _on_Assign(self, node: ast.Assign, frame: CallFrame) -> None:
        value = self._renamed_value(node.value, frame)
        for target in node.targets:
            self._bind(target, value, frame, is_own=len(node.targets) == 1)

    def _on_AnnAssign(self, node: ast.AnnAssign, frame: CallFrame) -> None:
        if node.value is not None:
            self._bind(node.target, self._renamed_value(node.value, frame), frame)

    def _on_AugAssign(self, node: ast.AugAssign, frame: CallFrame) -> None:
        self._value(node.value, frame)
        self._bind(node.target, PLAIN, frame)

    def _on_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef, frame: CallFrame) -> None:
        frame.put(node.name, PLAIN if node.decorator_list else local_function(node, frame))

    _on_AsyncFunctionDef = _on_FunctionDef

    def _on_ClassDef(self, node: ast.ClassDef, frame: CallFrame) -> None:
        frame.claim_nothing([node.name])

    def _on_Import(self, node: ast.Import | ast.ImportFrom, frame: CallFrame) -> None:
        frame.claim_nothing((each.asname or each.name).partition(".")[0] for each in node.names)

    _on_ImportFrom = _on_Import

    def _on_Global(self, node: ast.Global | ast.Nonlocal, frame: CallFrame) -> None:
        frame.claim_nothing(node.names)

    _on_Nonlocal = _on_Global

    def _on_If(self, node: ast.If, frame: CallFrame) -> bool:
        holds = truth(self._value(node.test, frame))
        if holds is not None:
            return self._block(node.body if holds else node.orelse, frame)
        return self._paths([node.body, node.orelse], frame)

    def _on_For(self, node: ast.For | ast.AsyncFor, frame: CallFrame) -> None:
        item = item_of(self._iterated_value(node.iter, frame))
        self._loop(node, frame, partial(self._bind, node.target, item, frame, is_own=False))

    _on_AsyncFor = _on_For

    def _on_While(self, node: ast.While, frame: CallFrame) -> None:
        self._loop(node, frame, partial(self._value, node.test, frame))

    def _on_With(self, node: ast.With | ast.AsyncWith, frame: CallFrame) -> None:
        for item in node.items:
            self._value(item.context_expr, frame)
            if item.optional_vars is not None:
                self._bind(item.optional_vars, PLAIN, frame)
        before = dict(frame.own)
        self._block(node.body, frame)
        frame.join([before, frame.own])  # it may end an error, wherever that was raised

    _on_AsyncWith = _on_With

    def _on_Try(self, node: ast.Try, frame: CallFrame) -> bool:
        before = dict(frame.own)
        ends = self._block([*node.body, *node.orelse], frame)
        after = frame.own
        frame.join([before, after])
        frame.claim_nothing(stored_in(node.body))  # an error may come before or after
        broken = frame.own
        paths = [after] if ends else []
        for handler in node.handlers:
            frame.own = dict(broken)
            if handler.name:
                frame.put(handler.name, PLAIN)
            if self._block(handler.body, frame):
                paths.append(frame.own)
        frame.join([*paths, broken] if node.finalbody else paths or [broken])
        return self._block(node.finalbody, frame) and bool(paths)

    _on_TryStar = _on_Try

    def _on_Match(self, node: ast.Match, frame: CallFrame) -> bool:
        self._value(node.subject, frame)
        if not self._unasked:
            self._ask(node)
        for case in node.cases:
            names = [getattr(part, "name", None) or getattr(part, "rest", None) for part in ast.walk(case.pattern)]
            frame.claim_nothing(filter(None, names))
            if case.guard is not None:
                self._value(case.guard, frame)
        return self._paths([[], *(case.body for case in node.cases)], frame)

    def _paths(self, paths: Sequence[Sequence[ast.stmt]], frame: CallFrame) -> bool:
        """Follow each of several ways to go on; those that come to an end say nothing of what is after them."""
        before, ends = frame.own, []
        for path in paths:
            frame.own = dict(before)
            if self._block(path, frame):
                ends.append(frame.own)
        frame.join(ends or [before])
        return bool(ends)

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, frame: CallFrame, begin: Callable[[], object]) -> None:
        # What a name stands for when the body begins anew is known once that stays the same.
        self._unasked += 1
        for _ in range(_MOST_ROUNDS):
            before = frame.own
            self._go_round(node.body, frame, begin)
            if frame.own == before:
                break
        else:
            raise GivenUp
        self._unasked -= 1
        self._go_round(node.body, frame, begin)
        self._block(node.orelse, frame)

    def _go_round(self, body: Sequence[ast.stmt], frame: CallFrame, begin: Callable[[], object]) -> None:
        before, frame.own = frame.own, dict(frame.own)
        self._left_early.append([])
        begin()
        ends = [frame.own] if self._block(body, frame) else []
        frame.join([before, *self._left_early.pop(), *ends])
