"""Workers and clients that share a folder keep large values there, and nothing is left of a run that is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dagcelery import Run, dag, task
from dagcelery.client import set_default
from dagcelery.errors import NodeFailed
from dagcelery.local import Cluster, cluster

SECONDS = 60.0
MEGABYTE = 1_000_000


@task
def sheets(count: int) -> list[str]:
    return [str(number) * MEGABYTE for number in range(count)]


@task
def longer(sheet: str, more: str) -> str:
    return sheet + more


@task
def bound(sheets: list[str]) -> str:
    return "".join(sheets)


@dag
def volume(count: int, more: str) -> str:
    return bound([longer(sheet, more) for sheet in sheets(count)])


@task
def refuse(text: str) -> str:
    raise ValueError(f"{len(text)} characters are too many")


@dag
def refused(text: str) -> str:
    return refuse(text)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spilled")


@pytest.fixture(scope="module")
def spilling(shelf: Path) -> Iterator[Cluster]:
    """Two worker processes that put more than 64 KB into files of a folder, as this process does."""
    environment = {"DAGCELERY_SPILL_URL": f"file://{shelf}", "DAGCELERY_SPILL_BYTES": "65536"}
    with cluster(workers=2, environment=environment) as made:
        replaced = set_default(made.client)
        yield made
        set_default(replaced)


def files(shelf: Path) -> list[Path]:
    return [path for path in shelf.rglob("*") if path.is_file()]


def test_large_values_pass_from_worker_to_worker_beside_the_store(spilling: Cluster, shelf: Path) -> None:
    run: Run[str] = volume.submit(count=4, more="m" * MEGABYTE)
    assert run.result(timeout=SECONDS) == "".join(str(number) * MEGABYTE + "m" * MEGABYTE for number in range(4))
    assert sum(path.stat().st_size for path in files(shelf)) > 20 * MEGABYTE
    with redis.Redis.from_url(spilling.store_url) as raw:
        kept = [name for name in raw.scan_iter() if run.id.encode() in name]
        assert sum(raw.memory_usage(name) or 0 for name in kept) < MEGABYTE
        run.delete()
        assert not [name for name in raw.scan_iter() if run.id.encode() in name]
    assert not files(shelf)
    assert not list(shelf.iterdir())


def test_files_of_a_run_that_fails_go_with_it_too(spilling: Cluster, shelf: Path) -> None:
    run = refused.submit(text="x" * MEGABYTE)
    with pytest.raises(NodeFailed, match="1000000 characters are too many"):
        run.result(timeout=SECONDS)
    assert files(shelf)
    run.delete()
    assert not files(shelf)


def test_submitting_again_with_a_key_leaves_no_files_of_the_run_that_was_not_needed(
    spilling: Cluster, shelf: Path
) -> None:
    first, again = (volume.options(key="once").submit(count=1, more="m" * MEGABYTE) for _ in range(2))
    assert first == again
    assert len(first.result(timeout=SECONDS)) == 2 * MEGABYTE
    assert [path.name for path in shelf.iterdir()] == [first.id]
    first.delete()
    assert not list(shelf.iterdir())
