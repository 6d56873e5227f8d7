"""The examples of older libraries run with new imports: as scripts, and on workers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from importlib import import_module

import pytest
import redis

from checkout import EXAMPLES
from dagcelery import submit
from dagcelery.local import Cluster, Server

from .scripts import Script

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


def test_every_example_has_its_lines_stated() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == SAYS.keys()


@pytest.mark.parametrize("module", sorted(SAYS.keys() - {"pydags_six_stages"}))
def test_as_a_script(module: str, script: Script) -> None:
    told = script(f"examples.migrating.{module}", alone=module == "dagmate_dialects")
    assert [line for line in SAYS[module] if f"\n{line}" not in f"\n{told}"] == []


@pytest.mark.parametrize("module", RETURNS)
def test_on_workers(module: str, cluster: Cluster) -> None:
    name, params, result = RETURNS[module]
    found = getattr(import_module(f"examples.migrating.{module}"), name)
    assert submit(found, params).result(timeout=30) == result


def test_six_stages_run_once_one_by_one_and_once_in_threads() -> None:
    finished = subprocess.run(
        [sys.executable, "pydags_six_stages.py"], cwd=FOLDER, capture_output=True, text=True, timeout=110
    )
    assert finished.returncode == 0, finished.stderr
    assert SAYS["pydags_six_stages"][0] in finished.stdout.splitlines()
    said = Counter(f"stage {number}" for number in range(1, 7) for _ in range(2))
    assert Counter(re.findall(r"Running (stage \d)", finished.stdout)) == said


def test_stages_keep_values_in_a_redis_that_is_given_to_them(server: Server, script: Script) -> None:
    assert "Accuracy: 1.0" in script("examples.migrating.pydags_wine", server.url)
    with redis.Redis.from_url(server.url) as client:
        kept = {key for key in client.scan_iter() if client.ttl(key) < 0}
        assert kept == {b"features", b"targets", b"preprocessed_data"}
