"""`dagcelery.compat.pydags`: pydags' modules, and what was wrong in them; drawing is tested with the stages."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from dagcelery import submit
from dagcelery.compat.pydags import cache as caches
from dagcelery.compat.pydags.pipeline import DAGVerificationException, InvalidStageTypeException, Pipeline
from dagcelery.compat.pydags.serialization import (
    CloudPickleSerializer,
    DillSerializer,
    InvalidTypeForDeserializationException,
    PickleSerializer,
    SerializationException,
)
from dagcelery.compat.pydags.stage import DecoratorStage, DiskCacheStage, RedisStage, Stage, StageExecutor, stage
from dagcelery.errors import DeserializationError
from dagcelery.local import Cluster, Server

seen: list[Any] = []
MEETING = threading.Barrier(2, timeout=30)


class OwnError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(one, two)


@stage
def step(*values: Any) -> None:
    seen.append(values)


@stage
def meet() -> None:
    MEETING.wait()
    seen.append(threading.current_thread() is threading.main_thread())


@stage
def fail(error: BaseException) -> None:
    raise error


class Writing(RedisStage):
    def run(self) -> None:
        self.write("found", {1, 2})


class Reading(RedisStage):
    def run(self) -> None:
        seen.append(self.read("found"))
        self.delete("found")


class Keeping(DiskCacheStage):
    def run(self) -> None:
        self.write("key", [1])
        assert self.read("key") == [1]


class Looking(Stage):
    """Says which keys its pipeline has while it runs."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def run(self) -> None:
        seen.append(progress(self.pipeline))


def progress(pipeline: Pipeline) -> dict[str, Any]:
    found = {key: pipeline.read(key) for key in ("in_progress", "done")}
    return {key: pickle.loads(data) for key, data in found.items() if data}


def pipeline_of(*stages: Any, **options: Any) -> Pipeline:
    pipeline = Pipeline(**options)
    pipeline.add_stages(stages)
    return pipeline


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


def test_groups_are_yielded_in_order_and_the_graph_can_be_read() -> None:
    first = step()
    second = step().after(first)
    pipeline = pipeline_of(first, second)
    assert list(pipeline.topological_sort_grouped()) == [["step"], ["step-2"]]
    assert pipeline.pipeline.nodes["step-2"]["stage_wrapper"] is second
    assert pipeline.pipeline.edges == (("step", "step-2"),)
    assert second.preceding_stages == [first]


class Named(Stage):
    @property
    def name(self) -> str:
        return "my stage/1"

    def run(self) -> None:
        seen.append(self.name)


def test_stages_keep_names_that_dags_would_not_have() -> None:
    pipeline = pipeline_of(Named(), step(1))
    assert list(pipeline.topological_sort_grouped()) == [["my stage/1", "step"]]
    pipeline.run_stage("my stage/1")
    assert seen == ["my stage/1"]


def test_one_stage_can_be_run_alone() -> None:
    made = step(1)
    assert isinstance(made, DecoratorStage)
    assert (made.stage_function.__name__, made.args, made.kwargs) == ("step", (1,), {})
    pipeline_of(made, step(2)).run_stage("step-2")
    assert seen == [(2,)]


@pytest.mark.parametrize("cores", [None, 0, 2])
def test_stages_run_in_this_process_after_those_before_them(cores: int | None) -> None:
    last = step("last")
    pipeline_of(last.after(step("first")), *last.preceding_stages).start(num_cores=cores)
    assert seen == [("first",), ("last",)]


@pytest.mark.parametrize("cores", [None, 2])
def test_a_stage_may_be_async(cores: int | None) -> None:
    async def coroutine() -> None:
        seen.append("ran")

    pipeline = Pipeline()
    pipeline.add_stage(stage(coroutine)())
    pipeline.start(num_cores=cores)
    assert seen == ["ran"]


def test_cores_are_threads_which_run_stages_at_once() -> None:
    pipeline_of(meet(), meet()).start(num_cores=2)
    assert seen == [False, False]


@pytest.mark.parametrize("cores", [None, 2])
@pytest.mark.parametrize("error", [ValueError("no"), OwnError(1, 2), KeyError("k")])
def test_what_a_stage_raises_is_raised(cores: int | None, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        pipeline_of(fail(error)).start(num_cores=cores)
    assert caught.value is error


def test_nothing_starts_after_a_failure() -> None:
    failing = fail(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        pipeline_of(failing, step().after(failing)).start(num_cores=2)
    assert seen == []


def test_what_is_wrong_raises_the_errors_that_it_raised() -> None:
    pipeline, first, second = Pipeline(), step(), step()
    with pytest.raises(InvalidStageTypeException, match="is not a stage"):
        pipeline.add_stage(3)  # type: ignore[arg-type]
    with pytest.raises(DAGVerificationException, match="in a cycle"):
        pipeline.add_stages([first.after(second), second.after(first)])
    with pytest.raises(DAGVerificationException, match="never added"):
        pipeline_of(step().after(step())).start()
    with pytest.raises(ValueError, match="num_cores=-1: is not a number of threads"):
        pipeline_of(step()).start(num_cores=-1)


def test_values_of_a_redis_stage_stand_in_the_redis_that_was_passed(client: redis.Redis) -> None:
    pipeline_of(Writing(client)).start()
    assert pickle.loads(client.get("found")) == {1, 2}  # type: ignore[arg-type]
    pipeline_of(Reading(redis_instance=client)).start(num_cores=1)
    assert seen == [{1, 2}]
    with pytest.raises(InvalidTypeForDeserializationException, match="'found': is not in the stage's Redis"):
        pipeline_of(Reading(client)).start()


def test_what_cannot_be_pickled_or_read_is_named(client: redis.Redis) -> None:
    lock = threading.Lock()
    with pytest.raises(SerializationException, match="the value of key 'found': cannot be pickled"):
        Writing(client).write("found", lock)
    holding = Pipeline(client)
    holding.add_stage(step(lock))
    with pytest.raises(SerializationException, match="pipeline 'pipeline': cannot be pickled"):
        holding.start()
    client.set("found", b"no pickle")
    with pytest.raises(DeserializationError, match="the value of key 'found': cannot be unpickled"):
        Reading(client).read("found")


def test_a_redis_stage_finds_its_redis_on_workers_too(client: redis.Redis, cluster: Cluster) -> None:
    submit(pipeline_of(Writing(client)), client=cluster.client).result(timeout=30)
    assert client.delete("found") == 1


def test_without_a_redis_values_live_as_long_as_the_run() -> None:
    first = Writing()
    pipeline_of(first, Reading().after(first)).start(num_cores=2)
    assert seen == [{1, 2}]


def test_a_pipeline_with_a_redis_says_there_what_it_does(client: redis.Redis) -> None:
    pipeline = Pipeline(client)
    first, failing = step(), fail(ValueError("no"))
    pipeline.add_stages([first, Looking(pipeline).after(first)])
    pipeline.start()
    assert seen[1:] == [{"in_progress": ["Looking"], "done": ["step"]}]
    assert progress(pipeline) == {}
    assert pipeline.deserialize(pipeline.read("pipeline")).edges == (("step", "Looking"),)
    pipeline.add_stage(failing.after(first))
    with pytest.raises(ValueError, match="no"):
        pipeline.start(num_cores=1)
    assert "fail" not in progress(pipeline)["done"]
    with StageExecutor(client, ["other"]) as executor:
        assert progress(pipeline)["in_progress"] == ["other"]
        executor.execute(seen.append, 1)
    assert progress(pipeline)["done"][-1] == "other"


@pytest.mark.parametrize(
    ("mistaken", "error"),
    [
        (lambda client: Pipeline("redis"), caches.InvalidCacheTypeException),
        (lambda client: Pipeline().read("done"), caches.InvalidCacheTypeException),
        (lambda client: Writing(3), caches.InvalidCacheTypeException),
        (lambda client: caches.DiskCache("folder"), caches.InvalidCacheTypeException),
        (lambda client: caches.RedisCache(client).read(3), caches.InvalidKeyTypeException),
        (lambda client: caches.RedisCache(client).write("k", 3), caches.InvalidValueTypeException),
    ],
)
def test_what_caches_do_not_take(client: redis.Redis, mistaken: Callable[[Any], object], error: type) -> None:
    with pytest.raises(error):
        mistaken(client)


def test_a_disk_cache_stage_uses_the_cache_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cache(dict[str, bytes]):
        """As that of diskcache, which is not installed here."""

        def delete(self, k: str) -> None:
            self.pop(k, None)

    monkeypatch.setitem(sys.modules, "diskcache", SimpleNamespace(Cache=Cache))
    cache = Cache()
    pipeline_of(Keeping(cache)).start()
    assert pickle.loads(cache["key"]) == [1]
    Keeping(cache).delete("key")
    assert cache == {}


def test_a_disk_cache_stage_takes_a_folder_as_well(tmp_path: Path) -> None:
    pipeline_of(Keeping(tmp_path / "kept")).start()
    assert (tmp_path / "kept").is_dir()
    with pytest.raises(caches.InvalidCacheTypeException, match=r"give a diskcache\.Cache"):
        Keeping(3)


@pytest.mark.parametrize("kind", [PickleSerializer, CloudPickleSerializer, DillSerializer])
def test_serializers_turn_objects_into_bytes_and_back(kind: Any) -> None:
    data = kind().serialize({"a": {1, 2}})
    assert isinstance(data, bytes)
    assert kind().deserialize(data) == {"a": {1, 2}}
    with pytest.raises(InvalidTypeForDeserializationException, match="is of type str"):
        kind().deserialize("text")
    with pytest.raises(SerializationException):
        kind().serialize(number for number in range(3))
