"""A manifest that is executed gives what the DAG gives: each node in a container of its own, values as files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from acceptance.oracle.comparison import as_json
from docs.examples.test_every_example import STATED, Stated, name

from checkout import ROOT

from . import graphs
from .cluster import executed, in_process, invoked, target_of
from .interpreter import Argo, Failed

GROWING = ("dynamic_workflow", "stages")
"""Examples that make nodes while they run, or pass values through the store of a run."""

STATIC = [each for each in STATED if each.module not in GROWING]


OTHERS: list[tuple[str, str, dict[str, Any]]] = [
    ("bench.loads", "map_reduce", {"n": 3}),
    ("bench.loads", "chain", {"length": 3, "x": 0}),
    ("bench.loads", "stencil", {"width": 3, "steps": 2, "x": 1}),
    ("bench.loads", "fork", {"branches": 2, "long": 0.0, "short": 0.0}),
    ("bench.loads", "workflow", {"nodes": [[0.0, []], [0.0, [0]], [0.0, [0, 1]]]}),
    ("examples.migrating.dagger_map_reduce", "map_reduce_pipeline", {"seed": 1, "exponent": 2}),
    ("examples.fastapi_backend.darts", "pi", {"parts": 2, "throws": 10}),
]
"""Graphs of the bench, of a program that was written for py-dagger, and of a web backend."""


@pytest.fixture
def argo(tmp_path: Path) -> Argo:
    return Argo(tmp_path, in_process)


@pytest.mark.parametrize("stated", STATIC, ids=name)
def test_every_static_example_gives_what_invoke_gives(stated: Stated, argo: Argo) -> None:
    params = {**stated.params, "n": 20} if stated.module == "lazy_reduce" else stated.params
    found = executed(stated.node(), f"examples.{stated.module}:{stated.dag}", params, argo)
    assert found == invoked(stated.node(), params)


@pytest.mark.parametrize(("module", "name", "params"), OTHERS)
def test_so_do_the_graphs_of_other_programs(module: str, name: str, params: dict[str, Any], argo: Argo) -> None:
    node = getattr(import_module(module), name)
    assert executed(node, f"{module}:{name}", params, argo) == invoked(node, params)


@pytest.mark.parametrize(("node", "params"), graphs.EXPORTED, ids=lambda value: getattr(value, "name", None))
def test_and_so_does_what_is_hard_to_say(node: Any, params: dict[str, Any], argo: Argo) -> None:
    assert as_json(executed(node, target_of(node), params, argo)) == as_json(invoked(node, params))


def test_containers_are_processes(tmp_path: Path) -> None:
    def process(words: Sequence[str]) -> int:
        module = [sys.executable, "-m", "dagcelery.cli", *words[1:]]
        return subprocess.run(module, check=False, cwd=ROOT).returncode

    found = executed(
        STATIC[2].node(), "examples.map_reduce:map_reduce", {"n": 2, "exponent": 3}, Argo(tmp_path, process)
    )
    assert found == {"return_value": 1}


def test_a_call_is_repeated_as_often_as_its_policy_says(argo: Argo) -> None:
    graphs.CALLS = 0
    assert executed(graphs.patient, target_of(graphs.patient), {"x": 5}, argo) == {"return_value": 5}
    assert argo.pods["dag-third-time"] == 3


def test_one_whose_failure_stands_is_not(argo: Argo) -> None:
    with pytest.raises(Failed, match="ended with 1"):
        executed(graphs.impatient, target_of(graphs.impatient), {"x": 5}, argo)
    assert argo.pods == {"dag-hopeless": 1}
