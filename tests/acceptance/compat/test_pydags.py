"""`dagcelery.compat.pydags`: pydags' modules; what stages and pipelines do is tested with the stages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dagcelery.compat.pydags.pipeline import DAGVerificationException, InvalidStageTypeException, Pipeline
from dagcelery.compat.pydags.serialization import (
    CloudPickleSerializer,
    DillSerializer,
    InvalidTypeForDeserializationException,
    PickleSerializer,
    SerializationException,
)
from dagcelery.compat.pydags.stage import DiskCacheStage, stage
from dagcelery.errors import InvalidParameters


@stage
def step() -> None: ...


class Keeping(DiskCacheStage):
    def run(self) -> None:
        self.write("key", [1])
        assert self.read("key") == [1]


def test_groups_are_yielded_in_order() -> None:
    pipeline, first, second = Pipeline(), step(), step()
    pipeline.add_stages([first, second.after(first)])
    assert list(pipeline.topological_sort_grouped()) == [["step"], ["step-2"]]


def test_what_is_wrong_raises_the_errors_that_it_raised() -> None:
    pipeline = Pipeline()
    with pytest.raises(InvalidStageTypeException, match="is not a stage"):
        pipeline.add_stage(3)  # type: ignore[arg-type]
    pipeline.add_stage(step().after(step()))
    with pytest.raises(DAGVerificationException, match="never added"):
        pipeline.start()


@pytest.mark.parametrize("cache", [lambda path: path, lambda path: SimpleNamespace(directory=str(path))])
def test_a_disk_cache_stage_takes_a_folder_or_a_cache_that_has_one(tmp_path: Path, cache: Any) -> None:
    pipeline = Pipeline()
    pipeline.add_stage(Keeping(cache(tmp_path / "kept")))
    pipeline.start()
    assert (tmp_path / "kept").is_dir()


def test_what_is_no_folder_is_told() -> None:
    with pytest.raises(InvalidParameters, match="directory=3: is of type int; give a path"):
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
