"""Random bodies of DAGs: a few lines of Python that only call tasks, loop over lists and put values together.

Variables are of three kinds. A *value* is an output or a parameter taken whole, a *source* an output or a parameter
that is a list, and a *row* a Python list with one value for each element of a source. Rows of one source go together in
`zip`, those of different ones do not: such a program is refused, and not written here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from dagcelery import DagFunction, dag, when

from . import vocabulary

Draw = Callable[[st.SearchStrategy[Any]], Any]

PARTS = ("['a']", "['deep']", "['deep']['b']", "['deep']['b'][1]")
LITERALS = ("0", "1", "None", "''", "'word'", "False", "[]", "[1, [2]]", "{}", "{'k': 1}")


@dataclass(frozen=True)
class Program:
    """The source of a module with a DAG called `main`, and parameters for it."""

    text: str
    params: dict[str, Any]

    def main(self) -> DagFunction[..., Any]:
        """The DAG."""
        names: dict[str, Any] = {**vars(vocabulary), "dag": dag, "when": when, "__name__": "program"}
        exec(compile(self.text, "<program>", "exec"), names)
        found: DagFunction[..., Any] = names["main"]
        return found

    def __repr__(self) -> str:
        return f"params = {self.params}\n{self.text}"


@dataclass(frozen=True)
class Inner:
    """A DAG to nest: which of its parameters are lists, and whether it returns a value, a source or a record."""

    name: str
    lists: tuple[bool, ...]
    returns: str


@dataclass
class Scope:
    """What may be named at a place, and how to draw more of it."""

    draw: Draw
    values: list[str]
    sources: list[str]
    rows: dict[str, list[str]] = field(default_factory=dict)
    inners: list[Inner] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    count: int = 0

    def pick(self, options: Any) -> Any:
        """One of `options`."""
        return self.draw(st.sampled_from(list(options)))

    def chance(self) -> bool:
        """One or the other."""
        return bool(self.draw(st.booleans()))

    def fresh(self, kind: str = "v") -> str:
        """A name that is not taken."""
        self.count += 1
        return f"{kind}{self.count}"

    def wholes(self) -> list[str]:
        """Everything that can be an argument as it is."""
        return [*self.values, *self.sources, *(row for rows in self.rows.values() for row in rows)]

    # -- expressions --------------------------------------------------------------------------------------------------
    def argument(self, own: tuple[str, ...] = (), depth: int = 2) -> str:
        """An argument; `own` are names that only exist here, such as the variable of a loop."""
        kind = self.draw(st.integers(0, 9))
        if own and kind < 5:
            return str(self.pick(own))
        if kind < 6 or not depth:
            return str(self.pick([*own, *self.wholes()] or LITERALS))
        if kind == 6:
            return str(self.pick(LITERALS))
        parts = [self.argument(own, depth - 1) for _ in range(self.draw(st.integers(1, 3)))]
        if kind == 7:
            return f"{{'p': {parts[0]}, 'q': ({parts[-1]}, 1)}}"
        if kind == 8:
            return f"({', '.join(parts)},)"
        rows = [f"*{row}" for rows in self.rows.values() for row in rows] if not own else []
        return f"[{', '.join([*parts, *(rows and [self.pick(rows)])])}]"

    def element(self, own: tuple[str, ...]) -> str:
        """An argument that some of `own` are in: a call without any in a loop over a row would not be one for each."""
        given = self.argument(own)
        return given if not own or _mentions(given, own) else str(self.pick(own))

    def call(self, own: tuple[str, ...] = ()) -> str:
        """A call of a task that gives a value."""
        after = self.pick(["", *(f".after({name})" for name in (*self.values, *self.sources))]) if not own else ""
        first = self.element(own)
        match self.draw(st.integers(0, 5)):
            case 0:
                return f"two{after}({first}, {self.argument(own)})"
            case 1:
                return f"two{after}({first})"
            case 2:
                return f"keywords{after}(a={first}, b={self.argument(own)})"
            case 3:
                return f"record{after}({first}){self.pick(PARTS)}"
            case 4:
                return f"one{after}(one({first}))"
            case _:
                return f"one{after}({first})"

    # -- statements ---------------------------------------------------------------------------------------------------
    def add_value(self) -> None:
        """A task that runs once."""
        self.values.append(self.assign(self.call()))

    def add_total(self) -> None:
        """A task that takes a list, as a list or lazily, alone or with others."""
        rows = [row for rows in self.rows.values() for row in rows] + self.sources
        given = self.pick([*rows, "[]"])
        other = self.pick([*rows, "[0]"])
        shape = self.pick(("{0}", "[{0}, 1, {1}]", "[*{0}, 1, *{1}]", "[x for x in {0}]", "list({0})"))
        self.values.append(self.assign(f"{self.pick(('total', 'lazy_total'))}({shape.format(given, other)})"))

    def add_source(self) -> None:
        """A task that gives a list."""
        given = self.argument()
        made = self.pick((f"listed({given})", f"record({given})['rows']"))
        self.sources.append(self.assign(made))

    def add_unpacked(self) -> None:
        """A tuple that is taken apart."""
        first, second = self.fresh(), self.fresh()
        self.lines.append(f"{first}, {second} = pair({self.argument()})")
        self.values.append(first)
        self.sources.append(second)

    def add_row(self) -> None:
        """A map over a source, or over rows that go together."""
        source, names, loop = self.loop()
        row = self.assign(self.spelled(self.template(names, is_source=f" in {source}" in f"{loop} "), loop))
        self.rows.setdefault(source, []).append(row)

    def add_nested(self) -> None:
        """A DAG that is nested and runs once, or a value where there is none."""
        if not self.inners:
            return self.add_value()
        inner = self.pick(self.inners)
        name = self.assign(self.nested(inner, ()))
        if inner.returns == "source":
            self.sources.append(name)
        else:
            self.values.append(name if inner.returns == "value" else f"{name}['r']")
        return None

    def add_loop(self) -> None:
        """A loop with two rows that are appended to."""
        source, names, loop = self.loop()
        first, second = self.fresh(), self.fresh()
        self.lines += [f"{first}, {second} = [], []", f"{loop}:"]
        self.lines += [f"    y = {self.call(names)}", f"    {first}.append(y)"]
        self.lines += [f"    {second}.append({self.call((*names, 'y'))})"]
        self.rows.setdefault(source, []).extend([first, second])

    # -- their parts --------------------------------------------------------------------------------------------------
    def assign(self, made: str) -> str:
        """Give a name to what is made."""
        name = self.fresh()
        self.lines.append(f"{name} = {made}")
        return name

    def loop(self) -> tuple[str, tuple[str, ...], str]:
        """A source, the variables that go through it, and the words that say so."""
        source = self.pick([*self.sources, *self.rows])
        aligned = [source, *self.rows.get(source, ())]
        taken = [self.pick(aligned) for _ in range(self.draw(st.integers(1, min(2, len(aligned)))))]
        names = tuple(self.fresh("x") for _ in taken)
        over = taken[0] if len(taken) == 1 else f"zip({', '.join(taken)})"
        return source, names, f"for {', '.join(names)} in {over}"

    def spelled(self, template: str, loop: str) -> str:
        """The ways to write a list of the same template for each."""
        ways = ("[{0} {1}]", "list({0} {1})", "[each for each in [{0} {1}]]", "[*({0} {1})]")
        return str(self.pick(ways)).format(template, loop)

    def template(self, names: tuple[str, ...], *, is_source: bool) -> str:
        """What is done for each element: a call, a nested DAG, a loop within the loop."""
        kind = self.draw(st.integers(0, 7))
        if kind == 0 and self.inners:
            return self.nested(self.pick(self.inners), names)
        if kind == 1 and is_source:
            return "leaf()"  # a loop over a row would not show that it is called for each
        if kind in (2, 3):
            deeper = self.fresh("y")
            row = f"[{self.call((deeper, *names))} for {deeper} in listed({self.element(names)})]"
            return row if kind == 2 else f"two(total({row}), {self.pick(names)})"
        if kind == 4:
            return f"{{'x': {self.pick(names)}, 'l': [{self.call(names)}, 1]}}"
        return self.call(names)

    def nested(self, inner: Inner, own: tuple[str, ...]) -> str:
        """A call of a DAG."""
        given = [self.list_argument(own) if is_list else self.element(own) for is_list in inner.lists]
        if own and not _mentions(" ".join(given), own):
            given[0] = f"[{self.pick(own)}]"
        return f"{inner.name}({', '.join(given)})"

    def list_argument(self, own: tuple[str, ...]) -> str:
        """A list that a nested DAG can loop over."""
        rows = [row for rows in self.rows.values() for row in rows]
        fixed = f"[{self.argument(own, 1)}, {self.argument(own, 1)}]"
        return str(self.pick([f"listed({self.element(own)})", fixed, "[]", *self.sources, *rows]))

    STATEMENTS = (add_value, add_total, add_source, add_unpacked, add_row, add_row, add_row, add_nested, add_loop)


@st.composite
def programs(draw: Draw) -> Program:
    """Programs that must build."""
    inners: list[Inner] = []
    text = ""
    for number in range(draw(st.integers(0, 2))):
        inner, source = _inner(draw, f"inner{number}", inners)
        inners.append(inner)
        text += source
    scope = Scope(draw, ["n"], ["items"], inners=inners)
    _fill(scope, draw(st.integers(1, 6)))
    names = scope.wholes()
    returned = draw(st.sampled_from(("[{}]", "({},)", "{{'all': [{}]}}"))).format(", ".join(names))
    text += _function("main", "n, items", [*scope.lines, "e = leaf()", f"return {returned}"])
    items = draw(st.lists(st.integers(0, 9), max_size=4))
    return Program(text, {"n": draw(st.integers(0, 5)), "items": items})


def _inner(draw: Draw, name: str, inners: list[Inner]) -> tuple[Inner, str]:
    lists = tuple(draw(st.lists(st.booleans(), min_size=1, max_size=2)))
    names = [f"p{index}" for index in range(len(lists))]
    values = [name for name, is_list in zip(names, lists, strict=True) if not is_list]
    sources = [name for name, is_list in zip(names, lists, strict=True) if is_list]
    scope = Scope(draw, values, [*sources, "s"], inners=inners[:], lines=[f"s = listed({names[0]})"])
    _fill(scope, draw(st.integers(0, 2)))
    rows = [row for rows in scope.rows.values() for row in rows]
    returns = draw(st.sampled_from(("value", "source", "record")))
    made = {
        "value": scope.call(),
        # Not a parameter: given a literal, it would be one, and the same one for each element of a loop.
        "source": scope.pick([*(source for source in scope.sources if source not in names), *rows]),
        "record": f"{{'r': {scope.call()}, 'l': {scope.pick(scope.wholes())}, 'k': 3}}",
    }[returns]
    inner = Inner(name, lists, returns)
    return inner, _function(name, ", ".join(names), [*scope.lines, f"return {made}"])


def _mentions(text: str, names: tuple[str, ...]) -> bool:
    return any(re.search(rf"\b{name}\b", text) for name in names)


def _fill(scope: Scope, statements: int) -> None:
    for _ in range(statements):
        scope.pick(Scope.STATEMENTS)(scope)


def _function(name: str, parameters: str, lines: list[str]) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"@dag\ndef {name}({parameters}):\n{body}\n\n"
