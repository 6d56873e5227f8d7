"""A worker whose store is full keeps its result, says so now and then, and commits it when there is room."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from dagcelery import dag, task
from dagcelery.engine import worker_loop
from dagcelery.errors import StoreFull
from dagcelery.store.run_adapters import MachineAdapter

from .worlds import World

CALLS: list[int] = []


@task
def square(x: int) -> int:
    CALLS.append(x)
    return x * x


@dag
def one(x: int) -> int:
    return square(x)


def test_a_result_waits_for_room_without_being_computed_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, refusals = MachineAdapter.finish, iter(range(30))

    def finish(self: MachineAdapter, *arguments: Any) -> Any:
        if next(refusals, None) is not None:
            raise StoreFull("used memory > 'maxmemory'", "redis://h")
        return real(self, *arguments)

    monkeypatch.setattr(MachineAdapter, "finish", finish)
    monkeypatch.setattr(worker_loop, "_FULL_PAUSE_SECONDS", 0.0)
    CALLS.clear()
    world = World(
        heartbeat_seconds=0.0005, dead_seconds=0.001
    )  # longer than others would wait for a worker that is silent
    with caplog.at_level(logging.WARNING, "dagcelery"):
        assert world.run(one, x=3) == 9
    assert CALLS == [3]
    (said,) = caplog.messages
    assert "a result waits, since the store at redis://h is full" in said
