"""Each verb of a run that blocks has a twin for event loops, which takes the same arguments."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest

from dagcelery import Run, dag, errors, task
from dagcelery.client.node import RunNode
from dagcelery.testing.lending import eager_client

# What a twin is called, where an ``a`` in front would be a keyword of Python.
TWINS = {"wait": "await_"}


@task
def count(path: str) -> int:
    """Count the calls in a file, whose first one fails."""
    file = Path(path)
    file.write_text(f"{file.read_text() if file.exists() else ''}.")
    if len(file.read_text()) == 1:
        raise ValueError("the first call fails")
    return len(file.read_text())


@dag
def counted(path: str) -> int:
    return count(path)


VERBS = [
    name
    for name, member in vars(Run).items()
    if inspect.isfunction(member) and name[0] != "_" and not name.startswith("a") and name != "node"
]


@pytest.mark.parametrize(
    ("owner", "name"),
    [*((Run, name) for name in VERBS), *((RunNode, name) for name in ("result", "status", "errors", "logs", "log"))],
)
def test_each_verb_has_a_twin(owner: type, name: str) -> None:
    blocking, twin = getattr(owner, name), getattr(owner, TWINS.get(name, f"a{name}"))
    assert inspect.signature(twin).parameters == inspect.signature(blocking).parameters


def test_a_run_is_resumed_retried_and_deleted_on_an_event_loop(tmp_path: Path) -> None:
    run = eager_client().submit(counted, {"path": str(tmp_path / "calls")})

    async def use() -> list[int]:
        results = [await (await run.aresume()).aresult(), await (await run.aretry_from("count")).aresult()]
        await run.adelete()
        return results

    assert run.state == "failed"
    assert asyncio.run(use()) == [2, 3]
    with pytest.raises(errors.RunNotFound):
        run.status()
