"""The worker configuration that is ready to deploy says only what Celery, systemd and dagcelery understand."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery.app.defaults import NAMESPACES, flatten
from celery.bin.worker import worker as celery_worker

from checkout import ROOT
from dagcelery.cli.workers import consumed
from dagcelery.local.cluster import tolerated_queues
from dagcelery.planner.plan import queue_for

CONFIG = ROOT / "worker_config"
UNITS = sorted((CONFIG / "systemd").glob("*.service"))
QUEUES = yaml.safe_load((CONFIG / "queues.yaml").read_text())

# Celery's documents ask for it beside the options of both transports; it is in no table of Celery's settings.
UNLISTED = {"visibility_timeout"}


# -- celeryconfig ------------------------------------------------------------------------------
@pytest.mark.parametrize("module", ["celeryconfig", "gpu"])
def test_every_setting_is_one_that_celery_knows(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.syspath_prepend(str(ROOT))
    config = runpy.run_path(str(CONFIG / f"{module}.py"))
    known = dict(flatten(NAMESPACES)).keys() | UNLISTED
    assert not [name for name in config if not name.startswith("_") and name not in known]


def test_the_visibility_timeout_is_the_same_in_its_three_places() -> None:
    config = runpy.run_path(str(CONFIG / "celeryconfig.py"))
    found = [config["broker_transport_options"], config["result_backend_transport_options"], config]
    assert [each["visibility_timeout"] for each in found] == [3600] * 3


def test_each_setting_has_its_reason() -> None:
    for file in ("celeryconfig.py", "gpu.py"):
        blocks = (CONFIG / file).read_text().split("\n\n")
        settings = [block for block in blocks if re.search(r"^[a-z]\w* = ", block, re.M)]
        assert settings
        assert not [block for block in settings if "# " not in block]


# -- queues ------------------------------------------------------------------------------------
@pytest.mark.parametrize("entry", QUEUES["queues"], ids=lambda entry: entry["queue"])
def test_tasks_wait_where_the_table_of_queues_says(entry: dict[str, Any]) -> None:
    assert queue_for(entry["taints"]) == entry["queue"]


@pytest.mark.parametrize("entry", QUEUES["workers"], ids=lambda entry: entry["unit"])
def test_workers_consume_what_the_table_of_queues_says(entry: dict[str, Any]) -> None:
    program, *words = shlex.split(entry["command"])
    if program == "dagcelery":
        tolerations = words[2::2]
        assert consumed(tolerations, (), ()) == entry["queues"]
        assert sorted(tolerated_queues(tolerations)) == sorted(entry["queues"])
        return
    assert queues_of(words) == entry["queues"]
    assert queues_of(command_of(CONFIG / "systemd" / entry["unit"])) == entry["queues"]


def queues_of(words: list[str]) -> list[str]:
    """The queues that a worker's command line names, read by Celery's own parser."""
    arguments = words[words.index("worker") + 1 :]
    with celery_worker.make_context("worker", arguments, resilient_parsing=True) as context:
        return list(context.params["queues"] or ["celery"])


# -- systemd -----------------------------------------------------------------------------------
def command_of(unit: Path) -> list[str]:
    """What a unit starts, as systemd splits it: %% stands for a percent sign."""
    text = unit.read_text().replace("\\\n", " ")
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
    return shlex.split(command.replace("%%", "%"))


def test_there_is_a_unit_for_each_of_celerys_services() -> None:
    assert [unit.stem for unit in UNITS] == [
        "dagcelery-beat",
        "dagcelery-flower",
        "dagcelery-gpu-worker",
        "dagcelery-worker",
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_are_hardened_and_their_secrets_stand_elsewhere(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "User=dagcelery", "UMask=0077"):
        assert line in lines
    assert "EnvironmentFile=/etc/dagcelery/dagcelery.env" in lines
    assert not [line for line in lines if re.search(r"_KEY=|_URL=|_AUTH=|redis://", line)]
    assert (CONFIG / Path(command_of(unit)[4].replace(".", "/")).with_suffix(".py").name).exists()


def test_the_environment_of_units_has_no_secret_and_says_who_may_read_it() -> None:
    text = (CONFIG / "systemd" / "dagcelery.env").read_text()
    assert "install -D -m 0600" in text
    assert re.findall(r"^\w+=(.*)$", text, re.M) == [""] * 6


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_units_and_finds_them_little_exposed(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"Unknown|Failed to parse|ignoring", done.stderr), done.stderr
