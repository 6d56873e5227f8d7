"""Whatever stands in a file, the reader answers with workflows or with an error of ours, and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagcelery.errors import InvalidConfig, InvalidDag
from dagcelery.frontends.yaml import load
from dagcelery.frontends.yaml.document import parse

from .conftest import NAMED, PLACED

patient = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

STEPS = ["a", "b", "c", "d", "x1", "x4", "result", "step_fn", "app.training.a", "./app/training/b.py"]
TYPES = ["param", "order", "var", "start"]
KEYS = ["name", "source", "step", "module", "function", "dependencies", "return", "input", "output", "type", "steps"]
WORDS = st.sampled_from([*STEPS, *TYPES, *KEYS, "project", "workflows", "schedule"])
SCALARS = st.one_of(WORDS, st.text(max_size=8), st.none(), st.integers(), st.booleans(), st.floats())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)
SYNTAX = st.text(st.sampled_from("[]{}:,-&*!|>'\"%@`#?\\ \n\tab1~<=."), max_size=60)


@pytest.fixture
def nothing_new(project: Path) -> Iterator[None]:
    """Fail if files were written; importing may leave its cache."""
    before = files(project)
    yield
    assert files(project) == before


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def read(text: str) -> None:
    try:
        parse(text, "config.yml")
    except InvalidConfig as error:
        check(error)


def check(error: InvalidDag) -> None:
    assert isinstance(error, InvalidConfig)
    assert error.line is None or error.line >= 1
    assert len(str(error).splitlines()) == 1


@patient
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    read(text)


@patient
@given(SYNTAX)
def test_any_heap_of_signs_is_read_or_refused(text: str) -> None:
    read(text)


@patient
@given(text=st.sampled_from([NAMED, PLACED]), at=st.integers(0, 600), cut=st.integers(0, 30), put=SYNTAX)
def test_a_text_that_someone_fell_asleep_over_is_read_or_refused(text: str, at: int, cut: int, put: str) -> None:
    read(text[:at] + put + text[at + cut :])


@patient
@given(data=st.data())
@pytest.mark.usefixtures("nothing_new")
def test_a_configuration_with_one_thing_changed_loads_or_is_refused(data: st.DataObject) -> None:
    config = yaml.safe_load(data.draw(st.sampled_from([NAMED, PLACED])))
    for _ in range(data.draw(st.integers(1, 3))):
        change(config, data)
    try:
        load(config)
    except InvalidDag as error:
        check(error)


def change(config: Any, data: st.DataObject) -> None:
    """Put something else into one place of a nest of lists and dicts, take it away, or call it otherwise."""
    holder, key = data.draw(st.sampled_from([*places(config)] or [(config, "project")]))
    do = data.draw(st.sampled_from(["put", "take", "rename"]))
    if do == "put":
        holder[key] = data.draw(VALUES)
    elif do == "take" and len(config) > 1:
        del holder[key]
    elif isinstance(holder, dict):
        holder[data.draw(WORDS)] = holder.pop(key)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)
