"""Rows 48 to 59: how values travel, and where results are kept."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import pytest
import redis

from dagcelery import (
    DAG,
    AsArrow,
    AsCSV,
    AsDill,
    AsJSON,
    AsMessagePack,
    AsParquet,
    AsPickle,
    Cache,
    DiskCacheStage,
    FromNodeOutput,
    FromParam,
    FromReturnValue,
    Pipeline,
    RedisStage,
    Run,
    Serialize,
    Serializer,
    StoreSerializedOutputsInPath,
    Task,
    dag,
    errors,
    invoke,
    submit,
    task,
)
from dagcelery.compat.pydags.serialization import CloudPickleSerializer, DillSerializer, PickleSerializer
from dagcelery.local import Cluster, Server

from .vocabulary import echo, identity, map_reduce


def written(serializer: Serializer, value: object) -> bytes:
    writer = io.BytesIO()
    serializer.serialize(value, writer)
    return writer.getvalue()


def carried(serializer: Serializer, value: object) -> object:
    """Let a value travel from one task to another."""
    return invoke(dag(serializer=serializer)(lambda x: echo(echo(x))), {"x": value})


def test_row_048_json_with_indentation_and_a_policy_for_nan() -> None:
    assert written(AsJSON(indent=2), [1]) == b"[\n  1\n]"
    assert carried(AsJSON(allow_nan=True), [math.inf]) == [math.inf]
    with pytest.raises(errors.SerializationError, match=r"NaN|inf"):
        carried(AsJSON(), [math.inf])


def test_row_049_pickle() -> None:
    assert carried(AsPickle(), {1, 2}) == {1, 2}
    assert PickleSerializer().deserialize(PickleSerializer().serialize({1})) == {1}


def test_row_050_dill_and_cloudpickle() -> None:
    class Local:
        value = 3

    for serializer in (AsDill(), AsPickle()):
        assert carried(serializer, Local()).value == 3  # type: ignore[attr-defined]
    for other in (DillSerializer(), CloudPickleSerializer()):
        assert other.deserialize(other.serialize(lambda: 4))() == 4


class AsText:
    """Text in capital letters."""

    extension = "txt"

    def serialize(self, value: str, writer: BinaryIO) -> None:
        writer.write(value.upper().encode())

    def deserialize(self, reader: BinaryIO) -> str:
        return reader.read().decode()


def test_row_051_serializer_of_ones_own() -> None:
    assert carried(AsText(), "loud") == "LOUD"


def test_row_052_serializer_for_each_part_of_a_result() -> None:
    @task(serializer=Serialize(AsPickle(), loud=AsText()))
    def both() -> dict[str, Any]:
        return {"loud": "a", "set": {1}}

    @dag(serializer=AsPickle())
    def body() -> list[Any]:
        out = both()
        return [out["loud"], out["set"]]

    assert invoke(body) == ["A", {1}]


def test_row_053_serializers_that_do_not_match() -> None:
    out = {"out": FromReturnValue(AsJSON())}
    read = Task(identity, {"x": FromNodeOutput("a", "out", serializer=AsPickle())})
    with pytest.raises(errors.InvalidDag, match=r"AsPickle.*AsJSON"):
        DAG({"a": Task(identity, {"x": FromParam()}, out), "b": read}, {"x": FromParam()})


ROWS = [{"name": "a", "size": 1}, {"name": "b", "size": 2}]


@pytest.mark.parametrize(
    "serializer", [AsMessagePack(), AsParquet(), AsArrow(), AsCSV(columns={"name": str, "size": int})], ids=repr
)
def test_row_054_message_pack_parquet_arrow_and_csv(serializer: Serializer) -> None:
    @task
    def rows() -> Any:
        return ROWS

    @task
    def taken(table: Any) -> Any:
        return table

    rows = task(serializer=serializer)(rows.fn)
    taken.fn.__annotations__["table"] = Annotated[Any, serializer]
    assert invoke(dag(lambda: taken(rows()))) == ROWS


class Writer(RedisStage):
    def run(self) -> None:
        self.write("kept", [1])
        self.write("gone", [2])
        self.delete("gone")


class Reader(RedisStage):
    def run(self) -> None:
        assert self.read("kept") == [1]
        with pytest.raises(KeyError, match="gone"):
            self.read("gone")


def test_row_056_results_in_redis(cluster: Cluster, server: Server) -> None:
    with redis.Redis.from_url(server.url) as client:
        pipeline, writer = Pipeline(), Writer(redis_instance=client)
        pipeline.add_stages([writer, Reader(redis_instance=client).after(writer)])
        pipeline.start()
        assert client.dbsize()
    run = map_reduce.submit(n=4)
    run.result(timeout=30)
    assert Run(run.id).result() == 12


class DiskWriter(DiskCacheStage):
    def run(self) -> None:
        self.write("kept", [1])


class DiskReader(DiskCacheStage):
    def run(self) -> None:
        assert self.read("kept") == [1]


def test_row_057_results_on_disk(tmp_path: Path, cluster: Cluster) -> None:
    pipeline, writer = Pipeline(), DiskWriter(tmp_path)
    pipeline.add_stages([writer, DiskReader(tmp_path).after(writer)])
    assert submit(pipeline).result(timeout=30) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()]


def test_row_057_outputs_on_disk(tmp_path: Path) -> None:
    found = invoke(map_reduce, {"n": 4}, outputs=StoreSerializedOutputsInPath(tmp_path))
    assert Path(found["return_value"].filename).read_bytes() == b"12"


CALLED: list[int] = []


@task(cache=Cache(ttl=3600))
def squared(x: int) -> int:
    CALLED.append(x)
    return x * x


def test_row_059_results_that_later_runs_take_instead_of_calling() -> None:
    squared.forget()
    assert [invoke(squared, {"x": x}) for x in (3, 3, 4)] == [9, 9, 16]
    assert invoke(dag(lambda xs: [squared(x) for x in xs]), {"xs": [3, 4, 5]}) == [9, 16, 25]
    assert CALLED == [3, 4, 5]
