"""Serializers are what users choose and write; codecs carry one value or many with them."""

from __future__ import annotations

import base64
import io
import pickle
import threading
from typing import Any, BinaryIO

import pytest

from dagcelery.errors import DeserializationError, NotConfigured, PayloadTooLarge, SerializationError
from dagcelery.payload.codecs import AsJSON, AsPickle, codec_for, from_spec
from dagcelery.payload.signing import Keyring
from dagcelery.planner.pools import codec_spec

keyed = Keyring.parse("key")
keyless = Keyring.parse(None)


class AsLines:
    """A user's serializer: lists of lines."""

    extension = "txt"

    def __init__(self, end: str = "\n") -> None:
        self.end = end

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.end!r})"

    def serialize(self, value: list[str], writer: BinaryIO) -> None:
        writer.write(self.end.join(value).encode())

    def deserialize(self, reader: BinaryIO) -> list[str]:
        return reader.read().decode().split(self.end)


class AsRudeText(AsLines):
    """One that closes what it writes to, as some libraries do."""

    def serialize(self, value: list[str], writer: BinaryIO) -> None:
        super().serialize(value, writer)
        writer.close()


class Local:
    def __init__(self, x: int) -> None:
        self.x = x


ALL = [AsJSON(), AsJSON(indent=2), AsPickle(), AsLines(), AsRudeText("|")]


@pytest.mark.parametrize("serializer", ALL, ids=repr)
def test_every_serializer_carries_one_value(serializer: Any) -> None:
    codec = codec_for(serializer)
    assert codec.load(codec.dump(["a", "b"])) == ["a", "b"]
    assert codec.load(memoryview(codec.dump(["a", "b"]))) == ["a", "b"]


@pytest.mark.parametrize("serializer", ALL, ids=repr)
def test_every_serializer_carries_many_values(serializer: Any) -> None:
    codec = codec_for(serializer)
    values = [["a"], ["b", "c"]]
    assert codec.load_many(codec.dump_many(values), 2) == values
    assert codec.load_many(memoryview(codec.dump_many(values)), 2) == values
    assert codec.load_many(codec.dump_many([]), 0) == []


@pytest.mark.parametrize("serializer", ALL, ids=repr)
def test_values_dumped_one_by_one_join_to_what_many_make(serializer: Any) -> None:
    codec = codec_for(serializer)
    values = [["a"], ["b", "c"]]
    assert codec.load_many(codec.join([codec.dump(value) for value in values]), 2) == values


@pytest.mark.parametrize("serializer", ALL, ids=repr)
def test_a_wrong_count_is_refused(serializer: Any) -> None:
    codec = codec_for(serializer)
    with pytest.raises(DeserializationError, match="hold 2 values where 3"):
        codec.load_many(codec.dump_many([["a"], ["b"]]), 3)


@pytest.mark.parametrize("serializer", [AsPickle(), AsLines()], ids=repr)
def test_a_block_that_was_cut_short_is_refused(serializer: Any) -> None:
    codec = codec_for(serializer)
    with pytest.raises(DeserializationError):
        codec.load_many(codec.dump_many([["a"], ["b"]])[:-1], 2)


@pytest.mark.parametrize("serializer", ALL, ids=repr)
def test_a_value_above_the_limit_is_refused(serializer: Any) -> None:
    with pytest.raises(PayloadTooLarge, match="the rows"):
        codec_for(serializer).dump(["a" * 100], "the rows", 99)


@pytest.mark.parametrize("serializer", [AsJSON(), AsPickle()], ids=repr)
def test_our_serializers_write_files_and_leave_them_open(serializer: Any) -> None:
    file = io.BytesIO()
    serializer.serialize({"a": 1}, file)
    file.seek(0)
    assert serializer.deserialize(file) == {"a": 1}


def test_indentation_is_for_people_who_read_the_file() -> None:
    file = io.BytesIO()
    AsJSON(indent=2).serialize({"a": 1}, file)
    assert file.getvalue() == b'{\n  "a": 1\n}'


def test_json_of_others_may_have_white_space_around() -> None:
    assert AsJSON().deserialize(io.BytesIO(b' {"a": [1]}\n')) == {"a": [1]}


@pytest.mark.parametrize("data", [b"", b"{", b"1 2", b"\xff", b"[1"])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(DeserializationError, match="the input"):
        codec_for(AsJSON()).load(data, "the input")


def test_serializers_with_the_same_options_are_equal() -> None:
    assert AsJSON() == AsJSON(indent=None)
    assert AsJSON() != AsJSON(indent=2)
    assert len({AsPickle(), AsPickle(), AsJSON()}) == 2


def test_what_cannot_be_pickled_is_refused_with_its_cause() -> None:
    with pytest.raises(SerializationError, match="the result: cannot be pickled") as caught:
        codec_for(AsPickle()).dump(threading.Lock(), "the result")
    assert isinstance(caught.value.__cause__, TypeError)


def test_what_cannot_be_unpickled_is_refused_with_its_cause() -> None:
    data = pickle.dumps(Local(1)).replace(b"Local", b"Lokal")
    with pytest.raises(DeserializationError, match="Lokal") as caught:
        codec_for(AsPickle()).load(data)
    assert isinstance(caught.value.__cause__, AttributeError)


def test_a_users_large_value_goes_through_a_file() -> None:
    codec = codec_for(AsLines())
    lines = ["x" * 1000] * 10_000
    assert codec.load(codec.dump(lines)) == lines


@pytest.mark.parametrize("serializer", [AsJSON(), AsJSON(2, True), AsPickle()], ids=repr)
def test_a_plan_names_our_serializers(serializer: Any) -> None:
    assert from_spec(codec_spec(serializer), keyed).serializer == serializer


def test_a_plan_carries_a_users_serializer_with_its_options() -> None:
    spec = {"kind": "object", "pickle": base64.b64encode(codec_for(AsPickle()).dump(AsLines("|"))).decode()}
    codec = from_spec(spec, keyed)
    assert codec.dump(["a", "b"]) == b"a|b"


def test_in_the_process_that_planned_a_serializer_is_itself() -> None:
    serializer = AsLines()
    assert from_spec({"kind": "object", "live": serializer}, keyless).serializer is serializer


@pytest.mark.parametrize("spec", [{"kind": "pickle"}, {"kind": "object", "pickle": ""}], ids=str)
def test_without_a_key_a_plan_cannot_have_what_takes_pickle(spec: Any) -> None:
    with pytest.raises(NotConfigured, match="DAGCELERY_SIGNING_KEY"):
        from_spec(spec, keyless)


def test_an_unknown_kind_of_serializer_is_refused() -> None:
    with pytest.raises(DeserializationError, match="upgrade"):
        from_spec({"kind": "avro"}, keyed)


def test_a_subclass_of_ours_is_a_users_serializer() -> None:
    class AsShouting(AsJSON):
        def serialize(self, value: Any, writer: BinaryIO) -> None:
            super().serialize(value.upper(), writer)

    codec = codec_for(AsShouting())
    assert codec.load(codec.dump("a")) == "A"
