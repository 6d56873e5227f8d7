"""Random bodies that treat lists as Python programmers do, though their elements and lengths are not known yet.

Many of them cannot be DAGs. What matters is that those which are accepted mean what they say.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from .programs import Draw, Program

# What is made of rows a and b, of any sources, and of a source s; some of it is harmless, most is not.
VALUES = (
    "total({a}[:2])",
    "total({a}[:-1])",
    "total({a}[::-1])",
    "total({a} + {b})",
    "total({a} * 2)",
    "total({a}[:len({b})])",
    "two(len({a}) - len({b}), 1)",
    "total({a}) if {a} else leaf()",
    "total({a} or [0])",
    "total({a}) if len({a}) > 1 else leaf()",
    "total({a}) if len({a}) > len({b}) else leaf()",
    "total(max({a}, {b}, key=len))",
    "total(sorted([{a}, {b}, [0]], key=len))",
    "two([*{a}][0], [*{a}][-1])",
    "total(list(reversed({a})))",
    "total(sorted({a}, key=lambda x: 0))",
    "total(list(dict.fromkeys({a})))",
    "total([k for k in {{x: 1 for x in {a}}}])",
    "total([x for x in {a} if x])",
    "total([x for x in {a} if x not in {b}])",
    "total([two(x, y) for x, y in zip({a}, {b})])",
    "total([two(x, y) for x, y in zip({a}, {a}[1:])])",
    "total([two(x, y) for x, y in zip({a}, reversed({a}))])",
    "total([two(i, x) for i, x in enumerate({a})])",
    "total([one(x) for x in {a}[:2]])",
    "total([two(x, {a}) for x in {a}])",
    "total([total([x, *{b}]) for x in {a}])",
    "total([y for x in {a} for y in (one(x), x)])",
    "total([one(y) for x in {a} for y in listed(x)])",
    "total([two(x, y) for x in {a} for y in {b}])",
    "total([one(x) for x in {a} for _ in range(2)])",
    "reduce(two, {a}, 0)",
    "total(list(accumulate({a}, two)))",
    "total(list(islice({a}, 2)))",
    "total(list(chain({a}, {b})))",
    "total(list(chain.from_iterable([x, 1] for x in {a})))",
    "total(list(zip({a}, {b})))",
    "total([[x, y] for x, y in zip({a}, {b})])",
    "total([{a}[i] for i in range(len({a}))])",
    "total([len({a})] * len({a}))",
    "two(next(iter({a}), 0), 0)",
    "two(sum(1 for _ in {a}), 0)",
    "two(sum(1 for _ in {s}), 0)",
    "two({a} == [], {a} == {b})",
    "two({a} is None, bool({a}))",
    "total([one(0)] if {a} == [] else {a})",
    "total([one(x) for x in {a}] if {b} else [])",
    "total({a} + [0] * (3 - len({a})))",
    "total([x for pair in zip({a}, {b}) for x in pair])",
    "total([list(column) for column in zip(*[{a}, {b}])])",
    "total([[x for x in {a}], [[x] for x in {b}]])",
    "total([one(x) if {b} else two(x) for x in {a}])",
    "total([list({a})[0:3]])",
    "total([[x, *{a}] for x in {a}])",
    "total([[x for x in {a}] for _ in {a}])",
    "total(tuple({a}))",
    "total([{{'x': x, 'all': {a}}} for x in {b}])",
    "two(leaf() if {a} else one(0), 1)",
    "two([leaf() for _ in {a}], 1)",
    "when({s}, lambda: total({a}), lambda: leaf())",
    "when({s}, lambda: total({s}))",
    "when(total({a}), lambda: total([one(x) for x in {s}]), lambda: {a})",
    "when({s}, lambda: total([one(x) for x in {a}]), lambda: 0)",
    "when({s}, lambda: when({s}, lambda: total({a}), lambda: one(1)), lambda: listed({s}))",
    "total([when(x, lambda: one(x), lambda: two(x, {s})) for x in {s}])",
    "total([when(x, lambda: one(x)) for x in {a}])",
    "total([when({s}, lambda: two(x, 1), lambda: x) for x in {a}])",
    "total([when(x, lambda: two(x, y), lambda: one(y)) for x, y in zip({a}, {b})])",
    "total([when(x, lambda: total(listed(x)), lambda: total({a})) for x in {s}])",
    "[one(y) for y in when({s}, lambda: listed(leaf()), lambda: {a})]",
    "[one(y) for y in when(one({s}), lambda: listed(leaf()), lambda: {s})]",
    "when({s}, lambda: total({a} + [one(1)]), lambda: leaf())",
    "when({s}, lambda: {{'k': [one(2), *{a}]}}, lambda: [{a}, leaf()])",
)

LOOPS = (
    "for x in {a}:\n    {v} = one(x)",
    "for x in {s}:\n    {v} = one(x)\n    break",
    "for x in {s}:\n    {v} = two({v}, x)",
    "for x in {s}:\n    {v} = 1",
    "for x in {s}:\n    {v} = leaf()",
    "for i, x in enumerate({s}):\n    {v} = i",
    "for x in {s}:\n    {v} = one(0) if {v} == 0 else {v}",
    "{v} = []\nfor x in {s}:\n    {v}.append(total(list({v})))",
    "{v} = []\nfor x in {s}:\n    {v} = [one(x)]",
    "{v} = []\nfor x in {s}:\n    {v} = [one(x), *{v}]",
    "{v} = []\nfor x in {s}:\n    {v} = [*{v}, one(x)]",
    "{v} = []\nfor x in {s}:\n    {v} += [one(x), two(x)]",
    "{v} = []\nfor x in {s}:\n    if len({v}) < 2:\n        {v}.append(one(x))",
    "{v} = []\nfor x in {s}:\n    if len({v}) < len({a}):\n        {v}.append(one(x))",
    "{v} = []\nlast = None\nfor x in {s}:\n    {v}.append(two(x, last))\n    last = x",
    "{v} = []\nfirst = None\nfor x in {s}:\n    first = first or one(0)\n    {v}.append(two(x, first))",
    "{v} = []\nwhile len({v}) < len({a}):\n    {v}.append(one({a}[len({v})]))",
    "{v} = {a}[:]\nwhile {v} and len({v}) > 1:\n    {v} = [two(x, y) for x, y in zip({v}[::2], {v}[1::2])]",
    "{v} = list({a})\nfor x in {b}:\n    {v}.append(x)",
    "{v} = []\nfor x, y in zip({s}, {a}):\n    {v}.append(two(x, y))\nelse:\n    {v}.append(leaf())",
    "gone = iter({s})\n{v} = [next(gone, 0), [one(x) for x in gone]]",
    "seen = set()\n{v} = []\nfor x in {s}:\n    if x not in seen:\n        {v}.append(one(x))\n        seen.add(x)",
)

HEAD = """\
from functools import reduce
from itertools import accumulate, chain, islice

@dag
def main(n, items):
    made = listed(n)
    ones = [one(x) for x in items]
    twos = [two(x, y) for x, y in zip(ones, items)]
    threes = [one(x) for x in made]
"""
ROWS = ("ones", "twos", "threes", "items", "made")
PARAMS = [{"n": n, "items": items} for n, items in ((3, []), (2, [4]), (0, [3, 3]), (1, [1, 2, 2]), (4, [0, 1, 1, 5]))]


@st.composite
def habits(draw: Draw) -> Program:
    """A body with one to three things that are often done to lists, at the top or for each element of a list."""
    lines: list[str] = []
    names = [f"v{number}" for number in range(draw(st.integers(1, 2)))]
    for name in names:
        lines += _lines(draw, name)
    text = "\n".join(f"    {line}" for line in [*lines, f"return [one(0), {', '.join(names)}]"])
    return Program(f"{HEAD}{text}\n", {})


def _lines(draw: Draw, name: str) -> list[str]:
    rows = [draw(st.sampled_from(ROWS)) for _ in range(2)]
    source = draw(st.sampled_from(("items", "made")))
    if draw(st.booleans()):
        inside = [*draw(st.sampled_from((["ys", "ys"], ["ys", rows[0]], [rows[0], "ys"])))]
        value = _value(draw, inside, "listed(z)")
        inner = ["ys = [two(y, z) for y in listed(z)]", f"{name}.append({value})"]
        return [f"{name} = []", f"for z in {source}:", *(f"    {line}" for line in inner)]
    if draw(st.booleans()):
        loop: Any = draw(st.sampled_from(LOOPS))
        return [f"{name} = 0", *loop.format(v=name, a=rows[0], b=rows[1], s=source).split("\n")]
    return [f"{name} = {_value(draw, rows, source)}"]


def _value(draw: Draw, rows: list[str], source: str) -> str:
    template: str = draw(st.sampled_from(VALUES))
    return template.format(a=rows[0], b=rows[1], s=source)
