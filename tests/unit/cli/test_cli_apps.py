"""Every verb takes the Celery app after ``-A``, before its name or behind it, or that of ``celery -A shop dag``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from celery.bin.celery import celery
from click.testing import CliRunner, Result

from dagcelery.cli import dag
from dagcelery.cli.workers import consumed
from dagcelery.client import Client, Run, set_default
from dagcelery.local import Cluster, Server

from . import targets

HERE = Path(__file__).parent
Ways = Callable[..., Iterator[Result]]


@pytest.fixture(autouse=True)
def _nothing_is_attached(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    replaced = set_default(None)
    monkeypatch.chdir(HERE)
    monkeypatch.delitem(sys.modules, "cli_team", raising=False)
    yield
    set_default(replaced)
    sys.modules.pop("cli_team", None)


def three_ways(verb: tuple[str, ...], *arguments: str) -> Iterator[Result]:
    """A command line with the app before the verb, behind it, and given to Celery's own program."""
    yield CliRunner().invoke(dag, ["-A", "cli_team", *verb, *arguments], prog_name="dagcelery")
    yield CliRunner().invoke(dag, [*verb, "-A", "cli_team", *arguments], prog_name="dagcelery")
    if "dag" not in celery.commands:
        celery.add_command(dag)
    yield CliRunner().invoke(celery, ["-A", "cli_team", "dag", *verb, *arguments], prog_name="celery")


@pytest.fixture
def team(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The team's broker, store and key are those of the cluster."""
    set_default(None)
    monkeypatch.setenv("TEAM_BROKER", cluster.broker_url)
    monkeypatch.setenv("TEAM_STORE", cluster.store_url)
    monkeypatch.setenv("TEAM_KEY", cluster.signing_key)
    return cluster.client


def test_the_queue_of_a_plan_is_the_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    for result in three_ways(("plan",), "unit.cli.targets:squares"):
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[-1] == "queues: gpu, sales"
    for result in three_ways(("plan",), "unit.cli.targets:squares", "--json"):
        assert '"sales"' in result.stdout
    monkeypatch.setenv("DAGCELERY_QUEUE", "work")
    alone = CliRunner().invoke(dag, ["plan", "unit.cli.targets:squares"])
    assert alone.stdout.splitlines()[-1] == "queues: gpu, work"


def test_verbs_about_runs_ask_the_store_of_the_app(team: Client) -> None:
    run = team.submit(targets.squares, {"n": 3})
    assert run.wait(30)
    for result in three_ways(("list",), "--json"):
        assert result.exit_code == 0, result.output
        assert [each["id"] for each in json.loads(result.stdout)] == [run.id]
    for verb in ("status", "watch"):
        for result in three_ways((verb,), run.id):
            assert result.exit_code == 0, result.output
            assert run.id in result.stdout or "square" in result.stdout
    for result in three_ways(("errors",), run.id, "--json"):
        assert (result.exit_code, result.stdout) == (0, "[]\n")
    for result in three_ways(("draw",), "unit.cli.targets:squares", "--run", run.id):
        assert "done" in result.stdout
    for result in three_ways(("cache", "clear"), "unit.cli.targets:looked_up"):
        assert "results dropped" in result.stdout
    for result in three_ways(("sweep",)):
        assert "looked at" in result.stdout


def test_verbs_that_change_a_run_speak_to_the_app(team: Client) -> None:
    for result in three_ways(("submit",), "unit.cli.targets:squares", "-p", "n=3"):
        assert result.exit_code == 0, result.output
        run_id = result.stdout.strip()
        for cancelled in three_ways(("cancel",), run_id):
            assert cancelled.stdout == "cancelled\n"
        assert Run[object](run_id, client=team).status().nodes[0].queue == "sales"
    for result in three_ways(("resume",), run_id):
        assert result.stdout in ("running\n", "pending\n")
        Run[object](run_id, client=team).cancel()


def test_the_doctor_examines_the_app(team: Client) -> None:
    result = CliRunner().invoke(dag, ["doctor", "-A", "cli_team", "--json"])
    told = [finding["what"] for finding in json.loads(result.stdout)["findings"]]
    assert not any("no broker is" in what or "no store is" in what for what in told)
    assert any("worker_prefetch_multiplier is 4" in what for what in told)  # it is that app's


def test_the_doctor_says_how_a_worker_of_the_app_is_started(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setenv("TEAM_BROKER", server.url)
    monkeypatch.setenv("TEAM_STORE", server.url)
    result = CliRunner().invoke(dag, ["doctor", "-A", "cli_team", "--json"])
    remedies = [finding["remedy"] for finding in json.loads(result.stdout)["findings"]]
    assert "start one: celery -A cli_team worker" in remedies
    alone = CliRunner().invoke(dag, ["list"])
    assert "name it on the command line, as in dagcelery -A shop list" in alone.stderr


def test_schedules_are_the_apps() -> None:
    for result in three_ways(("schedule", "list")):
        assert (result.exit_code, result.stdout) == (0, "")
        assert "no DAG has a schedule" in result.stderr


def test_a_worker_consumes_the_default_queue_of_its_app(monkeypatch: pytest.MonkeyPatch) -> None:
    become: list[list[str]] = []

    def instead(program: str, command: list[str]) -> None:
        become.append(command)
        sys.exit(0)  # as a process that has become another one does not go on

    monkeypatch.setattr(os, "execv", instead)
    for result in three_ways(("worker",), "--toleration", "gpu", "-c", "4"):
        assert result.exit_code == 0, result.output
    assert [command[3:8] for command in become] == [["-A", "cli_team", "worker", "-Q", "sales,gpu"]] * 3
    assert [command[-2:] for command in become] == [["-c", "4"]] * 3
    assert consumed((), (), ()) == ["celery"]


def test_the_app_is_the_default_only_while_the_verb_runs() -> None:
    result = CliRunner().invoke(dag, ["-A", "cli_team", "plan", "unit.cli.targets:squares"])
    assert result.exit_code == 0
    assert set_default(None) is None


@pytest.mark.parametrize("verb", ["list", "status", "cancel", "resume", "plan", "submit", "doctor"])
def test_an_app_that_cannot_be_had_is_told(verb: str) -> None:
    for app, told in (("no.such", "cannot be imported"), ("celery:Celery", "is not attached")):
        result = CliRunner().invoke(dag, [verb, "-A", app, "unit.cli.targets:squares"])
        assert result.exit_code == 2
        assert told in result.stderr


def test_every_verb_takes_an_app() -> None:
    def leaves(command: click.Command) -> Iterator[click.Command]:
        if isinstance(command, click.Group):
            for each in command.commands.values():
                yield from leaves(each)
        else:
            yield command

    assert all(any("-A" in param.opts for param in command.params) for command in leaves(dag))


DJANGO = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
from celery import Celery
from dagcelery import attach
app = Celery("site", broker="memory://", include=["stock.jobs"])
app.conf.task_default_queue = "sales"
attach(app, store_url="redis://127.0.0.1:1/0", signing_key="0123456789abcdef")
"""
MODELS = "from django.db import models\n\nclass Item(models.Model):\n    name = models.CharField(max_length=9)\n"
JOBS = """
from dagcelery import dag, task
from stock.models import Item

@task
def count(n: int) -> int:
    return n

@dag
def nightly(n: int) -> int:
    return count(n)
"""


def test_a_dag_that_imports_models_of_django_can_be_planned(tmp_path: Path) -> None:
    pytest.importorskip("django")
    (tmp_path / "stock").mkdir()
    for name, text in {
        "site_settings.py": "INSTALLED_APPS = ['stock']\nSECRET_KEY = 'x'\nUSE_TZ = True\n",
        "site_app.py": DJANGO,
        "stock/__init__.py": "",
        "stock/models.py": MODELS,
        "stock/jobs.py": JOBS,
    }.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "dagcelery.cli", "plan", "-A", "site_app", "stock.jobs:nightly"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "queues: sales"
