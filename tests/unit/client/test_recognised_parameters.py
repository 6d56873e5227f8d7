"""Parameters are recognised, when a key is used again, by what travels of them."""

from __future__ import annotations

import collections
import dataclasses
import enum
import hashlib
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest

from dagcelery import AsParquet, AsPickle, dag, task
from dagcelery.client.lifecycle import new_run, plan_of, split_static
from dagcelery.client.local_runs import LocalRun
from dagcelery.errors import InvalidParameters
from dagcelery.settings import Settings


@dataclasses.dataclass
class Order:
    number: int
    note: Any = dataclasses.field(default=None, compare=False)


class Level(enum.IntEnum):
    LOW = 1


@task(serializer=AsPickle())
def same(x: Any) -> Any:
    return x


@dag(serializer=AsPickle())
def pickled(x: Any) -> Any:
    return same(x)


@dag
def as_json(x: Any) -> Any:
    return same(x)


@dag
def mapped(x: Any) -> Any:
    return [same(each) for each in x]


@dag
def tabled(x: Annotated[pd.DataFrame, AsParquet()]) -> Any:
    return same(x)


@dag(static=("k",), serializer=AsPickle())
def shaped(x: Any, k: Any) -> Any:
    return same([x, k])


def recognised(d: Any, **params: Any) -> str:
    settings = Settings()
    node, params, static = split_static(d, params)  # type: ignore[assignment]
    engine = LocalRun(node, settings).engine
    return new_run(engine, plan_of(node), params, settings, key="k", static=static).fingerprint


FRAME = pd.DataFrame({"a": [1, 2]})
PICKLED: list[Any] = [
    1,
    True,
    1.0,
    Level.LOW,
    "1",
    b"1",
    0.0,
    -0.0,
    [1],
    (1,),
    [True],
    {1: "a"},
    {"1": "a"},
    {True: "a"},
    collections.OrderedDict({"1": "a"}),
    {1},
    frozenset({1}),
    FRAME,
    FRAME * 2,
    np.zeros(3),
    np.zeros(3, dtype="f4"),
    Order(1),
    Order(1, "urgent"),
    Order(2),
    float("nan"),
    same,
    len,
    Order,
    lambda: 1,
    lambda: 2,
]


def test_values_that_travel_as_others_are_told_apart() -> None:
    for one, other in itertools.combinations(PICKLED, 2):
        assert recognised(pickled, x=one) != recognised(pickled, x=other), (one, other)


@pytest.mark.parametrize("value", PICKLED, ids=range(len(PICKLED)))
def test_a_value_is_recognised(value: Any) -> None:
    assert recognised(pickled, x=value) == recognised(pickled, x=value) != ""


def test_equal_values_are_recognised_though_they_were_made_otherwise() -> None:
    word = "".join(["wo", "rd"])
    alike = [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}),
        ({"b", "a"}, {"a", "b"}),
        ([word, word], ["word", "wo" + "rd"]),
        (Order(1, [word, word]), Order(1, ["word", word])),
        (FRAME.copy(), FRAME),
    ]
    for one, other in alike:
        assert recognised(pickled, x=one) == recognised(pickled, x=other)
    assert recognised(as_json, x=(1, 2)) == recognised(as_json, x=[1, 2])


def test_a_table_is_recognised_by_its_bytes() -> None:
    assert recognised(tabled, x=FRAME) == recognised(tabled, x=FRAME.copy()) != recognised(tabled, x=FRAME * 2)


def test_what_json_says_is_recognised_as_before() -> None:
    params = {"x": {"b": [1, 2.5, None], "a": "é"}}
    known = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:32]
    assert recognised(as_json, **params) == known
    assert recognised(as_json, x=1) != recognised(as_json, x=True) != recognised(as_json, x=1.0)


def test_an_iterator_is_recognised_by_what_it_gives() -> None:
    def upto(n: int) -> Iterator[int]:
        yield from range(n)

    for d in (pickled, as_json, mapped):
        assert recognised(d, x=upto(3)) == recognised(d, x=[0, 1, 2]) != recognised(d, x=upto(4))


def test_values_that_shape_the_dag_count_too() -> None:
    assert recognised(shaped, x=1, k=(1,)) != recognised(shaped, x=1, k=(True,))
    assert recognised(shaped, x=1, k={1, 2}) == recognised(shaped, x=1, k={2, 1})
    variant, params = shaped._prepared((1,), {"k": 2})
    assert recognised(variant, **params) == recognised(shaped, x=1, k=2)


def test_other_processes_recognise_them() -> None:
    code = """
import sys
import threading
sys.path.insert(0, "tests/unit/engine")
import unit.client.test_recognised_parameters as here
print(here.recognised(here.pickled, x={"words": {"a", "b", "c"}, "order": here.Order(1, frozenset("xyz"))}))
"""
    found = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        found.add(done.stdout)
    assert found == {recognised(pickled, x={"words": {"c", "b", "a"}, "order": Order(1, frozenset("xyz"))}) + "\n"}


def test_a_static_value_that_cannot_be_recognised_is_refused_with_a_key() -> None:
    @dag(static=("k",))
    def chosen(x: Any, k: Any) -> Any:
        return same(x) if k.locked() else same([x])

    with pytest.raises(InvalidParameters, match="'k': cannot be recognised when the key is used again"):
        recognised(chosen, x=1, k=threading.Lock())
