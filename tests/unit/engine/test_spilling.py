"""With DAGCELERY_SPILL_URL large values of runs stand in files, as long as their runs do and no longer."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import pytest

from dagcelery import AsPickle, dag, invoke, task
from dagcelery.client import following
from dagcelery.client.lifecycle import retry_from
from dagcelery.errors import NodeFailed, NotConfigured, RunNotFound, SpillDamaged
from dagcelery.settings import Settings
from dagcelery.store.in_process import store_in_process
from dagcelery.store.keys import Keys
from dagcelery.store.records import Claim, Lost, Response, TaskResult
from dagcelery.store.run_adapters import MachineAdapter
from dagcelery.worker.heartbeat import sweep_files

from .worlds import World


@task
def texts(count: int, size: int) -> list[str]:
    return [str(number) * size for number in range(count)]


@task
def twice(text: str) -> str:
    return text + text


@task
def lengths(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@task
def total(texts: Iterable[str]) -> int:
    return sum(len(text) for text in texts)


@task(serializer=AsPickle())
def joined(texts: list[str], more: str) -> str:
    return "".join(texts) + more


@dag
def book(count: int, size: int, more: str = "") -> dict[str, Any]:
    pages = [twice(text) for text in texts(count, size)]
    return {"lengths": lengths(pages), "total": total(pages), "text": joined(pages, more)}


@dag
def inner(text: str) -> str:
    return twice(twice(text))


@dag
def nested(count: int, size: int) -> list[str]:
    return [inner(text) for text in texts(count, size)]


class Shelf:
    """A place for files, on a disk or in an object store."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, self._root = fsspec.core.url_to_fs(url)

    def files(self) -> list[str]:
        return [str(name) for name in self._files.find(self._root)]

    def world(self, store: Any = None, **settings: Any) -> World:
        return World(store, spill_url=self.url, **{"spill_bytes": 1000} | settings)


@pytest.fixture(params=["file", "memory"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    yield Shelf(f"file://{tmp_path}/spilled" if request.param == "file" else f"memory://{uuid.uuid4().hex}")
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def disk(tmp_path: Path) -> Shelf:
    return Shelf(f"file://{tmp_path}/spilled")


EXPECTED = {"lengths": [4000] * 3, "total": 12000, "text": "".join(str(n) * 4000 for n in range(3)) + "m" * 5000}


# -- what is large, in every place where values stand --------------------------------------------
def test_parameters_items_and_results_may_all_be_large(shelf: Shelf) -> None:
    world = shelf.world()
    assert world.run(book, count=3, size=2000, more="m" * 5000) == EXPECTED
    assert len(shelf.files()) >= 1 + 3 + 1  # the parameter, the items of the fan-out, the text


def test_a_list_of_small_items_needs_no_file(shelf: Shelf) -> None:
    shelf.world(spill_bytes=100_000).run(book, count=300, size=10)
    assert not shelf.files()


def test_the_store_holds_little_of_what_is_large(disk: Shelf) -> None:
    store = store_in_process()
    disk.world(store).run(book, count=20, size=100_000)
    ((active, _),) = store.server.client.zrange(Keys().active, 0, -1, withscores=True)
    run_id = active.decode()
    values = [
        "o:0",
        *(name.decode() for name in store.server.client.smembers(Keys().run(run_id, "k")) if name[:1] in b"obx"),
    ]
    assert len(values) > 1
    assert sum(map(len, (v for name in values for v in store.server.client.hvals(Keys().run(run_id, name))))) < 20_000


def test_without_a_key_large_values_stand_in_files_too(shelf: Shelf) -> None:
    @dag
    def plain(count: int, size: int) -> list[int]:
        return lengths([twice(text) for text in texts(count, size)])

    world = shelf.world(key=None, imports=(__name__,))
    assert world.run(plain, count=3, size=2000) == [4000] * 3
    assert shelf.files()


def test_in_process_nothing_goes_into_files(disk: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGCELERY_SPILL_URL", disk.url)
    monkeypatch.setenv("DAGCELERY_SPILL_BYTES", "1")
    assert invoke(nested, {"count": 2, "size": 2000}) == ["0" * 8000, "1" * 8000]
    assert not disk.files()


# -- a run's end ---------------------------------------------------------------------------------
def test_nothing_is_left_after_a_run_was_deleted(shelf: Shelf) -> None:
    world = shelf.world()
    run_id, other = (world.submit(book, count=3, size=2000) for _ in range(2))
    world.settle()
    world.client.delete(run_id)
    assert shelf.files()
    assert all(other in name for name in shelf.files())
    assert world.result(other)["total"] == 12000
    with pytest.raises(RunNotFound):
        world.result(run_id)
    world.client.delete(other)
    assert not shelf.files()


def test_a_sweep_removes_the_files_of_runs_that_are_gone_and_of_no_others(shelf: Shelf) -> None:
    world = shelf.world()
    lapsed, there = (world.submit(book, count=3, size=2000) for _ in range(2))
    world.settle()
    world.store.machine.delete(lapsed)  # as if its keys had expired, or the process had died that deleted it
    sweep_files(world.client, wait_seconds=0)
    assert world.result(there)["total"] == 12000
    assert all(there in name for name in shelf.files())
    assert world.store.fleet.spilled(10, 0) == [there]


def test_a_sweep_leaves_the_files_of_a_run_alone_that_is_about_to_be_submitted(shelf: Shelf) -> None:
    world = shelf.world()
    folder = world.client.spill and world.client.spill.folder("r", lambda: world.store.fleet.spills("r"))
    folder.put(b"address", 0, BytesIO(b"large"))
    sweep_files(world.client)
    assert shelf.files()
    sweep_files(world.client, wait_seconds=0)
    assert not shelf.files()


class Deadly(MachineAdapter):
    """Its callers die before their commit, or after it, as often as told."""

    before = after = 0

    def finish(self, run_id: str, executed: Sequence[tuple[Claim, TaskResult]], *rest: Any) -> Response:
        has_blocks = any(list(result.blocks) for _, result in executed)
        if self.before and has_blocks:
            self.before -= 1
            raise SystemExit
        response = super().finish(run_id, executed, *rest)
        if self.after and has_blocks:
            self.after -= 1
            raise SystemExit
        return response


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_death_around_a_commit_changes_nothing_and_its_files_go_with_the_run(shelf: Shelf, moment: str) -> None:
    store = store_in_process()
    deadly = Deadly(store.server)
    world = shelf.world(replace(store, machine=deadly), workers=1)
    run_id = world.submit(book, count=3, size=2000)
    setattr(deadly, moment, 2)
    while deadly.before or deadly.after:
        with pytest.raises(SystemExit):
            world.settle()
        for queue in store.machine.sweep(run_id, Lost(dead=["worker0"]), 10).wake_ups:
            world.post.wake_up(run_id, queue, 1)
    world.settle()
    assert world.result(run_id)["total"] == 12000
    world.client.delete(run_id)
    assert not shelf.files()


# -- what others may have done -------------------------------------------------------------------
def test_a_missing_file_fails_the_node_that_reads_it_and_names_the_one_that_wrote_it(disk: Shelf) -> None:
    world = disk.world(workers=1)
    run_id = world.submit(book, count=1, size=2000, more="m" * 5000)
    Path(disk.files()[0]).unlink()
    world.settle()
    with pytest.raises(
        NodeFailed, match=r"joined failed with dagcelery.errors.SpillDamaged: parameter 'more'.*is missing"
    ):
        world.result(run_id)


def test_a_result_whose_file_was_changed_is_not_given_and_can_be_made_again(disk: Shelf) -> None:
    world = disk.world()
    run_id = world.ended(nested, count=1, size=2000)
    for name in disk.files():
        Path(name).write_text('"forged"')
    with pytest.raises(
        SpillDamaged, match=r"output 'return_value' of node 'inner\[0\]'|output '.*' of node 'inner'"
    ) as caught:
        world.result(run_id)
    assert "was changed" in str(caught.value)
    assert "retry_from()" in str(caught.value)
    retry_from(world.client, run_id, "texts", None, allow_code_change=False)
    world.settle()
    assert world.result(run_id) == ["0" * 8000]


def test_a_worker_that_does_not_know_where_files_are_says_so(disk: Shelf) -> None:
    world = disk.world()
    run_id = world.ended(nested, count=1, size=2000)
    elsewhere = World(world.store)
    with pytest.raises(NotConfigured, match="DAGCELERY_SPILL_URL"):
        following.result(elsewhere.client, run_id, 0)


def test_a_place_that_cannot_be_written_fails_the_node_and_a_resumed_run_goes_on(tmp_path: Path, disk: Shelf) -> None:
    world = disk.world()
    (tmp_path / "spilled").write_text("no folder")
    run_id = world.ended(nested, count=1, size=2000)
    with pytest.raises(NodeFailed, match=r"node texts failed with dagcelery.errors.SpillUnavailable: files below"):
        world.result(run_id)
    (tmp_path / "spilled").unlink()
    retry_from(world.client, run_id, "texts", None, allow_code_change=False)
    world.settle()
    assert world.result(run_id) == ["0" * 8000]


def test_a_worker_whose_files_cannot_be_opened_is_refused_at_its_start() -> None:
    with pytest.raises(NotConfigured, match="s3://bucket"):
        World(spill_url="s3://bucket/folder")


def test_settings_show_no_password_of_the_url() -> None:
    assert "secret" not in repr(Settings(spill_url="s3://user:secret@bucket/x"))
