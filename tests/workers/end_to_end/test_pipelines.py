"""On real workers every DAG gives what plain Python gives: calling its function is the oracle."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pipelines
import pytest

from dagcelery import Run, RunState, asubmit, submit
from dagcelery.client import new_run, plan_of
from dagcelery.errors import ResultTimeout, RunNotFound

from .site import Site, bare_environment

SECONDS = 60.0

CASES: list[tuple[Any, dict[str, Any]]] = [
    (pipelines.map_reduce, {"n": 10}),
    (pipelines.map_reduce, {"n": 0}),
    (pipelines.map_reduce, {"n": 1, "exponent": 3}),
    (pipelines.map_reduce, {"n": 10_000}),
    (pipelines.map_reduce_gpu, {"n": 10}),
    (pipelines.map_reduce_gpu, {"n": 0}),
    (pipelines.two_consumers, {"n": 300}),
    (pipelines.element_chain, {"n": 600}),
    (pipelines.row, {"k": 5}),
    (pipelines.map_in_map, {"n": 6}),
    (pipelines.map_in_map_inline, {"n": 6}),
    (pipelines.zigzag, {"x": 1}),
    (pipelines.nested_outputs, {"x": 1}),
    (pipelines.naps, {"seconds": [0.0, 0.05, 0.01]}),
    (pipelines.pickled, {"n": 4}),
    (pipelines.asynchronous, {"x": 1}),
    (pipelines.falsies, {}),
    (pipelines.ordered, {"n": 4}),
    (pipelines.chain_of, {"n": 0}),
    (pipelines.big, {"length": 3_000_000}),
    (pipelines.slow_then_gpu, {"seconds": [0.1] * 6}),
    (pipelines.failing, {"n": 3}),
]


def oracle(node: Any, params: dict[str, Any]) -> Any:
    """What plain Python makes of it."""
    found = node(**params)
    return asyncio.run(found) if inspect.iscoroutine(found) else found


@pytest.mark.parametrize(("node", "params"), CASES, ids=[f"{node.__name__}{params}" for node, params in CASES])
def test_workers_give_plain_pythons_result(at: Site, node: Any, params: dict[str, Any]) -> None:
    run = submit(node, params)
    assert run.result(timeout=SECONDS) == oracle(node, params)
    assert run.state is RunState.DONE


def test_every_dag_of_the_users_module_is_tried() -> None:
    elsewhere = {"whoami", "places", "failing_between", "failing_beside", "patient"}
    elsewhere |= {"watched_map", "watched_fan_out", "watched_failure"}
    from dagcelery import DagFunction

    defined = {name for name, found in vars(pipelines).items() if isinstance(found, DagFunction)}
    assert defined - elsewhere == {node.__name__ for node, _ in CASES}


def test_a_task_alone_runs_on_a_worker(at: Site) -> None:
    assert pipelines.power.submit(x=3, exponent=2).result(timeout=SECONDS) == 9


def test_a_dag_may_be_named_by_module_and_name(at: Site) -> None:
    assert submit("pipelines:map_reduce", {"n": 4}).result(timeout=SECONDS) == 14


def test_a_piece_knows_its_address_and_attempt(at: Site) -> None:
    found = submit(pipelines.whoami, {"n": 3}).result(timeout=SECONDS)
    assert [row[:3] for row in found] == [[f"who[{i}]", i, 1] for i in range(3)]


def test_a_run_is_found_again_from_another_process(at: Site) -> None:
    run = pipelines.map_reduce.submit(n=10)
    code = f"from dagcelery import Run; run = Run({run.id!r}); print(run.result(timeout={SECONDS}), run.state)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=bare_environment(at.cluster.environment),
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    assert found.stdout.split() == ["285", "done"]


def test_a_run_may_be_submitted_and_awaited_from_a_coroutine(at: Site) -> None:
    async def main() -> Any:
        run = await asubmit(pipelines.map_reduce, {"n": 5})
        return await run.aresult(timeout=SECONDS)

    assert asyncio.run(main()) == 30


def test_a_result_may_be_asked_for_again(at: Site) -> None:
    run = pipelines.two_consumers.submit(n=3)
    assert run.result(timeout=SECONDS) == run.result() == Run(run.id).result()


def test_whoever_waits_too_short_is_told_so_and_the_run_goes_on(at: Site, tmp_path: Path) -> None:
    file = tmp_path / "go"
    run = pipelines.patient.submit(path=str(file))
    with pytest.raises(ResultTimeout, match=f"run {run.id} had no result after 0.01 s"):
        run.result(timeout=0.01)
    file.write_text("went")
    assert run.result(timeout=SECONDS) == "went"


def test_a_deleted_run_leaves_nothing_behind(at: Site, raw: Any) -> None:
    run = pipelines.map_reduce.submit(n=300)
    run.result(timeout=SECONDS)
    assert list(raw.scan_iter(f"*{run.id}*"))
    run.delete()
    assert not list(raw.scan_iter(f"*{run.id}*"))
    with pytest.raises(RunNotFound):
        run.result()


def test_two_runs_at_once_take_turns(at: Site, tmp_path: Path) -> None:
    file = tmp_path / "go"
    held = [pipelines.patient.submit(path=str(file)) for _ in range(1)]
    long = pipelines.naps.submit(seconds=[0.01] * 150)
    short = pipelines.map_reduce.submit(n=5)
    assert short.result(timeout=SECONDS) == 30
    assert long.state in (RunState.RUNNING, RunState.PENDING)
    file.write_text("went")
    assert [run.result(timeout=SECONDS) for run in held] == ["went"]
    assert long.result(timeout=SECONDS) == [0.01] * 150


@pytest.mark.parametrize(
    ("node", "params"),
    [
        (pipelines.map_reduce_gpu, {"n": 200}),
        (pipelines.zigzag, {"x": 1}),
        (pipelines.map_in_map, {"n": 8}),
        (pipelines.element_chain, {"n": 300}),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_messages_that_come_three_times_do_no_harm(at: Site, node: Any, params: dict[str, Any]) -> None:
    engine = at.client.control
    run = new_run(engine, plan_of(node), params, at.client.settings)
    opened = engine.store.machine.create(run).opened
    for _ in range(3):
        engine.sender.start(engine.view(run.id), opened)
        for queue in ("celery", "gpu"):
            engine.sender.wake_up(run.id, queue, 3)
    assert Run(run.id).result(timeout=SECONDS) == oracle(node, params)
    events = engine.store.reader.events(run.id, "", 100_000)
    times = Counter(event.piece for event in events if event.kind == "done" and event.piece)
    assert set(times.values()) == {1}
