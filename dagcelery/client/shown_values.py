"""Values of a run as a person may be shown them who looks on from outside: decoded as plain JSON, or not at all.

What another serializer wrote is told by its kind and size, whatever this process could decode: unpickling runs code,
and whoever looks at a page did not ask for that. What is sensitive stays hidden, and so is what a sensitive argument
reads. Large values are not read, and of a list the first elements.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from dagcelery.engine.io import Reader, Rows
from dagcelery.engine.run_view import RunView
from dagcelery.errors import DagceleryError, DeserializationError, NotConfigured, ValueFreed
from dagcelery.payload import addresses, values
from dagcelery.payload.codecs import AsJSON, Bytes, BytesCodec, Codec, codec_for
from dagcelery.payload.formats.plain_json import AsPlainJSON
from dagcelery.planner.plan import Expr, Step, level, tokens
from dagcelery.skipped import Skipped
from dagcelery.store.records import ROOT, Scope, Spot

MOST_TEXT: Final = 2_000
"""Characters of a value that are shown."""
_MOST_BYTES: Final = 256 * 1024
_MOST_ELEMENTS: Final = 100


@dataclass(frozen=True, slots=True)
class ShownValue:
    """A value as text, or why it has none.

    `kind` is "json" with the first 2,000 characters as `text`; "large", JSON that is not read; "hidden", since it is
    sensitive; "none", and `text` says why; or what another serializer is called, such as "pickle", with its `size` in
    bytes. The size of large values is about right.
    """

    kind: str
    text: str = ""
    size: int = 0
    type: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class ShownInput:
    """An argument of a node, by its name."""

    name: str
    value: ShownValue

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {"name": self.name, "value": self.value.to_dict()}


HIDDEN_VALUE: Final = ShownValue("hidden")


def run_result(view: RunView) -> ShownValue:
    """Show what a run that is done gave back."""
    body = view.program.body(0)
    hidden = _Hidden(view, 0)
    if any(map(hidden.has, [body.returns] if body.returns is not None else [expr for _, expr, _ in body.outputs])):
        return HIDDEN_VALUE
    reader = _JsonReader(view, Scope(ROOT))
    if body.returns is not None:
        returns = body.returns
        return _shown(lambda: reader.evaluate(returns))
    return _shown(lambda: {name: reader.evaluate(expr) for name, expr, _ in body.outputs} or None)


def inputs(view: RunView, spot: Spot) -> list[ShownInput]:
    """Show the arguments of a node; of one with items those of the first item of `spot`, if it names one."""
    scope = view.scope(spot.scope)
    step = view.program.step(scope.body, spot.step)
    hidden, reader = _Hidden(view, scope.body), _JsonReader(view, scope)
    is_branch = "branch" in step.options
    lo = 0 if is_branch else spot.lo
    found = []
    for name, expr in step.arguments:
        if hidden.has_argument(step, name, expr):
            value = HIDDEN_VALUE
        elif step.over is not None and lo < 0 and any(how == "each" for _, how in tokens(expr)):
            value = ShownValue("none", "another one for each item")
        else:
            alone = replace(step, arguments=((name, expr),))
            rows = Rows(reader, alone, lo, lo + 1 if lo >= 0 else -1)
            value = _shown(lambda rows=rows, name=name, at=lo: rows.item(at)[name])  # type: ignore[misc]
        found.append(ShownInput(name, value))
    return found


def result(view: RunView, spot: Spot) -> ShownValue:
    """Show what a node that is done gave back, or the first item of `spot`; parts by their names."""
    scope = view.scope(spot.scope)
    step = view.program.step(scope.body, spot.step)
    if not step.outputs:
        return ShownValue("none", "nothing in the DAG reads it, so it is not stored")
    own = [f"{spot.step}.{at}" for at in range(len(step.outputs))]
    if _Hidden(view, scope.body).has_result(step, own):
        return HIDDEN_VALUE
    reader = _JsonReader(view, scope)
    if len(own) == 1:
        return _shown(partial(_output, reader, step, spot, own[0]))
    names = [output.name for output in step.outputs]
    return _shown(lambda: {name: _output(reader, step, spot, token) for name, token in zip(names, own, strict=True)})


def _output(reader: Reader, step: Step, spot: Spot, token: str) -> Any:
    if "branch" in step.options:
        return reader.column(token, 0, 1)[0]
    if spot.lo >= 0:
        return reader.column(token, spot.lo, spot.lo + 1)[0]
    return reader.whole(token)


# -- what is hidden -------------------------------------------------------------------------------
class _Hidden:
    """What of a plan is hidden, by body: tokens that a sensitive argument reads, there or in a body within; and what a
    task gives back that has such arguments, since it may be made of them.
    """

    def __init__(self, view: RunView, number: int) -> None:
        self._plan, self._at = view.program.home(number) or (view.program.plan, number)
        bodies = self._plan.bodies
        self._above = {step.target: at for at, body in enumerate(bodies) for step in body.steps if step.kind == "dag"}
        self._tokens: list[set[str]] = [set() for _ in bodies]
        self._tokens[0] = {f"${name}" for name in self._plan.options.get("sensitive", ())}
        for at, body in enumerate(bodies):
            own = (number for number, step in enumerate(body.steps) if step.options.get("sensitive"))
            self._tokens[at].update(f"{step}.{out}" for step in own for out in range(len(body.steps[step].outputs)))
        for at in reversed(range(len(bodies))):  # a body has a greater number than the one around it
            for number, step in enumerate(bodies[at].steps):
                self._hide(at, number, step)

    def _hide(self, at: int, number: int, step: Step) -> None:
        """Hide what a step's sensitive arguments read, and what a body that it enters gives back of what is hidden."""
        for name, expr in step.arguments:
            if self._is_named(step, name):
                for body, token in self._places(at, expr):
                    self._tokens[body].add(token)
        if step.kind == "dag":
            for out, (_, expr, _) in enumerate(self._plan.bodies[step.target].outputs):
                if any(token in self._tokens[body] for body, token in self._places(step.target, expr)):
                    self._tokens[at].add(f"{number}.{out}")

    def _is_named(self, step: Step, name: str) -> bool:
        names = step.options.get("sensitive", ())
        return names is True or name in names or (step.kind == "dag" and f"${name}" in self._tokens[step.target])

    def _places(self, at: int, expr: Expr) -> Iterator[tuple[int, str]]:
        for token, _ in tokens(expr):
            up, name = level(token)
            body = at
            for _ in range(up):
                body = self._above.get(body, body)
            yield body, name

    def has_argument(self, step: Step, name: str, expr: Expr) -> bool:
        """Whether an argument of a step of this body is hidden."""
        return self._is_named(step, name) or self.has(expr)

    def has(self, expr: Expr) -> bool:
        """Whether an expression in this body reads what is hidden."""
        return any(token in self._tokens[body] for body, token in self._places(self._at, expr))

    def has_result(self, step: Step, own: Iterable[str]) -> bool:
        """Whether what a step of this body gives back is hidden, which has these tokens."""
        return bool(step.options.get("sensitive")) or not self._tokens[self._at].isdisjoint(own)


# -- reading --------------------------------------------------------------------------------------
class _NotShown(Exception):
    """A value is not decoded, and this is what is said of it instead."""

    def __init__(self, shown: ShownValue) -> None:
        super().__init__(shown.kind)
        self.shown = shown


class _PlainJson(BytesCodec):
    """Reads JSON as it stands: what stands for an object becomes no object."""

    def load(self, data: Bytes, culprit: object = "") -> Any:
        return json.loads(bytes(data))

    def load_many(self, data: Bytes, count: int, culprit: object = "") -> list[Any]:
        elements: list[Any] = self.load(data)
        return elements


_JSON: Final[Mapping[str, Codec]] = {
    "json": _PlainJson(AsJSON()),
    "models": _PlainJson(AsJSON()),
    AsPlainJSON.kind: codec_for(AsPlainJSON()),
}
"""Codecs whose bytes are JSON, by the kinds of those that wrote them."""


class _JsonReader(Reader):
    """Reads what is JSON and small, and raises _NotShown for all else. What has been cut ends with a text saying so."""

    def whole(self, token: str, *, lazy: bool = False) -> Any:
        """Return a whole value, of a list the first elements."""
        view = self.view
        scope, name = view.resolve(self.scope.id, token)
        over = view.list_over(scope, name)
        if over is not None:
            return self._list(scope, name, view.count(scope, over), lazy)
        size, stored = view.store.reader.glimpse(view.run_id, scope, name, _MOST_BYTES)
        if not size:
            raise ValueFreed(f"value {name}", "it is not stored, or not any more", "")
        kind = view.codec_kind(scope, name)
        if kind not in _JSON:
            raise _NotShown(ShownValue(kind, size=size))
        if stored is None:
            raise _NotShown(ShownValue("large", size=size))
        address = addresses.value(view.run_id, scope, name)
        value = values.open_value(view.keyring, _JSON[kind], address, stored)
        if value is values.SPLIT:
            twin = self._split_twin(scope, name)
            return self._list(scope, twin, view.count(scope, twin), lazy)
        return value

    def _list(self, scope: str, token: str, count: int, lazy: bool) -> Any:
        return _cut(self._elements(scope, token, 0, min(count, _MOST_ELEMENTS)), count)

    def _elements(self, scope: str, token: str, lo: int, hi: int) -> Iterator[Any]:
        view = self.view
        if hi <= lo:
            return
        blocks = view.store.reader.first_blocks(view.run_id, scope, token, lo, hi)
        kind = view.codec_kind(scope, token)
        if kind not in _JSON:
            raise _NotShown(ShownValue(kind, size=sum(len(block.data) for block in blocks)))
        if any(not block.data for block in blocks) or (blocks and blocks[-1].hi < hi):
            raise _NotShown(ShownValue("large", size=sum(len(block.data) for block in blocks)))
        yield from self._overlay(scope, token, lo, hi, blocks)

    def _open(self, scope: str, token: str, block: Any) -> list[Any]:
        place = self.view.run_id, scope, token, block.lo, block.hi
        codec = _JSON[self.view.codec_kind(scope, token)]
        return values.open_block(self.view.keyring, codec, *place, block.data)

    def evaluate(self, expr: Expr, element: Callable[[str], Any] | None = None, *, lazy: bool = False) -> Any:
        """Return the value of an expression, unless an object is part of it."""
        if expr[0] == "blob":
            raise _NotShown(ShownValue("pickle", size=len(expr[1]) * 3 // 4))
        if expr[0] == "live":
            raise _NotShown(ShownValue("object", type=type(expr[1]).__name__))
        return super().evaluate(expr, element, lazy=lazy)

    def _splice(self, template: Expr, over: str) -> Iterator[Any]:
        count = self.view.count(self.scope.id, over)
        shown = min(count, _MOST_ELEMENTS)
        names = sorted({token for token, how in tokens(template, spliced=True) if how == "spliced"})
        columns = {name: list(self._elements(*self.view.resolve(self.scope.id, name), 0, shown)) for name in names}
        rows = ({name: column[at] for name, column in columns.items()} for at in range(shown))
        yield from _cut((self.evaluate(template, row.__getitem__) for row in rows), count)


def _cut(elements: Iterator[Any], count: int) -> list[Any]:
    found = list(elements)
    return found if count <= len(found) else [*found, f"… and {count - len(found):,} more"]


def _shown(read: Callable[[], Any]) -> ShownValue:
    """Read a value, and show it, or why it is not there."""
    try:
        told = json.dumps(read(), ensure_ascii=False, default=_as_text)
        text = told.encode("utf-8", "backslashreplace").decode()  # half a character, as JSON writes it
    except _NotShown as other:
        return other.shown
    except DeserializationError as error:
        return ShownValue("none", error.problem)
    except NotConfigured:  # it is kept in a file, which is not opened for this
        return ShownValue("large")
    except DagceleryError as error:
        return ShownValue("none", str(error))
    except (ValueError, TypeError, RecursionError):
        return ShownValue("none", "it is not plain JSON")
    return ShownValue("json", text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…", len(text))


def _as_text(value: object) -> str:
    if type(value) is Skipped:
        return f"{value.address} was skipped: {value.type_name}"
    raise TypeError(type(value).__name__)
