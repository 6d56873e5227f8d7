"""Rows 92 to 101: operations and tools."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, current_app
from celery.beat import Scheduler
from click.testing import CliRunner

import dagcelery
from dagcelery import DAG, Pipeline, Run, attach, build, dag, errors, runs, stage
from dagcelery.cli import dag as program
from dagcelery.compat.dagmate import Dagmate
from dagcelery.frontends.yaml import load
from dagcelery.local import Cluster
from dagcelery.worker.beat import prepare

from .vocabulary import double, echo, map_reduce, total


def test_row_092_cron_schedule(empty: Cluster, project: Path) -> None:
    now, before = datetime(2026, 1, 1, tzinfo=UTC), current_app._get_current_object()
    app = Celery("team", broker=empty.broker_url)
    app.conf.dagcelery_workflows = ("app/config.yml",)
    app.now = lambda: now  # type: ignore[method-assign]  # Celery's clock
    client = attach(app, store_url=empty.store_url, signing_key=empty.signing_key)
    prepare(app)
    beat = Scheduler(app)
    beat.tick()
    assert list(runs(client=client)) == []
    now += timedelta(minutes=1)
    while beat.tick() == 0:
        pass
    before.set_current()
    (found,) = runs(client=client)
    empty.start_worker(1)
    assert Run(found.id, client=client).result(timeout=30) == {"c": {"x5": 12}, "d": {"x6": -7}}


def test_row_094_graph_as_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = stage(lambda: None)
    pipeline, first = Pipeline(), empty()
    pipeline.add_stages([first, empty().after(first)])
    pipeline.visualize()
    assert "lambda-2 <- after lambda" in capsys.readouterr().out
    pipeline.visualize(tmp_path / "picture.mmd")
    assert "flowchart" in (tmp_path / "picture.mmd").read_text()
    result = CliRunner().invoke(program, ["draw", "acceptance.vocabulary:map_reduce", "-f", "dot"])
    assert result.output.startswith("digraph")


def test_row_096_configuration_in_the_environment(cluster: Cluster) -> None:
    code = "from acceptance.vocabulary import double; print(double.submit(x=4).result(timeout=30))"
    environment = os.environ | cluster.environment | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "8\n", done.stderr


@pytest.mark.parametrize("level", ["DEBUG", "ERROR"])
def test_row_097_log_level(level: str) -> None:
    code = "import logging; from dagcelery import app; print(logging.getLogger('dagcelery').getEffectiveLevel())"
    environment = os.environ | {"DAGCELERY_LOG_LEVEL": level}
    environment |= dict.fromkeys(("DAGCELERY_BROKER_URL", "DAGCELERY_STORE_URL"), "redis://localhost:1/0")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{logging.getLevelName(level)}\n", done.stderr


TYPED = """\
from dagcelery import dag, task

@task
def double(x: int) -> int:
    return 2 * x

@dag
def doubles(x: int) -> int:
    return double(double(x))

reveal_type(doubles.submit(x=1).result())
{line}
"""


@pytest.mark.parametrize(("line", "status"), [("doubles.invoke(x=1)", 0), ("double('one')", 1), ("doubles(y=1)", 1)])
def test_row_099_decorated_code_keeps_its_types(tmp_path: Path, line: str, status: int) -> None:
    assert (Path(dagcelery.__file__).parent / "py.typed").exists()
    (tmp_path / "typed.py").write_text(TYPED.format(line=line))
    command = [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "typed.py")]
    root = Path(dagcelery.__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=110, check=False)
    assert 'Revealed type is "int"' in done.stdout.replace("builtins.", "")
    assert done.returncode == status, done.stdout


@pytest.mark.parametrize(
    ("body", "culprit", "wrong", "right"),
    [
        (lambda n: total(f"{n}"), "parameter 'n'", "is not text before the DAG runs", "in a task"),
        (lambda n: echo(double(n) + 1), "the output of 'double'", "cannot be computed with", "compute in a task"),
        (lambda n: double(y=n), "the call of 'double'", "missing a required argument|unexpected", "call it as"),
        (lambda n: None, "DAG", "calls no task", "at least one node"),
    ],
)
def test_row_100_specific_errors(body: Callable[..., Any], culprit: str, wrong: str, right: str) -> None:
    with pytest.raises(errors.InvalidDag) as refused:
        build(dag(body))
    for part, told in ((refused.value.culprit, culprit), (refused.value.problem, wrong), (refused.value.remedy, right)):
        assert any(choice in part for choice in told.split("|")), part


STEP = {"name": "a", "module": "os", "function": "getcwd", "dependencies": None, "return": None}


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (STEP | {"retrun": None}, "retrun: is not a known key; did you mean 'return'"),
        ({name: value for name, value in STEP.items() if name != "return"}, "the key 'return' is missing"),
        (STEP | {"return": "x1"}, "is a text, where a list of outputs is due"),
    ],
)
def test_row_101_unknown_and_missing_keys_of_a_configuration(step: dict[str, Any], told: str) -> None:
    config = {"project": "p", "workflows": [{"name": "w", "steps": [step]}]}
    for read in (load, lambda config: Dagmate(config=config).activate()):
        with pytest.raises(errors.InvalidConfig, match=told):
            read(config)


def test_row_101_missing_keys_at_the_top() -> None:
    with pytest.raises(errors.InvalidConfig, match="the key 'project' is missing"):
        load({"workflows": []})
    assert isinstance(build(map_reduce), DAG)
