"""A user's module whose names and errors are as hostile as they may be."""

from __future__ import annotations

from dagcelery import DAG, FromParam, Task, dag, task

HOSTILE = "\x1b]0;owned\x07\x1b[2J<script>alert(1)</script>[red]\x9b31m\nrun 1 done"
"""Sets a terminal's title and clears it, runs in a browser, colours in rich, and begins a line of its own."""


@task
def double(x: int) -> int:
    return 2 * x


@dag
def doubles(xs: list[int]) -> list[int]:
    return [double(x) for x in xs]


@task
def raises(x: int) -> int:
    raise ValueError(HOSTILE)


@dag
def failing(x: int) -> int:
    return raises(x)


named = DAG({"f": Task(double.fn, {"x": FromParam()})}, {"x": FromParam()}, {}, name=HOSTILE)
