"""A run goes on with the code that it was planned with, or somebody says that other code will do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dagcelery import dag, task
from dagcelery.client import lifecycle
from dagcelery.engine.worker_loop import Engine
from dagcelery.errors import CodeMismatch, CodeUnknown
from dagcelery.payload import functions
from dagcelery.payload.fingerprints import code_hash

from .worlds import World

OLD = """
from dagcelery import dag, task

@task{options}
def risky(x: int) -> int:
    if x:
        raise ValueError(x)
    return x

@dag
def pipeline(x: int) -> int:
    return risky(x)
"""
NEW = OLD.replace("if x:", "if x > 1:")
Write = Callable[[str], ModuleType]
Again = Callable[[Engine, str, bool], None]


def resumed(engine: Engine, run_id: str, anyway: bool) -> None:
    lifecycle.resume(engine, run_id, None, allow_code_change=anyway)


def retried(engine: Engine, run_id: str, anyway: bool) -> None:
    lifecycle.retry_from(engine, run_id, "risky", None, allow_code_change=anyway)


both_ways = pytest.mark.parametrize("again", [resumed, retried])


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write the module `changing` and import it anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # else a quick change would not be seen

    def write(text: str) -> ModuleType:
        (tmp_path / "changing.py").write_text(text)
        sys.modules.pop("changing", None)
        importlib.invalidate_caches()
        return importlib.import_module("changing")

    yield write
    sys.modules.pop("changing", None)


def failed(world: World, module: ModuleType) -> str:
    run_id = world.ended(module.pipeline, x=1)
    assert world.store.reader.record(run_id).state == "failed"  # type: ignore[union-attr]
    return run_id


@both_ways
def test_code_that_is_as_it_was_goes_on(written: Write, again: Again) -> None:
    world = World()
    run_id = failed(world, written(OLD.format(options="")))
    again(world.engine("late"), run_id, False)


@both_ways
def test_changed_code_is_refused_unless_it_is_allowed(written: Write, again: Again) -> None:
    world = World()
    run_id = failed(world, written(OLD.format(options="")))
    written(NEW.format(options=""))
    late = world.engine("late")
    with pytest.raises(CodeMismatch, match=r"changing:risky has different code.*--allow-code-change") as refused:
        again(late, run_id, False)
    assert "allow_code_change=True" in str(refused.value)
    assert "DAGCELERY_CODE_MISMATCH" not in str(refused.value)
    again(late, run_id, True)


@both_ways
def test_code_that_cannot_be_looked_at_is_not_taken_for_unchanged(written: Write, tmp_path: Path, again: Again) -> None:
    world = World()
    run_id = failed(world, written(OLD.format(options="")))
    (tmp_path / "changing.py").unlink()
    del sys.modules["changing"]
    importlib.invalidate_caches()
    late = world.engine("late")
    with pytest.raises(CodeUnknown, match=r"changing:risky may have changed.*No module named 'changing'") as refused:
        again(late, run_id, False)
    assert "where module 'changing' is as the workers have it" in str(refused.value)
    assert "--allow-code-change" in str(refused.value)
    again(late, run_id, True)


def test_a_module_that_fails_at_its_import_or_lacks_the_function_is_not_taken_for_unchanged(written: Write) -> None:
    world = World()
    run_id = failed(world, written(OLD.format(options="")))
    written("other = 1\n")
    with pytest.raises(CodeUnknown, match="it has no 'risky' here"):
        resumed(world.engine("late"), run_id, False)
    with pytest.raises(ZeroDivisionError):
        written("1 / 0\n")
    with pytest.raises(CodeUnknown, match="ZeroDivisionError"):
        resumed(world.engine("late"), run_id, False)


def test_a_module_that_may_not_be_imported_here_is_not_taken_for_unchanged(written: Write) -> None:
    world = World(key=None, imports=("changing",))
    run_id = failed(world, written(OLD.format(options="")))
    late = world.engine("late")
    resumed(late, run_id, False)
    world.settle()
    late.imports = ()
    with pytest.raises(CodeUnknown, match="module 'changing' is neither in DAGCELERY_IMPORTS"):
        resumed(late, run_id, False)


def test_a_function_that_moved_is_compared_where_it_is_now(
    written: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    run_id = failed(world, written(OLD.format(options="")))
    (tmp_path / "moved_here.py").write_text(OLD.format(options="(aliases=('changing:risky',))"))
    written("")
    monkeypatch.delitem(sys.modules, "moved_here", raising=False)
    importlib.import_module("moved_here")
    try:
        resumed(world.engine("late"), run_id, False)
    finally:
        del sys.modules["moved_here"]


@pytest.mark.parametrize(
    ("made", "told"),
    [("399.2", "it was planned with Python 3"), ("{}{}", "it was planned by another version of dagcelery")],
)
def test_a_hash_that_was_made_otherwise_is_not_taken_for_unchanged(
    written: Write, monkeypatch: pytest.MonkeyPatch, made: str, told: str
) -> None:
    made = made.format(*sys.version_info[:2])

    def made_otherwise(func: Callable[..., Any]) -> str:
        return f"{made}-{code_hash(func).partition('-')[2]}"

    world = World()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(functions, "code_hash", made_otherwise)
        run_id = failed(world, written(OLD.format(options="")))
    with pytest.raises(CodeUnknown, match=told):
        resumed(world.engine("late"), run_id, False)


@task
def fails(x: int) -> int:
    raise ValueError(x)


@task(dynamic=True)
def grows(x: int) -> int:
    return fails(x)


@dag
def growing(x: int) -> int:
    return grows(x)


@pytest.mark.parametrize("key", ["a key", None])
def test_what_is_dagcelerys_own_and_what_travels_with_its_plan_need_not_be_looked_at(key: str | None) -> None:
    world = World(key=key, imports=(__name__,))
    run_id = world.ended(growing, x=1)
    resumed(world.engine("late"), run_id, False)


def test_a_function_by_value_travels_with_its_plan() -> None:
    @task
    def local(x: int) -> int:
        return 1 // x

    world = World()
    run_id = world.ended(local, x=0)
    resumed(world.engine("late"), run_id, False)
