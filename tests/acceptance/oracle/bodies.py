"""Random bodies with literals, globals, values that change between calls, partials, closures and static parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from .literals import BY_JSON, BY_PICKLE, REFUSED_BY_JSON, Literals
from .programs import Draw
from .sessions import Session

DAGS = """\
@dag
def inner(a, b={default}):
    return [seen(a, b), [{literal}], b]

@dag(static=('s',))
def fixed(a, s={static}):
    return {{'said': seen(a, [s, type(s).__name__]), 's': s}}

"""
"""DAGs that programs of every kind call."""
HEAD = """\
K = {k}
CONFIG = {{'k': {config}, 'rows': []}}
ROWS = [{row}]

def helper(x):
    return [x, K]

@task
def reads(x):
    return [x, K, CONFIG, ROWS, helper(0)]

"""
IN_MODULE = """\
CELL = {cell}
HELD = [{held}]

def change(new):
    global CELL
    CELL = new

@dag
def main(n, items):
    {body}
"""
IN_FACTORY = """\
HELD = [{held}]

def factory(CELL, HELD):
    def change(new):
        nonlocal CELL
        CELL = new

    @dag
    def main(n, items):
        {body}

    return main, change

other, _ = factory({held}, [{cell}])
main, change = factory({cell}, HELD)
"""
CHANGES = (
    "change({})",
    "HELD.append({})",
    "HELD[0] = {}",
    "change(HELD)",
    "K = {}",
    "CONFIG['k'] = {}",
    "CONFIG['rows'].append({})",
    "ROWS.append({})",
    "ROWS[0] = {}",
    "ROWS = [{}]",
    "def helper(x):\n    return [K, x, {}]",
    "@task\ndef reads(x):\n    return [{}, x, ROWS]",
    "@dag\ndef inner(a, b={}):\n    return [seen(b, a), [K], [b]]",
    "@dag(static=('s',))\ndef fixed(a, s={}):\n    return {{'s': [s], 'said': seen(s, a)}}",
)
# What answers without a value, or of which a DAG cannot hold what it says: right, or refused.
DOUBTFUL_ANYWHERE = (
    "seen({v} is None)",
    "seen(isinstance({v}, list))",
    "seen(type({v}).__name__)",
    "seen({{1: 'a'}}.get({v}, 'b'))",
    "seen(hasattr({v}, 'append'))",
    "seen(callable({v}))",
    "apply(partial(pair, {v}), {l})",
    "apply(lambda x: [x, {v}], {l})",
    "apply(lambda x, y={v}: [x, y], {l})",
    "seen([Box([{v}])])",
    "seen({{1: Slot({v})}})",
    "seen(Mark(v={{'a': {v}}}))",
    "seen(deque([{v}]))",
    "seen(Point({v}, {l}))",
    "fixed({l}, {v})",
)
DOUBTFUL = (
    *DOUBTFUL_ANYWHERE,
    "seen('none' if n is None else 'some')",
    "seen(repr(n))",
    "seen(f'{{n!r}}')",
    "seen(n or {l})",
    "apply(partial(pair, y={v}), {l})",
    "apply(partial(partial(pair, {l}), {v}), {l})",
    "seen(OrderedDict(a={v}))",
    "[seen(x, y) for x, y in zip(items, [{l}, {l}, {l}])]",
    "[seen(x, y) for x, y in zip(items, [Mark(v={l}), Mark(v={l}), Mark(v={l}), Mark(v={l})])]",
    "[seen(x, y) for x, y in zip(items, [Box({l}), Box({l}), Box({l}), Box({l})])]",
    "[seen(x, [i, {l}]) for i, x in enumerate(items)]",
    "[seen(x, Mark(v=i)) for i, x in enumerate(items)]",
    "[seen(x, i == 1) for i, x in enumerate(items)]",
    "[seen(x, 1.0 * (i > 1)) for i, x in enumerate(items)]",
    "[apply(lambda y: [x, y], {l}) for x in items]",
    "[apply(lambda y: [i, y], x) for i, x in enumerate(items)]",
    "[apply(partial(pair, i), x) for i, x in enumerate(items)]",
    "[fixed(x, i) for i, x in enumerate(items)]",
    "[fixed({l}, x) for x in items]",
)
SURE_ANYWHERE = (
    "seen({a}, {b})",
    "seen_of(a={a}, b={b})",
    "keep({a})",
    "reuse({a})",
    "reads({a})",
    "push({a}, {l})",
    "seen.after({v})({a})",
    "inner({a})",
    "inner(b={a}, a={b})",
    "fixed({a})",
    "total([{a}, {b}, {l}])",
    "[seen(x, {a}) for x in items]",
    "[push(x, {l}) for x in items]",
    "[reuse(x) for x in items]",
    "[keep(k) for k in ({l}, {l}, {l})]",
)
SURE = (
    *SURE_ANYWHERE,
    "seen({a})",
    "keep({{'k': {a}}})['k']",
    "keep([{a}, {b}])[1]",
    "seen(helper({l}), {a})",
    "inner({a}, {b})[0]",
    "fixed({a}, {l})['said']",
    "fixed({a}, K)['s']",
    "when({v}, lambda: seen({a}), lambda: {l})",
    "when(n, lambda: keep({l}), lambda: keep({l}))",
    "when({v}, lambda: {l}, lambda: seen({l}))",
    "when(keep({l}), lambda: keep({l}))",
    "total([seen(x, {a}) for x in items])",
    "lazy_total([{l}, *[keep(x) for x in items], {l}])",
    "[seen({a}, x) for x in items]",
    "[push({l}, x) for x in items]",
    "[reads(x) for x in items]",
    "[inner(x, {a}) for x in items]",
    "[inner({l}, x) for x in items]",
    "[fixed(x, {l})['said'] for x in items]",
    "[[seen(y, x) for y in listed(x)] for x in items]",
    "[when(x, lambda: seen(x, {l}), lambda: {l}) for x in items]",
    "[fixed({a}, k) for k in ({l}, {l}, {l})]",
)
# What only pickle can carry.
WITH_FUNCTIONS = (
    "apply(partial(pair, {l}), {v})",
    "apply(partial(pair, y={l}), {a})",
    "apply(helper, {a})",
    "apply(partial(helper), {a})",
    "apply(lambda x: [x, {l}], {a})",
    "apply(lambda x, y={l}: [x, y, K], {a})",
    "[apply(partial(pair, {l}), x) for x in items]",
    "[apply(lambda y: [y, ROWS], x) for x in items]",
    "[apply(lambda y: [y, k], {a}) for k in ({l}, {l})]",
)
LOCALS = {
    "list": ("[{}]", ("{v}.append({x})", "{v}[0] = {x}", "{v} += [{x}]", "{v}[:] = [{x}]", "{v}.insert(0, {x})")),
    "dict": ("{{'k': {}}}", ("{v}['k'] = {x}", "{v}['m'] = {x}", "{v}.update(z={x})", "{v}.clear()")),
    "box": ("Box({})", ("{v}.v = {x}", "{v}.w = {x}")),
    "slot": ("Slot({})", ("{v}.v = {x}",)),
    "mark": ("Mark(v={})", ("{v}.v = {x}", "{v}.name = 'other'")),
    "deque": ("deque([{}])", ("{v}.append({x})", "{v}.clear()")),
    "closure": ("(lambda x, held=[{}]: [x, held])", ("{v}.__defaults__ = ([{x}],)", "{v}.__defaults__[0].append({x})")),
    "partial": ("partial(pair, [{}])", ("{v}.args[0].append({x})", "{v} = partial({v}, {x})")),
}


@dataclass
class Body:
    """What may be named, and the lines so far."""

    draw: Draw
    literals: Literals
    values: list[str] = field(default_factory=lambda: ["n"])
    held: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    may_refuse: bool = False
    count: int = 0

    def pick(self, options: Any) -> Any:
        """One of `options`."""
        return self.draw(st.sampled_from(list(options)))

    def fresh(self) -> str:
        """A name that is not taken."""
        self.count += 1
        return f"v{self.count}"

    def literal(self) -> str:
        """A literal; a variable at times, as it is then."""
        return self.literals.draw(self.draw)

    def argument(self, depth: int = 1) -> str:
        """Anything that can be given to a task."""
        kind = self.draw(st.integers(0, 9))
        if kind < 3:
            return self.literal()
        if kind < 6 and self.held:
            return str(self.pick(self.held))
        if kind < 8 or not depth:
            return str(self.pick([*self.values, *self.held, "items", "K", "CONFIG", "ROWS", "CELL", "HELD"]))
        return self.literals.container(self.draw, [self.argument(0) for _ in range(self.draw(st.integers(1, 3)))])

    def filled(self, template: str) -> str:
        """A template with arguments {a} and {b}, literals {l} and an output {v}."""
        while "{l}" in template:
            template = template.replace("{l}", self.literal().replace("{", "{{").replace("}", "}}"), 1)
        arguments = [self.argument() for _ in range(2)]
        return template.format(a=arguments[0], b=arguments[1], v=self.pick(self.values))

    # -- statements ---------------------------------------------------------------------------------------------------
    def add_sure(self) -> None:
        """A call that means what it says."""
        self.assign(self.filled(self.pick([*SURE, *(WITH_FUNCTIONS if self.literals.is_exact else ())])))

    def add_doubtful(self) -> None:
        """What may be refused, and may not be taken for something else."""
        self.may_refuse = True
        if not self.literals.is_exact and self.draw(st.booleans()):
            self.assign(self.pick(("seen({})", "inner({})", "[{}]")).format(self.pick(REFUSED_BY_JSON)))
        else:
            self.assign(self.filled(self.pick(DOUBTFUL)))

    def add_changing(self) -> None:
        """A value that is given to calls and changed between them, now and then in a loop over real values."""
        kind = self.pick(LOCALS if self.literals.is_exact else ("list", "dict"))
        made, changes = LOCALS[kind]
        call = "apply({}, 0)" if kind in ("closure", "partial") else self.pick(("seen({})", "keep({})", "push({}, 1)"))
        name, rows = self.fresh(), self.fresh()
        self.lines += [f"{name} = {made.format(self.literal())}", f"{rows} = [{call.format(name)}]"]
        change = self.pick(changes)
        if self.draw(st.booleans()):
            self.lines += [f"for k in ({self.literal()}, {self.literal()}):"]
            self.lines += [f"    {change.format(v=name, x='k')}", f"    {rows}.append({call.format(name)})"]
        else:
            self.lines += [change.format(v=name, x=self.literal()), f"{rows}.append({call.format(name)})"]
        self.values_of(rows)
        if kind in ("list", "dict", "box"):
            self.held.append(name)

    def add_returned(self) -> None:
        """What a nested DAG returned is Python's own: it may be changed."""
        name = self.fresh()
        self.lines += [f"{name} = inner({self.argument()})", f"{name}[1].append({self.literal()})"]
        self.values_of(name)

    def add_cell(self) -> None:
        """A variable that functions capture, and that changes."""
        if not self.literals.is_exact:
            return self.add_sure()
        cell, function, rows = self.fresh(), self.fresh(), self.fresh()
        first, second = self.argument(0), self.argument(0)
        self.lines += [f"{cell} = {self.literal()}", f"{function} = lambda x: [x, {cell}]"]
        self.lines += [f"{rows} = [apply({function}, {first})]", f"{cell} = {self.literal()}"]
        self.lines += [f"{rows}.append(apply({function}, {second}))"]
        return self.values_of(rows)

    def assign(self, made: str) -> None:
        """Give a name to what is made."""
        name = self.fresh()
        self.lines.append(f"{name} = {made}")
        self.values_of(name)

    def values_of(self, name: str) -> None:
        """Remember a name that is not an output itself, but holds some."""
        self.held.append(name)

    STATEMENTS = (add_sure, add_sure, add_sure, add_changing, add_changing, add_returned, add_cell)


@st.composite
def sessions(draw: Draw, changes: int = 0, doubts: bool = False) -> Session:
    """Programs with up to so many `changes` of their globals between runs."""
    literals = draw(st.sampled_from((BY_JSON, BY_PICKLE)))
    body = Body(draw, literals)
    body.lines.append("v0 = keep(n)")
    body.values.append("v0")
    for _ in range(draw(st.integers(1, 4))):
        body.pick(Body.STATEMENTS)(body)
    if doubts:
        body.add_doubtful()
    returned = ", ".join(["v0", *body.held, body.literal()])
    shape = draw(st.sampled_from(("[{}]", "({})", "{{'all': [{}]}}")))
    text = (HEAD + DAGS).format(
        **{name: body.literal() for name in ("k", "config", "row", "default", "literal", "static")}
    )
    body.lines.append(f"return {shape.format(returned)}")
    place, indent = draw(st.sampled_from(((IN_MODULE, " " * 4), (IN_FACTORY, " " * 8))))
    text += place.format(cell=body.literal(), held=body.literal(), body=f"\n{indent}".join(body.lines))
    made = tuple(_change(body) for _ in range(draw(st.integers(min(changes, 1), changes))))
    calls = tuple(call_of(body) for _ in range(len(made) + 1))
    return Session(literals.serializer, text, made, calls, body.may_refuse, doubts or draw(st.booleans()))


def _change(body: Body) -> str:
    template: str = body.pick(CHANGES)
    return template.format(body.literal())


def call_of(body: Body, most: int = 10) -> str:
    """Return arguments for `main`: a value, and a list of few items or `most` times as many."""
    items = ", ".join(body.literals.draw(body.draw, 1) for _ in range(body.draw(st.integers(0, 4))))
    # Of many items some are executed together, after the first few.
    return f"{body.literal()}, [{items}] * {body.pick((1, 1, 1, most))}"
