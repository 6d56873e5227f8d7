"""Whoever waits for a run is woken by its end, blocking or not."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dagcelery import Run, RunState, errors, invoke, task
from dagcelery.client import following

from .conftest import SECONDS
from .vocabulary import breaks, squares, stranded, waits


def test_waiting_tells_the_state_and_raises_for_no_end() -> None:
    assert squares.submit(n=3).wait(SECONDS) is RunState.DONE
    assert breaks.submit(n=3).wait(SECONDS) is RunState.FAILED


def test_waiting_in_vain_tells_the_state_too(tmp_path: Path) -> None:
    run = waits.submit(path=str(tmp_path / "it"))
    assert not run.wait(0.01).is_end
    (tmp_path / "it").touch()
    assert run.wait(SECONDS) is RunState.DONE


def test_an_event_loop_waits_for_many_runs_at_once(tmp_path: Path) -> None:
    async def gathered() -> tuple[list[int], list[RunState]]:
        runs = [await waits.asubmit(path=str(tmp_path / "it")) for _ in range(3)]
        results = [asyncio.create_task(run.aresult(SECONDS)) for run in runs for _ in range(10)]
        states = [asyncio.create_task(run.await_(SECONDS)) for run in runs]
        (tmp_path / "it").touch()
        return await asyncio.gather(*results), await asyncio.gather(*states)

    assert asyncio.run(gathered()) == ([5] * 30, [RunState.DONE] * 3)


def test_an_event_loop_is_told_of_failures_and_of_time_that_is_over(tmp_path: Path) -> None:
    async def raised() -> None:
        failed = await breaks.asubmit(n=3)
        with pytest.raises(errors.NodeFailed, match=r"fragile\[2\]"):
            await failed.aresult(SECONDS)
        assert [failure.stands for failure in await failed.aerrors()] == [False, True]
        run = await waits.asubmit(path=str(tmp_path / "it"))
        with pytest.raises(errors.ResultTimeout):
            await run.aresult(0.01)
        assert await run.acancel("enough") is RunState.CANCELLED
        with pytest.raises(errors.RunCancelled, match="enough"):
            await run.aresult()
        (tmp_path / "it").touch()
        assert await (await run.aresume()).aresult(SECONDS) == 5
        assert (await run.astatus()).state is RunState.DONE

    asyncio.run(raised())


def test_whoever_waits_notices_a_deadline_that_no_worker_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "GLANCE_SECONDS", 0.2)
    run, again = (stranded.options(deadline=0.5).submit(n=1) for _ in range(2))
    with ThreadPoolExecutor() as pool:
        last = pool.submit(lambda: list(again.events())[-1].state)
        assert run.wait(SECONDS) is RunState.TIMED_OUT
        assert last.result(SECONDS) == "timed_out"


def test_an_unknown_run_is_not_waited_for() -> None:
    with pytest.raises(errors.RunNotFound):
        Run[object]("nobody").wait()
    with pytest.raises(errors.RunNotFound):
        asyncio.run(Run[object]("nobody").await_())


@pytest.mark.parametrize("timeout", [-1, "soon", True, float("nan")])
def test_what_is_no_time_is_refused(timeout: object) -> None:
    run = squares.submit(n=1)
    with pytest.raises(errors.InvalidParameters, match="is not a time"):
        run.wait(timeout)  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidParameters, match="is not a time"):
        run.result(timeout)  # type: ignore[arg-type]


def test_a_task_waits_for_no_run() -> None:
    run = squares.submit(n=1)

    @task
    def waiting() -> str:
        return run.wait()

    with pytest.raises(errors.NodeFailed, match="inside a task"):
        invoke(waiting)
