"""What a stage writes under a name, the stages after it read: in the same run, signed, and for as long as the run."""

from __future__ import annotations

import gc
import stat
from pathlib import Path
from typing import Any

import pytest
import redis

from dagcelery import Pipeline, RedisStage, Stage, submit
from dagcelery.errors import InvalidDagType, InvalidParameters, NodeFailed, NotConfigured, NotKept
from dagcelery.local import Cluster, Server

from .vocabulary import Deleter, DiskReader, DiskWriter, Reader, Writer


def chain(*stages: Stage) -> Pipeline:
    made = Pipeline()
    for before, each in zip((None, *stages), stages, strict=False):
        made.add_stage(each.after(before) if before is not None else each)
    return made


def keys(client: Any, pattern: str = "*") -> list[str]:
    return sorted(key.decode() for key in client.scan_iter(pattern))


@pytest.fixture
def raw(cluster: Cluster) -> Any:
    with redis.Redis.from_url(cluster.store_url) as client:
        yield client


@pytest.mark.parametrize("value", [0, None, "", [], {1: {2}}, (1, 2), b"\0", object, float("inf")])
def test_any_value_that_can_be_pickled_arrives(value: object, tmp_path: Path) -> None:
    file = tmp_path / "read"
    chain(Writer(values={"key": value}), Reader(key="key", file=file)).start()
    assert file.read_text() == repr(value)


def test_values_stand_beside_the_run_and_live_as_long(tmp_path: Path, cluster: Cluster, raw: Any) -> None:
    file = tmp_path / "read"
    run = submit(chain(Writer(values={"key": {1: {2}}, "ключ\ud800": 0}), Reader(key="key", file=file)))
    run.result(timeout=60)
    assert file.read_text() == "{1: {2}}"
    kept = keys(raw, f"dagcelery:{{{run.id}}}:kept:*")
    assert len(kept) == 2
    assert all(0 < raw.ttl(key) <= 7 * 86400 for key in kept)
    run.delete()
    assert keys(raw, f"dagcelery:{{{run.id}}}:kept:*") == []


def test_the_last_value_of_a_name_counts(tmp_path: Path) -> None:
    file = tmp_path / "read"
    chain(Writer(values={"key": 1}), Writer(values={"key": 2}), Reader(key="key", file=file)).start()
    assert file.read_text() == "2"


def test_what_is_not_there_is_told_with_its_name(tmp_path: Path) -> None:
    reader = Reader(key="key", file=tmp_path / "read")
    with pytest.raises(NodeFailed) as failed:
        chain(Writer(values={"key": 1}), Deleter(), reader).start()
    assert isinstance(failed.value.__cause__, NotKept)
    assert isinstance(failed.value.__cause__, KeyError)
    assert "keeps no value called 'key'; write it in an earlier stage" in str(failed.value)


def test_runs_do_not_see_each_other_s_values(tmp_path: Path, cluster: Cluster) -> None:
    submit(chain(Writer(values={"key": 1}))).result(timeout=60)
    with pytest.raises(NodeFailed, match="keeps no value called 'key'"):
        submit(chain(Reader(key="key", file=tmp_path / "read"))).result(timeout=60)


def test_a_value_that_somebody_changed_or_moved_is_refused(tmp_path: Path, cluster: Cluster, raw: Any) -> None:
    class Meddler(RedisStage):
        def __init__(self, url: str) -> None:
            self.url = url

        def run(self) -> None:
            with redis.Redis.from_url(self.url) as client:
                first, second = sorted(client.scan_iter("dagcelery:{*}:kept:*"))[:2]
                client.rename(first, second)

    raw.flushall()
    values = {"a": 1, "b": 2}
    readers = [Reader(key=key, file=tmp_path / key) for key in values]
    for reader in readers:
        run = submit(chain(Writer(values=values), Meddler(cluster.store_url), reader))
        with pytest.raises(NodeFailed, match=r"BadSignature.*does not fit|keeps no value called"):
            run.result(timeout=60)
        run.delete()


def test_a_redis_of_one_s_own_keeps_values_for_a_week(tmp_path: Path, server: Server, cluster: Cluster) -> None:
    file = tmp_path / "read"
    with redis.Redis.from_url(server.url, decode_responses=True) as own:
        writer, reader = Writer(own, values={"key": [1]}), Reader(redis_instance=own, key="key", file=file)
        chain(writer, reader).start()
        assert file.read_text() == "[1]"
        submit(chain(writer, reader)).result(timeout=60)
        found = list(own.scan_iter("dagcelery:{*}:kept:*"))
        assert len(found) == 2
        assert all(0 < own.ttl(key) <= 7 * 86400 for key in found)


def test_what_is_no_redis_is_refused() -> None:
    with pytest.raises(InvalidDagType, match="redis_instance='localhost': is not a client of a Redis"):
        RedisStage.__init__(Deleter(), "localhost")


def test_outside_of_a_run_there_are_no_values() -> None:
    for call in (lambda: Deleter().read("key"), lambda: Deleter().write("key", 1), lambda: Deleter().delete("key")):
        with pytest.raises(NotConfigured, match="the value 'key' belongs to a run, and none is executed here"):
            call()
    with pytest.raises(InvalidParameters, match="key 3: is of type int; give a str"):
        Deleter().read(3)  # type: ignore[arg-type]


# --- files ---


def test_files_are_shared_by_stages_on_processes_and_removed_after_the_run(tmp_path: Path) -> None:
    with pytest.raises(NodeFailed, match=r"node DiskReader failed with dagcelery.errors.*NotKept: .*'gone'"):
        chain(DiskWriter(tmp_path / "cache"), DiskReader(tmp_path / "cache")).start(num_cores=1)
    assert list((tmp_path / "cache").iterdir()) == []


def test_files_of_a_run_in_process_go_with_it(tmp_path: Path) -> None:
    with pytest.raises(NodeFailed, match="'gone'"):
        chain(DiskWriter(tmp_path), DiskReader(tmp_path)).start()
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_files_are_named_by_hashes_and_for_nobody_else(tmp_path: Path, cluster: Cluster) -> None:
    submit(chain(DiskWriter(tmp_path / "cache"))).result(timeout=60)
    (folder,) = (tmp_path / "cache").iterdir()
    (file,) = folder.iterdir()
    assert len(file.name) == 32
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_folder_is_a_setting_where_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(DiskCacheStage_):
        def __init__(self) -> None:
            """Does not call its base."""

    monkeypatch.setenv("DAGCELERY_CACHE_DIRECTORY", str(tmp_path / "set"))
    for made in (DiskWriter(), Careless()):
        pipeline = chain(made)
        pipeline.start()
        assert (tmp_path / "set").is_dir()


class DiskCacheStage_(DiskWriter):
    """A stage that others derive from."""
