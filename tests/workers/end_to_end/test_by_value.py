"""A function that workers cannot import travels with its run: lambdas, closures, and what a script defines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from dagcelery import dag, task

from .site import Site, bare_environment

SECONDS = 60.0


def test_a_lambda_travels(at: Site) -> None:
    assert task(lambda x: x + 1).submit(x=1).result(timeout=SECONDS) == 2


def test_a_closure_travels_with_what_it_captures(at: Site) -> None:
    offset = {"by": 40}

    @task
    def shifted(x: int) -> int:
        return x + offset["by"]

    @task
    def added(xs: list[int]) -> int:
        return sum(xs)

    @dag
    def shift_all(xs: list[int]) -> int:
        return added([shifted(x) for x in xs])

    assert shift_all.submit(xs=[1, 2]).result(timeout=SECONDS) == 83


def test_a_closure_that_is_async_travels_too(at: Site) -> None:
    by = 5

    @task
    async def later(x: int) -> int:
        return x + by

    assert later.submit(x=1).result(timeout=SECONDS) == 6


SCRIPT = """
    from dagcelery import AsPickle, dag, task

    class Point:
        def __init__(self, x): self.x = x

    def helper(x):
        return x * 10

    @task(serializer=AsPickle())
    def point(x: int) -> Point:
        return Point(helper(x))

    @task
    def total(points: list) -> int:
        return sum(point.x for point in points)

    @dag(serializer=AsPickle())
    def main(xs: list[int]) -> int:
        return total([point(x) for x in xs])

    if __name__ == "__main__":
        print(main.submit(xs=[1, 2, 3]).result(timeout=60))
"""


def test_a_script_may_define_its_pipeline_and_submit_it(at: Site, tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text(dedent(SCRIPT))
    ran = subprocess.run(
        [sys.executable, "pipeline.py"],
        cwd=tmp_path,
        env=bare_environment(at.cluster.environment),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert (ran.stdout, ran.returncode) == ("60\n", 0), ran.stderr


def test_a_module_may_be_sent_along(at: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside_the_script.py").write_text("def helper(x):\n    return x * 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import beside_the_script

    @task(by_value="beside_the_script")
    def helped(x: int) -> int:
        return int(beside_the_script.helper(x))

    assert helped.submit(x=6).result(timeout=SECONDS) == 42
