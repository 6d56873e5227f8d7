"""Questions that Python answers by itself, though the value that is asked about is not there: `x is None`, `type(x)`.

An output refuses to be compared and computed with, but it is an object, and has an identity, a type and a text. A body
that asks for these goes on with an answer about the output instead of the value. So its code is followed, as it was
written, with what its names stand for, and such a question is refused. Where paths meet and a name may stand for one or
the other, nothing is claimed: what is refused would have gone wrong.
"""

from __future__ import annotations

import ast
import builtins
import operator
import re
import types
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from sysconfig import get_paths
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional.abstract_values import (
    OUTPUT,
    PLAIN,
    AbstractValue,
    Known,
    holds_output,
    is_table,
    known,
)
from dagcelery.frontends.functional.definition import Definition
from dagcelery.frontends.functional.interpreter import GivenUp, Interpreter
from dagcelery.frontends.functional.source_code import function_node, questions
from dagcelery.model.names import short_name


def check_questions(body: Callable[..., Any], outputs: Collection[str], values: Mapping[str, object]) -> None:
    """Raise InvalidDag if a body asks what only a run will know.

    `outputs` are its parameters without a value, `values` those of the others.
    """
    own: dict[str, AbstractValue] = dict.fromkeys(outputs, OUTPUT)
    own |= {name: known(value) for name, value in values.items()}
    _Questions(body, outputs, is_dynamic=False).check(own)


def check_questions_of_task(body: Callable[..., Any], arguments: Mapping[str, object]) -> None:
    """Raise InvalidDag if a dynamic task asks what is known only to the tasks that will take what its calls return."""
    if isinstance(body, types.FunctionType) and _checked.get(body) is not body.__code__:
        _Questions(body, (), is_dynamic=True).check({name: known(value) for name, value in arguments.items()})
        _checked[body] = body.__code__


_checked: WeakKeyDictionary[types.FunctionType, types.CodeType] = WeakKeyDictionary()
"""Dynamic tasks that ask nothing, with the code that was looked at: they are called again and again."""


class _Questions:
    def __init__(self, body: Callable[..., Any], outputs: Collection[str], *, is_dynamic: bool) -> None:
        self.body = body
        self.outputs = outputs
        self.is_dynamic = is_dynamic
        self.interpreter = Interpreter(self.ask, self.follows, is_dynamic=is_dynamic)
        self.seen = self.interpreter.seen

    def check(self, own: dict[str, AbstractValue]) -> None:
        """Raise InvalidDag for a question in the body, whose parameters stand for what `own` says."""
        if not isinstance(self.body, types.FunctionType):
            return
        if function_node(self.body.__code__) is None:
            for name, line in questions(self.body.__code__, self.outputs):
                asked = f"whether {name!r} is some object, of some type, or how it is written"
                raise self._refusal(f"line {line} of {short_name(self.body)!r}", asked, name)
        with suppress(GivenUp, RecursionError):
            self.interpreter.enter(self.body, own)

    def follows(self, function: types.FunctionType) -> bool:
        """Whether a function is the user's own; libraries were not written for bodies."""
        package = str(function.__module__).partition(".")[0]
        is_near = package == str(self.body.__module__).partition(".")[0]
        return is_near or not (package == "dagcelery" or function.__code__.co_filename.startswith(_LIBRARIES))

    def ask(self, node: ast.AST) -> None:
        """Raise InvalidDag if Python answers this itself."""
        look = getattr(self, f"_ask_{type(node).__name__}", None)
        if look is not None:
            look(node)

    def _ask_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        for one, sign, other in zip(sides, node.ops, sides[1:], strict=False):
            if isinstance(sign, ast.Is | ast.IsNot):
                for side in (one, other):
                    self._refuse_output(node, side, "which object {} is")
            elif isinstance(sign, ast.In | ast.NotIn) and is_table(self.seen(other)):
                self._refuse_output(node, one, "whether {} is in a dict or a set")

    def _ask_Call(self, node: ast.Call) -> None:
        callee = self.seen(node.func)
        function = callee.value if isinstance(callee, Known) else None
        about = _ASKING.get(id(function))
        if about == _TEXT and node.args:
            self._refuse_text(node, node.args[0], is_refused=function in (builtins.str, builtins.format))
        elif about and node.args and not (function is builtins.getattr and len(node.args) < 3):  # such is a property
            self._refuse_output(node, node.args[0], about)
        if function is builtins.len and node.args and isinstance(node.args[0], ast.Set):
            elements = node.args[0].elts
            # Equal outputs are one in a set, which may be meant.
            if any(self.seen(each) != OUTPUT for each in elements):
                for each in elements:
                    self._refuse_output(node, each, "whether {} equals another value")
        if isinstance(node.func, ast.Attribute):
            self._ask_method(node, node.func)
        if callee != PLAIN and not self._is_of_user(function):
            self._ask_by_others(node)

    def _is_of_user(self, function: object) -> bool:
        return isinstance(function, Definition) or (isinstance(function, types.FunctionType) and self.follows(function))

    def _ask_by_others(self, node: ast.Call) -> None:
        """Refuse a question that a library is to ask, as in ``map(type, [x])`` or ``json.dumps(x, default=repr)``."""
        parts = [*node.args, *(each.value for each in node.keywords)]
        asked = [_ASKING.get(id(each.value)) for each in map(self.seen, parts) if isinstance(each, Known)]
        about = next(filter(None, asked), "")
        for part in parts if about else ():
            if self.seen(part) == OUTPUT or holds_output(self.seen(part)):
                self._refuse(node, part, about)

    def _ask_method(self, node: ast.Call, method: ast.Attribute) -> None:
        template = _text_of(method.value)
        if template is not None and method.attr == "format":
            for each in (*node.args, *(named.value for named in node.keywords)):
                if re.search(r"![ra]", template) or holds_output(self.seen(each)):
                    self._refuse_text(node, each)
        elif method.attr in _LOOKUPS and is_table(self.seen(method.value)) and node.args:
            self._refuse_output(node, node.args[0], "what a dict or a set has for {}")

    def _ask_Subscript(self, node: ast.Subscript) -> None:
        if is_table(self.seen(node.value)):
            self._refuse_output(node, node.slice, "what a dict has for {}")

    def _ask_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in _NOT_REFUSED:
            self._refuse_output(node, node.value, "Python's own attribute of {}")

    def _ask_FormattedValue(self, node: ast.FormattedValue) -> None:
        if node.conversion in (ord("r"), ord("a")) or holds_output(self.seen(node.value)):
            self._refuse_text(node, node.value)

    def _ask_BinOp(self, node: ast.BinOp) -> None:
        template = _text_of(node.left)
        if isinstance(node.op, ast.Mod) and template is not None:
            values = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            for each in values:
                if re.search(r"%[^%]*?[ra]", template) or holds_output(self.seen(each)):
                    self._refuse_text(node, each)

    def _ask_Match(self, node: ast.Match) -> None:
        if any(not isinstance(case.pattern, ast.MatchAs) or case.pattern.pattern for case in node.cases):
            self._refuse_output(node.subject, node.subject, "what {} looks like")

    def _refuse_text(self, node: ast.AST, part: ast.expr, *, is_refused: bool = False) -> None:
        if holds_output(self.seen(part)):
            self._refuse(node, part, _TEXT)
        if not is_refused:  # by the output itself
            self._refuse_output(node, part, _TEXT)

    def _refuse_output(self, node: ast.AST, part: ast.expr, about: str) -> None:
        if self.seen(part) == OUTPUT:
            self._refuse(node, part, about)

    def _refuse(self, node: ast.AST, part: ast.expr, about: str) -> NoReturn:
        expression, text = ast.unparse(node), ast.unparse(part)
        function = self.interpreter.functions[-1]
        where = f"{expression!r} in line {getattr(node, 'lineno', 0)} of {short_name(function)!r}"
        raise self._refusal(where, about.format(repr(text)), text if text in self.outputs else "")

    def _refusal(self, where: str, asked: str, parameter: str) -> InvalidDag:
        when = "in the tasks that take it" if self.is_dynamic else "when the DAG runs"
        static = f", or let the DAG know its value: @dag(static=({parameter!r},))" if parameter else ""
        choosing = "decide" if self.is_dynamic else "choose with when(...), or decide"
        return InvalidDag(where, f"asks {asked}, but it has a value only {when}", f"{choosing} in a task{static}")


def _text_of(node: ast.expr) -> str | None:
    """Return the text of a literal; None for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


_LIBRARIES: Final = tuple({get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_TEXT: Final = "how {} is written"
_NOT_REFUSED: Final = frozenset({"__class__", "__doc__", "__module__", "__slots__"})
"""Of Python's own names an output refuses all others itself."""
_LOOKUPS: Final = frozenset({"get", "setdefault", "pop", "__contains__", "__getitem__"})
_ASKING: Final[Mapping[int, str]] = {
    id(function): about
    for about, functions in {
        "of which type {} is": (builtins.type, builtins.isinstance, builtins.issubclass, builtins.callable),
        "which object {} is": (builtins.id, builtins.hash, operator.is_, operator.is_not),
        "which attributes {} has": (builtins.hasattr, builtins.getattr, builtins.vars, builtins.dir),
        _TEXT: (builtins.repr, builtins.ascii, builtins.str, builtins.format),
    }.items()
    for function in functions
}
"""What functions of Python's own ask, by their ids."""
