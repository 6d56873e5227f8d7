"""Coroutines of tasks share one event loop; a time limit cancels the one that it meets."""

from __future__ import annotations

import asyncio

import pytest

from dagcelery import Timeout, invoke, task
from dagcelery.errors import NodeFailed

seen: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@task
async def others() -> int:
    """How many coroutines there are in the loop beside this one."""
    await asyncio.sleep(0)
    return len(asyncio.all_tasks()) - 1


@task(timeout=Timeout(soft=0.05))
async def careful() -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        seen.append("cleaned up")
        raise


@task(timeout=Timeout(soft=0.05))
async def content() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "so far"
    return "all"


@task(timeout=Timeout(soft=0.05))
async def clumsy() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        raise KeyError("cleaning up failed")


def test_a_coroutine_that_takes_too_long_is_cancelled_and_gone() -> None:
    with pytest.raises(NodeFailed, match="SoftTimeLimitExceeded"):
        invoke(careful)
    assert seen == ["cleaned up"]
    assert invoke(others) == 0


def test_a_coroutine_may_return_what_it_has_when_it_is_cancelled() -> None:
    assert invoke(content) == "so far"
    assert invoke(others) == 0


def test_what_fails_when_it_is_cancelled_fails_with_that() -> None:
    with pytest.raises(NodeFailed, match="cleaning up failed"):
        invoke(clumsy)
    assert invoke(others) == 0
