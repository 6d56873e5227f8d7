"""The examples of older libraries run with new imports: in this process, on workers and as scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib import import_module

import pytest
import redis

from checkout import EXAMPLES
from dagcelery import invoke, submit
from dagcelery.local import Cluster, Server

FOLDER = EXAMPLES / "migrating"

SAYS: dict[str, list[str]] = {
    "dagger_hello": ["hello world!"],
    "dagger_map_reduce": ["The final result was {'return_value': 91}", "on workers: 91"],
    "dagger_parquet": ["{'key_slope': 2.5, 'key_error': 0.0}"],
    "dagorama_counter": ["Response: Counter({0: 2, 1: 2}) in"],
    "dagorama_taints": ["without a toleration: None", "with a toleration: is it done?"],
    "dagmate_dialects": [
        "*/1 * * * * {'c': {'x5': 12}, 'd': {'x6': -7}}",
        "on workers: {'c': {'x4': 7, 'x5': 12}}",
    ],
    "pydags_six_stages": ["└── stage_6 <- after stage_3, after stage_4, after stage_5"],
    "pydags_wine": ["Accuracy: 1.0"],
}
"""How lines begin that each example prints when it is run as a script."""

RETURNS: dict[str, tuple[str, Mapping[str, object], object]] = {
    "dagger_hello": ("dag", {}, None),
    "dagger_map_reduce": ("dag", {"seed": 1, "exponent": 2}, 91),
    "dagger_parquet": ("dag", {"rows": 10}, {"slope": 2.5, "error": 0.0}),
    "pydags_six_stages": ("pipeline", {}, None),
}
"""What is run of each, with which parameters, and what it returns; those that are missing are run as scripts only."""


@cache
def done(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"{module}.py", *arguments],
        cwd=FOLDER,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=110,
    )


def test_every_example_has_its_lines_stated() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == SAYS.keys()


@pytest.mark.parametrize("module", SAYS)
def test_as_a_script(module: str) -> None:
    finished = done(module)
    assert finished.returncode == 0, finished.stderr
    assert [line for line in SAYS[module] if f"\n{line}" not in f"\n{finished.stdout}"] == []


@pytest.mark.parametrize("module", RETURNS)
def test_in_this_process(module: str) -> None:
    name, params, result = RETURNS[module]
    assert invoke(getattr(import_module(f"examples.migrating.{module}"), name), params) == result


@pytest.mark.parametrize("module", RETURNS)
def test_on_workers(module: str, cluster: Cluster) -> None:
    name, params, result = RETURNS[module]
    found = getattr(import_module(f"examples.migrating.{module}"), name)
    assert submit(found, params).result(timeout=30) == result


def test_definitions_run_in_this_process_and_on_workers(cluster: Cluster) -> None:
    inference = import_module("examples.migrating.dagorama_taints").Inference()
    assert invoke(inference, {"prompt": "why"}) == "why?"
    with cluster.starting_worker(1, queues=["GPU"]) as worker:
        run = inference.submit("why")
    assert run.result(timeout=30) == "why?"
    worker.stop()


def test_six_stages_run_once_here_and_once_on_processes() -> None:
    finished = done("pydags_six_stages")
    said = Counter(f"stage {number}" for number in range(1, 7) for _ in range(2))
    shown = (finished.stdout + finished.stderr).splitlines()
    assert Counter(line.rpartition("Running ")[2] for line in shown if "Running " in line) == said


def test_stages_keep_values_in_a_redis_that_is_given_to_them(server: Server) -> None:
    finished = done("pydags_wine", server.url)
    assert "Accuracy: 1.0" in finished.stdout, finished.stderr
    with redis.Redis.from_url(server.url) as client:
        assert [key for key in client.scan_iter() if client.ttl(key) < 0] == []
