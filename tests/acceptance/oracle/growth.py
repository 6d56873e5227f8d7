"""Random dynamic tasks: loops, branches and recursion on real values, and calls whose results are promises."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from .bodies import DAGS, DOUBTFUL_ANYWHERE, LOCALS, SURE_ANYWHERE, Body, call_of
from .literals import BY_JSON, BY_PICKLE
from .programs import Draw
from .sessions import Session

HEAD = """\
K = {k}
CONFIG = {{'k': {config}}}
ROWS = [{row}]

def helper(x):
    return [x, K]

@task
def reads(x):
    return [x, K, CONFIG, ROWS]

"""
GROW = """\
@task(dynamic=True)
def grow(x, depth=1):
    {grown}

"""
# Ends of `grow`, which may call itself.
GROWN = (
    "return [seen(x), grow(x, depth - 1)] if depth > 0 else x",
    "return {'k': grow([x, K], depth - 1), 'l': x} if depth > 0 else keep(x)",
    "return grow(seen(x), depth - 1) if depth > 0 else inner(x)",
    "held = [x]\n    made = []\n    for i in range(depth + 1):\n        held.append(i)\n"
    "        made.append(seen(held))\n    return made",
    "held = [x]\n    made = push(held, depth)\n    held[0] = 'other'\n    return [made, held]",
    "return x",
    "return [seen(x), x]",
)
SURE = (
    *SURE_ANYWHERE,
    "keep([{a}, {b}])",
    "helper({a})",
    "inner({a}, {b})",
    "fixed({a}, {l})",
    "fixed({a}, s=K)",
    "grow({a})",
    "grow({a}, 0)",
    "grow(depth=2, x={a})",
    "listed({a})",
    "lazy_total([{a}, *[keep(x) for x in items]])",
    "when({r}, lambda: seen({a}), lambda: {l})",
    "seen({a}) if {r} else {l}",
    "{r} or keep({a})",
    "seen(repr(type(n)), {a})",
    "seen(type({r}).__name__)",
    "seen(n is None)",
    "[grow(x, i % 2) for i, x in enumerate(items)]",
    "[seen(x, y) for x in items for y in ({l}, {l})]",
    "[seen(x, y) for x, y in zip(items, [{l}, {l}, {l}])]",
    "{{'k': seen({a}), 'm': [keep({b})]}}",
    "[inner(x) for x in items[::-1]]",
    "total(total([seen(x), {a}]) for x in items)",
)
WITH_FUNCTIONS = (
    "apply(partial(pair, {l}), {a})",
    "apply(partial(pair, y={r}), {a})",
    "apply(helper, {a})",
    "apply(lambda x: [x, {l}, n], {a})",
    "apply(lambda x, y={r}: [x, y, K], {a})",
    "[apply(partial(pair, i), x) for i, x in enumerate(items)]",
    "[apply(lambda y: [i, y], x) for i, x in enumerate(items)]",
    "seen({{seen({a}), seen({b}), 1}})",
    "keep((seen({a}), ({l}, {b})))",
    "{{1: seen({a}), (1,): {b}}}",
)
DOUBTFUL = (
    *DOUBTFUL_ANYWHERE,
    "seen('some' if {v} else 'none')",
    "seen({v} == {l})",
    "seen({v} in [{l}])",
    "seen([{l}, {v}].count({l}))",
    "seen(f'{{{v}!r}}')",
    "apply(partial(pair, y=[{v}]), {l})",
    "[seen(x) for x in {v}]",
    "{v}[0]",
    "sorted([{v}], key=lambda x: 0)",
    "Box({v})",
    "Point({v}, 1)",
    "OrderedDict(a={v})",
    "lambda x: {v}",
)


@dataclass
class Growing(Body):
    """The body of a dynamic task: `real` are names of values, `values` those of promises."""

    values: list[str] = field(default_factory=lambda: ["p0"])
    real: list[str] = field(default_factory=lambda: ["n", "items", "K", "CONFIG", "ROWS"])
    indent: str = ""

    def argument(self, depth: int = 1) -> str:
        """Anything that can be given to a task."""
        kind = self.draw(st.integers(0, 9))
        if kind < 3:
            return self.literal()
        if kind < 8 or not depth:
            return str(self.pick([*self.values, *self.held, *self.real]))
        return self.literals.container(self.draw, [self.argument(0) for _ in range(self.draw(st.integers(1, 3)))])

    def filled(self, template: str) -> str:
        """A template with arguments {a} and {b}, literals {l}, a promise {v} and a value that is no promise {r}."""
        while "{l}" in template:
            template = template.replace("{l}", self.literal().replace("{", "{{").replace("}", "}}"), 1)
        a, b = self.argument(), self.argument()
        return template.format(a=a, b=b, v=self.pick(self.values), r=self.pick([*self.real, "K", self.literal()]))

    def line(self, text: str) -> None:
        """Write a line, where it is."""
        self.lines.append(self.indent + text)

    def assign(self, made: str) -> None:
        """Give a name to what is made."""
        name = self.fresh()
        self.line(f"{name} = {made}")
        self.held.append(name)

    def add_sure(self) -> None:
        """A call that means what it says."""
        self.assign(self.filled(self.pick([*SURE, *(WITH_FUNCTIONS if self.literals.is_exact else ())])))

    def add_doubtful(self) -> None:
        """What may be refused, and may not be taken for something else."""
        self.may_refuse = True
        self.assign(self.filled(self.pick(DOUBTFUL)))

    def add_loop(self) -> None:
        """A loop over values, in which something is changed between calls."""
        rows = self.fresh()
        kind = self.pick(LOCALS if self.literals.is_exact else ("list", "dict"))
        made, changes = LOCALS[kind]
        held, change = self.fresh(), self.pick(changes)
        call = "apply({}, 0)" if kind in ("closure", "partial") else self.pick(("seen({})", "keep({})", "push({}, 1)"))
        over = self.pick(("items", f"({self.literal()}, {self.literal()})", "range(3)"))
        self.line(f"{rows}, {held} = [], {made.format(self.literal())}")
        self.line(f"for x in {over}:")
        self.line(f"    {change.format(v=held, x=self.pick(('x', 'n', self.literal())))}")
        self.line(f"    {rows}.append({call.format(held)})")
        if self.draw(st.booleans()):
            self.line(f"    if {self.pick(('x', 'n', 'K'))}:")
            self.line(f"        {rows}.append({self.filled(self.pick(SURE))})")
        self.held.append(rows)
        if kind in ("list", "dict"):
            self.held.append(held)

    def add_held(self) -> None:
        """A list or a dict of promises that is given to a call, and then changed."""
        name = self.fresh()
        kind = self.pick(("list", "dict"))
        made, changes = LOCALS[kind]
        promise = self.pick(self.values)
        self.line(f"{name} = {made.format(promise)}")
        self.assign(f"{self.pick(('seen', 'keep', 'grow', 'inner'))}({name})")
        self.line(self.pick(changes).format(v=name, x=self.filled("{a}")))
        self.assign(f"{self.pick(('seen', 'keep', 'grow', 'inner'))}({name})")
        self.held.append(name)

    def add_cell(self) -> None:
        """A variable that functions capture, and that changes."""
        if not self.literals.is_exact:
            return self.add_sure()
        cell, function = self.fresh(), self.fresh()
        self.line(f"{cell} = {self.literal()}")
        self.line(f"{function} = lambda x: [x, {cell}]")
        self.assign(f"apply({function}, {self.argument(0)})")
        self.line(f"{cell} = {self.pick(['n', self.literal()])}")
        return self.assign(f"apply({function}, {self.argument(0)})")

    STATEMENTS = (add_sure, add_sure, add_sure, add_loop, add_loop, add_held, add_cell)


MAINS = (
    "@task(dynamic=True)\ndef main(n: Carried, items: Carried):\n{body}",
    "@dag\ndef main(n, items):\n    return [part(x, items) for x in items], part(n, items)\n"
    "@task(dynamic=True)\ndef part(n, items):\n{body}",
    "@task(dynamic=True)\ndef main(n: Carried, items: Carried):\n    return [part(x, [n]) for x in [*items, *items]]\n"
    "@task(dynamic=True)\ndef part(n, items):\n{body}",
)


@st.composite
def growths(draw: Draw, doubts: bool = False) -> Session:
    """Programs whose `main` is a dynamic task, or a DAG that runs one for each item."""
    body = Growing(draw, draw(st.sampled_from((BY_JSON, BY_PICKLE))))
    body.line("p0 = seen(n)")
    for _ in range(draw(st.integers(1, 4))):
        body.pick(Growing.STATEMENTS)(body)
    if doubts:
        body.add_doubtful()
    text = (HEAD + DAGS + GROW).format(
        grown=body.pick(GROWN),
        **{name: body.literal() for name in ("k", "config", "row", "default", "literal", "static")},
    )
    shape = body.pick(("[{}]", "({})", "{{'all': [{}]}}"))
    body.line(f"return {shape.format(', '.join(['p0', *body.held, body.literal()]))}")
    main = body.pick(MAINS)
    text += main.format(body="\n".join(f"    {line}" for line in body.lines))
    return Session(
        body.literals.serializer,
        text,
        (),
        (call_of(body, 1 if "for x in" in main else 10),),
        body.may_refuse,
        doubts or draw(st.booleans()),
    )
