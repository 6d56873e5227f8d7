"""The DAGs of the proof: known shapes, random ones, and one like a real workflow. Called as Python they say what is
right.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dagcelery import Retry, current, dag, present, task
from dagcelery.testing.fault_injector import VARIABLE

PRIME = 1_000_003
LACKS = "CHAOS_LACKS"
"""Environment variable with the names that a worker with older code does not have."""
_NAPS = VARIABLE in os.environ
"""Functions take a while on workers, so that faults meet them at work; the oracle in the harness need not wait."""


def _nap(number: int) -> None:
    if _NAPS:
        time.sleep(number * 7919 % 16 / 1000)


# -- tasks -------------------------------------------------------------------------------------------
@task
def numbers(n: int) -> list[int]:
    """The first n numbers."""
    return list(range(n))


@task
def mix(a: int, b: int = 0, c: int = 0) -> int:
    """Three numbers make one that tells whether any of them, or their order, was wrong."""
    _nap(a + b)
    return (a * 31 + b * 17 + c * 7 + 1) % PRIME


@task
def digest(xs: list[int]) -> int:
    """A list makes a number that tells whether an element, or the order, was wrong."""
    result = len(xs)
    for x in xs:
        result = (result * 131 + x) % PRIME
    return result


@task(taint="gpu")
def elsewhere(a: int) -> int:
    """The same on another queue."""
    _nap(a)
    return (a * 37 + 5) % PRIME


@task
def bulk(x: int) -> str:
    """A value too large for one script."""
    return f"{x:07d}" * 100_000


@task
def weigh(texts: list[str]) -> int:
    """What is left of bulky values."""
    return sum(int(text[:7]) * (i + 1) + len(text) for i, text in enumerate(texts))


@task
def refuse(x: int, bad: int) -> int:
    """Fails for one of its items."""
    _nap(x)
    if x == bad:
        raise ValueError(f"item {x} is refused")
    return x


@task
def refuse_each(x: int, every: int) -> int:
    """Fails for some of its items."""
    _nap(x)
    if x % every == 0:
        raise ValueError(f"item {x} is refused")
    return x


@task(retry=Retry(5, wait=0))
def stumble(a: int, b: int) -> int:
    """Takes no time, and now and then a second attempt."""
    if _NAPS and (a + b) % 5 == 0 and current().attempt == 1:
        raise ValueError(f"{a} is not to be done at once")
    return (a * 41 + b) % PRIME


@task
def linger(seconds: float) -> float:
    """Takes its time."""
    time.sleep(seconds)
    return seconds


@task(retry=Retry(5, wait=0))
async def ponder(a: int, b: int) -> int:
    """Awaits something, now and then twice."""
    await asyncio.sleep((a + b) * 7919 % 64 / 1000)
    if (a + b) % 5 == 0 and current().attempt == 1:
        raise ValueError(f"{a} is not to be done at once")
    return (a * 43 + b) % PRIME


# -- shapes ------------------------------------------------------------------------------------------
@dag
def map_reduce(n: int) -> int:
    return digest([mix(x, n) for x in numbers(n)])


@dag
async def awaiting(n: int, x: int) -> int:
    """Pieces that are awaited side by side: items, those that follow them one by one, and steps of their own."""
    first = [await ponder(k, x) for k in numbers(n)]
    last = [await ponder(await ponder(k, 1), 2) for k in first]
    return digest([digest(last), await ponder(1, x), await ponder(2, x), await ponder(3, x)])


def awaiting_in_python(n: int, x: int) -> int:
    """What `awaiting` returns."""

    def pondered(a: int, b: int) -> int:
        return (a * 43 + b) % PRIME

    last = [pondered(pondered(pondered(k, x), 1), 2) for k in range(n)]
    return int(digest([digest(last), pondered(1, x), pondered(2, x), pondered(3, x)]))


@dag
def row(k: int) -> int:
    return digest([mix(x, k) for x in numbers(k)])


@dag
def nested_map(n: int) -> int:
    return digest([row(k) for k in numbers(n)])


@task(dynamic=True)
def growth(size: int, x: int) -> int:
    """Halves that call each other while they run, on two queues."""
    _nap(x)
    if size <= 1:
        return x
    halves = [growth(size // 2, mix(x, part)) for part in (0, 1)]
    return digest([*halves, elsewhere(x), mix(*halves)])


@dag(static=("width", "steps"))
def stencil(width: int, steps: int, x: int) -> int:
    line = [mix(x, i) for i in range(width)]
    for _ in range(steps):
        line = [mix(line[max(0, i - 1)], line[i], line[min(width - 1, i + 1)]) for i in range(width)]
    return digest([*line])


@dag
def zigzag(x: int) -> int:
    return mix(elsewhere(mix(elsewhere(mix(x)))))


@dag(static=("width",))
def wide(width: int, x: int) -> int:
    """More successors than one script announces."""
    root = mix(x)
    return digest([digest([root, i]) for i in range(width)])


@dag(static=("width",))
def batches(width: int, x: int) -> int:
    """Short steps side by side, and one behind the other: what is claimed and committed together."""
    return digest([stumble(stumble(stumble(x, i), i), i) for i in range(width)])


@dag
def bulky(n: int) -> int:
    return weigh([bulk(x) for x in numbers(n)])


@dag
def failing(n: int, bad: int) -> int:
    return digest([refuse(x, bad) for x in numbers(n)])


@dag(on_item_failure="skip")
def fragile_row(k: int, every: int) -> int:
    """Goes on at several places when one of them fails."""
    kept = refuse_each(k, every)
    return mix(digest([mix(x, kept) for x in numbers(k)]), elsewhere(k), digest([row(x) for x in numbers(3)]))


@dag
def skipping(n: int, every: int) -> int:
    return digest(present([fragile_row(k, every) for k in numbers(n)]))


def skipping_in_python(n: int, every: int) -> int:
    """What is left when the items that fail are left out."""
    return digest([fragile_row(k, every) for k in range(n) if k % every])


@dag
def inner(x: int, y: int) -> int:
    return mix(digest([mix(z, y) for z in numbers(3)]), x)


@dag(static=("seed", "size"))
def random_graph(seed: int, size: int, n: int, xs: list[int]) -> int:
    """Steps of all kinds, each of which takes any earlier values."""
    choice = random.Random(seed)
    values = [mix(n), mix(n, 1)]
    made = numbers(n)
    for _ in range(size):
        a, b, c = (choice.choice(values) for _ in range(3))
        kind = choice.randrange(7)
        if kind < 3:
            values.append(mix(a, b, c))
        elif kind == 3:
            values.append(elsewhere(a))
        elif kind == 4:
            values.append(digest([mix(x, a, b) for x in xs]))
        elif kind == 5:
            twice = [mix(x, a) for x in made]
            values.append(digest([mix(y, x, b) for y, x in zip(twice, made, strict=True)]))
        else:
            values.append(digest([inner(x, a) for x in xs]))
    return digest([*values])


@dag(static=("samples",))
def workflow(samples: int, x: int) -> int:
    """As laboratories process samples: chains that share references, joins by batch, by kind, and of everything."""
    reference = mix(x)
    index, known = mix(reference, 1), mix(reference, 2)
    called, reports, by_batch = [], [], []
    for sample in range(samples):
        raw = mix(x, sample)
        before = mix(raw, 1)
        trimmed = mix(raw, before, 2)
        after = mix(trimmed, 3)
        aligned = mix(trimmed, index)
        ordered = mix(aligned, 4)
        marked = mix(ordered, 5)
        table = mix(marked, known)
        fixed = mix(marked, table, reference)
        called.append(mix(fixed, reference, 6))
        reports.append(digest([before, after, ordered, marked]))
    for first in range(0, samples, 4):
        joined = digest([*called[first : first + 4]])
        by_batch.append(mix(joined, known, reference))
    together = digest([*by_batch])
    return digest([mix(together, known), digest([*reports]), mix(together, reference), *by_batch])


# -- cases -------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Case:
    """A run to make: its shape, what to submit, and what is right; an expected failure is the error's message. In
    mid-run, parts of it are `taken_back` so many times.
    """

    number: int
    shape: str
    node: Any
    params: dict[str, Any]
    fails: str = ""
    taken_back: int = 0

    def expected(self) -> Any:
        """What plain Python makes of it."""
        return _IN_PYTHON.get(self.shape, self.node)(**self.params)


_IN_PYTHON: dict[str, Callable[..., int]] = {"skipping": skipping_in_python, "awaiting": awaiting_in_python}
_Made = tuple[Any, dict[str, Any]]
_SHAPES: dict[str, tuple[int, Callable[[random.Random], _Made]]] = {
    "map-reduce": (6, lambda r: (map_reduce, {"n": r.choice([0, 1, 2, 30, 100, 300])})),
    "nested map": (4, lambda r: (nested_map, {"n": r.choice([0, 1, 4, 9])})),
    "growth": (3, lambda r: (growth, {"size": r.choice([1, 2, 8]), "x": r.randrange(PRIME)})),
    "stencil": (4, lambda r: (stencil, {"width": 5, "steps": 8, "x": r.randrange(PRIME)})),
    "zigzag": (3, lambda r: (zigzag, {"x": r.randrange(PRIME)})),
    "random": (8, lambda r: (random_graph, _random_params(r))),
    "workflow": (2, lambda r: (workflow, {"samples": 20, "x": r.randrange(PRIME)})),
    "wide": (1, lambda r: (wide, {"width": 700, "x": r.randrange(PRIME)})),
    "batches": (3, lambda r: (batches, {"width": r.choice([10, 40]), "x": r.randrange(PRIME)})),
    "bulky": (1, lambda r: (bulky, {"n": r.choice([1, 4])})),
    "skipping": (4, lambda r: (skipping, {"n": r.choice([1, 5, 12]), "every": r.choice([1, 2, 3])})),
    "awaiting": (4, lambda r: (awaiting, {"n": r.choice([0, 1, 30, 100]), "x": r.randrange(PRIME)})),
    "failing": (2, lambda r: (failing, {"n": 40, "bad": r.randrange(40)})),
}
"""By name how often each shape is chosen, and how its parameters are."""


def _random_params(choice: random.Random) -> dict[str, Any]:
    # Building a DAG takes longer than running one: a few hundred graphs are met again with other values.
    items = [choice.randrange(100) for _ in range(choice.choice([0, 1, 3, 7]))]
    return {
        "seed": choice.randrange(100),
        "size": choice.choice([5, 15, 30]),
        "n": choice.choice([0, 2, 5]),
        "xs": items,
    }


def case(seed: int, number: int) -> Case:
    """Case `number` of a seed: the same one every time."""
    choice = random.Random(f"{seed}/{number}")
    names = [name for name, (weight, _) in _SHAPES.items() for _ in range(weight)]
    shape = choice.choice(names)
    node, params = _SHAPES[shape][1](choice)
    fails = f"item {params['bad']} is refused" if shape == "failing" else ""
    return Case(number, shape, node, params, fails, choice.choice([0, 0, 0, 1, 2]))


for name in os.environ.get(LACKS, "").split():
    del globals()[name]
