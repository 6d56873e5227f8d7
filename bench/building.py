"""What it costs to import the library, to read a body, to plan a DAG and to submit it, before anything runs."""

from __future__ import annotations

import cProfile
import pstats
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, cast

from bench.ground import Ground, alternating
from bench.rows import Row
from bench.small import timed
from dagcelery import DAG, FromNodeOutput, FromParam, FromReturnValue, Task
from dagcelery.client import plan_of

GOAL = "<= 60"
_OTHERS = count(1)


def building(ground: Ground) -> Iterator[Row]:
    """Measure the tracing and the first planning of a chain, and of many nodes side by side."""
    many, rounds = (2_000, 1) if ground.quick else (20_000, 1)
    loads = ground.loads
    for name, nodes, times, make in (
        ("chain of 300", 300, 5, lambda size: loads.chain.__dag__(length=size)),
        ("chain of 300, as data", 300, 5, lambda size: chain_of(loads.increment, [f"n{link}" for link in range(size)])),
        (f"{many:,} side by side", many, rounds, lambda size: loads.independent.__dag__(width=size)),
    ):
        build, plan = alternating(times, *both(make, nodes))
        yield Row(f"building, {name}", build / nodes * 1e6, "us a node", GOAL)
        yield Row(f"planning, {name}", plan / nodes * 1e6, "us a node", GOAL)
    node, runs = loads.independent.__dag__(width=many + next(_OTHERS)), list[Any]()
    submit = timed(lambda: runs.append(ground.submit(node, x=1)))
    runs[0].cancel()
    yield Row(f"planning and submitting, {many:,} side by side", submit / many * 1e6, "us a node", GOAL)
    yield Row("calls to read a body of three nodes", calls_of_three(loads), "calls")


def both(make: Any, nodes: int) -> tuple[Any, Any]:
    """Return what measures building and, of what was built, planning; each time it is another DAG, not a kept one."""
    made: list[DAG] = []
    return (
        lambda: computed(lambda: made.append(make(nodes + next(_OTHERS)))),
        lambda: computed(lambda: plan_of(made.pop())),
    )


def computed(act: Callable[[], object]) -> float:
    """Return the seconds that this process computes for something."""
    started = time.process_time()
    act()
    return time.process_time() - started


def chain_of(task: Any, names: Sequence[str]) -> DAG:
    """Return a chain that is written as data."""
    nodes, source = dict[str, Any](), cast(Any, FromParam())
    for name in names:
        nodes[name] = Task(task.__wrapped__, inputs={"x": source}, outputs={"out": FromReturnValue()})
        source = FromNodeOutput(name, "out")
    return DAG(nodes=nodes, inputs={"x": FromParam()}, outputs={"out": source})


def calls_of_three(loads: Any) -> float:
    """Return how many calls Python makes to read a body of three nodes; unlike seconds it is always the same."""
    loads.chain.__dag__(length=2)
    profile = cProfile.Profile()
    profile.runcall(loads.chain.__dag__, length=3)
    return float(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def imports(ground: Ground) -> Iterator[Row]:
    """Measure the first import, beside what most programs import anyway."""
    times = 3 if ground.quick else 7
    ours, theirs = alternating(
        times,
        lambda: seconds_of("from dagcelery import dag, task"),
        lambda: seconds_of("import asyncio, json, inspect"),
    )
    yield Row("import of dag and task", ours * 1e3, "ms", "<= 40", "asyncio, json, inspect", theirs * 1e3)


def seconds_of(statement: str) -> float:
    """Return the seconds that a statement takes in a fresh interpreter."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return float(subprocess.check_output([sys.executable, "-c", code]))
