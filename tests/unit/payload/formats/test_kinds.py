"""Plans name our serializers as data: no pickle is needed, and unsigned ones may have those that run no code."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from typing import Annotated, Any

import pytest

import dagcelery
from dagcelery import AsArrow, AsAvro, AsCSV, AsDill, AsJSON, AsMessagePack, AsParquet, AsPickle, dag, task
from dagcelery.errors import DeserializationError, InvalidDag, NotConfigured, SerializationError
from dagcelery.model import Serializer
from dagcelery.payload.codecs import OF_KIND, UNSAFE, codec_for, from_spec
from dagcelery.payload.signing import Keyring
from dagcelery.planner.compile import plan
from dagcelery.planner.encoding import decode_plan, encode_plan
from dagcelery.planner.pools import codec_spec

keyed = Keyring.parse("key")
keyless = Keyring.parse(None)

SAFE = [
    AsArrow(),
    AsArrow("zstd"),
    AsAvro("string"),
    AsAvro({"type": "record", "name": "R", "fields": [{"name": "a", "type": ["null", "long"]}]}, None),
    AsCSV(),
    AsCSV(columns={"a": int, "b": str}, header=False, delimiter=";"),
    AsMessagePack(),
    AsMessagePack(allow_nan=False),
    AsParquet(),
    AsParquet(None),
]
ALL = [*SAFE, AsDill()]


def rows() -> list[Any]:
    return []


@pytest.mark.parametrize("serializer", ALL, ids=repr)
def test_a_plan_names_it_as_data(serializer: Any) -> None:
    spec = json.loads(json.dumps(codec_spec(serializer)))
    assert from_spec(spec, keyed).serializer == serializer


@pytest.mark.parametrize("serializer", SAFE, ids=repr)
def test_unsigned_plans_may_have_what_runs_no_code(serializer: Any) -> None:
    node = task(serializer=serializer)(rows)
    planned = decode_plan(encode_plan(plan(dagcelery.build(node))))
    encode_plan(planned, signed=False)
    assert serializer in [from_spec(told, keyless).serializer for told in planned.codecs]


def test_unsigned_plans_may_not_have_dill() -> None:
    node = task(serializer=AsDill())(rows)
    with pytest.raises(NotConfigured, match=r"serializer AsDill .*DAGCELERY_SIGNING_KEY.*AsMessagePack"):
        encode_plan(plan(dagcelery.build(node)), signed=False)
    with pytest.raises(NotConfigured, match="AsDill"):
        from_spec({"kind": "dill"}, keyless)
    assert {"dill"} == UNSAFE


def test_options_of_a_newer_version_are_refused() -> None:
    for told in ({"kind": "arrow", "level": 3}, {"kind": "csv", "columns": [["a", "complex"]]}):
        with pytest.raises(DeserializationError, match="upgrade"):
            from_spec(told, keyed)


@pytest.mark.parametrize("serializer", ALL, ids=repr)
def test_it_is_a_frozen_value_with_an_extension(serializer: Any) -> None:
    assert isinstance(serializer, Serializer)
    assert serializer.extension == serializer.kind
    assert OF_KIND[serializer.kind] is type(serializer)
    assert pickle.loads(pickle.dumps(serializer)) == dataclasses.replace(serializer) == serializer
    assert len({serializer, dataclasses.replace(serializer)}) == 1
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        serializer.kind = "mine"


# -- who writes and who reads ---------------------------------------------------------------------
def counting(made: Any, counted: Any) -> Any:
    @dag
    def both() -> int:
        counting: int = counted(made())
        return counting

    return both


@pytest.mark.parametrize("written", ALL, ids=repr)
def test_whoever_reads_with_another_serializer_is_told_when_the_dag_is_built(written: Any) -> None:
    made = task(serializer=written)(rows)
    for other in [AsJSON(), AsPickle(), *ALL]:

        def read(rows: Any) -> int:
            return len(rows)

        read.__annotations__ = {"rows": Annotated[list[Any], other], "return": int}

        both = counting(made, task(read))

        if written == other:
            assert dagcelery.build(both)
            continue
        told = f"reads with {type(other).__name__}.*written with {type(written).__name__}"
        with pytest.raises(InvalidDag, match=told):
            dagcelery.build(both)


def test_whoever_reads_items_with_another_serializer_is_told_too() -> None:
    @task(serializer=AsCSV())
    def made(n: int) -> list[Any]:
        return [{"n": str(n)}]

    @task
    def read(rows: Annotated[list[Any], AsMessagePack()]) -> int:
        return len(rows)

    @task
    def listed() -> Annotated[list[Annotated[list[Any], AsCSV()]], AsParquet()]:
        return []

    @dag
    def of_items(ns: list[int]) -> list[int]:
        return [read(made(n)) for n in ns]

    @dag
    def of_elements() -> list[int]:
        return [read(rows) for rows in listed()]

    for each in (of_items, of_elements):
        with pytest.raises(InvalidDag, match=r"reads with AsMessagePack.*written with AsCSV"):
            dagcelery.build(each)


def test_the_serializer_of_elements_says_nothing_of_their_list() -> None:
    @task(serializer=AsCSV())
    def made(n: int) -> list[Any]:
        return [{"n": str(n)}]

    @task
    def read(tables: Annotated[list[Any], AsMessagePack()]) -> int:
        return len(tables)

    @dag
    def fan_in(ns: list[int]) -> int:
        return read([made(n) for n in ns])

    assert dagcelery.invoke(fan_in, {"ns": [1, 2]}) == 2


# -- libraries that are not there -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("serializer", "library", "extra"),
    [
        (AsArrow(), "pyarrow", "arrow"),
        (AsParquet(), "pyarrow", "arrow"),
        (AsAvro("string"), "fastavro", "avro"),
        (AsMessagePack(), "msgpack", "msgpack"),
        (AsDill(), "dill", "dill"),
    ],
    ids=repr,
)
def test_a_library_that_is_missing_is_named_with_its_extra(
    serializer: Any, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    codec = codec_for(serializer)
    told = rf"the rows: cannot be \w+ as .* without {library}.*pip install 'dagcelery\[{extra}\]'"
    with pytest.raises(SerializationError, match=told):
        codec.dump([{"a": 1}], "the rows")
    with pytest.raises(DeserializationError, match=told):
        codec.load(b"", "the rows")


def test_no_library_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; from dagcelery import *; AsArrow(), AsParquet(), AsMessagePack(), AsDill(), AsCSV()\n"
        "print(sorted({'pyarrow', 'pandas', 'msgpack', 'dill'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Celery's own serializer finds msgpack, where Celery is imported.
    assert done.stdout.strip() in ("[]", "['msgpack']")


# -- names in errors ------------------------------------------------------------------------------
def test_the_place_of_what_is_refused_is_told_with_the_name_of_its_value() -> None:
    codec = codec_for(AsCSV())
    with pytest.raises(SerializationError, match=r"^parameter 'rows' at \[0\]\['a'\]: "):
        codec.dump([{"a": 1}], "parameter 'rows'")
    with pytest.raises(SerializationError, match=r"^the values at \[8\]\[0\]\['a'\]: "):
        codec.dump_many([[], [{"a": 1}]], "the values", 7)
    with pytest.raises(SerializationError, match=r"^the values at \[7\]: is of type int"):
        codec.dump_many([3], "the values", 7)
