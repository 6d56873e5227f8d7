"""The command line says the same as Python: results on standard output, one sentence where something is wrong."""

from __future__ import annotations

import io
import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import Result
from rich.console import Console

from checkout import ROOT
from dagcelery.cli import show_run
from dagcelery.cli.commands import to_json
from dagcelery.cli.runs import bar, chosen, counts, table
from dagcelery.cli.workers import consumed, ended_by_signals, exit_code, stay
from dagcelery.client import set_default
from dagcelery.client.status import NodeStatus, RunStatus, last_word
from dagcelery.local import Cluster
from dagcelery.local import cluster as local_cluster
from dagcelery.store.records import RunState

from . import targets
from .conftest import Cli


def sentence(result: Result) -> str:
    """Return the one line that an error is told in."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def usage(result: Result) -> str:
    """Return what is wrong with a command line."""
    assert result.exit_code == 2, result.output
    return result.stderr.splitlines()[-1]


# -- targets and parameters ------------------------------------------------------------------------------


def test_invoke_prints_the_result_as_json(cli: Cli) -> None:
    result = cli("invoke", "unit.cli.targets:squares", "-p", "n=4")
    assert (result.exit_code, result.stdout) == (0, "14\n")


def test_declared_dags_and_tasks_are_targets(cli: Cli) -> None:
    assert cli("invoke", "unit.cli.targets:declared", "-p", 'name="you"').stdout == '"hello you"\n'
    assert cli("invoke", "unit.cli.targets:alone", "-p", "name=you").stdout == '"hello you"\n'


def test_a_static_parameter_is_one_like_the_others(cli: Cli) -> None:
    result = cli("invoke", "unit.cli.targets:folded", "-p", "n=2", "-p", "folds=3")
    assert json.loads(result.stdout) == [[0, 1]] * 3


@pytest.mark.parametrize(
    ("text", "mark", "printed"),
    [("true", "null", "TRUE"), ("1", "2", "12"), ("a=b", "", "A=B")],
)
def test_text_is_taken_as_it_is_where_the_parameter_is_annotated_str(
    cli: Cli, text: str, mark: str, printed: str
) -> None:
    result = cli("invoke", "unit.cli.targets:shout", "-p", f"text={text}", "-p", f"mark={mark}")
    assert json.loads(result.stdout) == printed


def test_parameters_come_from_a_file_and_single_ones_win(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text('{"text": "a", "times": 2}')
    result = cli("invoke", "unit.cli.targets:shout", "--params", str(file), "-p", "text=b")
    assert json.loads(result.stdout) == "BB"
    result = cli("invoke", "unit.cli.targets:shout", "--params", "-", stdin='{"text": "c"}')
    assert json.loads(result.stdout) == "C"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["squares"], "does not name a module and an object in it; write 'package.module:name'"),
        (["./jobs/nightly.py:main"], "write its module's name, 'jobs.nightly'"),
        (
            ["unit.cli.targets:squaress"],
            "module 'unit.cli.targets' has no 'squaress'; did you mean 'squares' or 'square'?",
        ),
        (["no_such_module:x"], "module 'no_such_module' does not exist; put its folder on Python's path"),
        (["unit.cli.targets:squares", "-p", "n"], "'n' has no value; write n=VALUE"),
        (["unit.cli.targets:squares", "-p", "n=four"], "for a text write -p 'n=\"four\"'"),
        (["unit.cli.targets:squares", "--params", "-"], "<stdin> is not JSON"),
    ],
)
def test_a_command_line_that_makes_no_sense_says_what_would(cli: Cli, arguments: list[str], told: str) -> None:
    assert told in usage(cli("invoke", *arguments))


def test_a_file_of_parameters_holds_an_object(cli: Cli) -> None:
    assert 'write {"name": value}' in usage(cli("invoke", "unit.cli.targets:squares", "--params", "-", stdin="[4]"))


def test_what_is_no_dag_is_refused(cli: Cli) -> None:
    assert sentence(cli("invoke", "unit.cli.targets:neither")) == (
        "Error: 'unit.cli.targets:neither': is neither a DAG nor a task; decorate it with @dag or @task"
    )


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that cannot be imported, in the working directory."""
    file = tmp_path / "broken_module.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield file
    sys.modules.pop("broken_module", None)


@pytest.mark.parametrize("line", ["1 / 0", "import no_such_module", "def f(:"])
def test_a_module_that_cannot_be_imported_is_told_with_the_place(cli: Cli, broken: Path, line: str) -> None:
    broken.write_text(f"\n{line}\n")
    told = sentence(cli("invoke", "broken_module:dag"))
    assert told.startswith("Error: module 'broken_module' cannot be imported: ")
    assert "line 2)" in told
    assert told.endswith("; repair it, then try again")


# -- running -----------------------------------------------------------------------------------------------


def test_a_failing_task_is_one_sentence_and_its_traceback_on_request(cli: Cli) -> None:
    arguments = ["invoke", "unit.cli.targets:fail", "-p", "reason=too bad"]
    assert sentence(cli(*arguments)) == "Error: node fail failed with ValueError: too bad"
    shown = cli("--traceback", *arguments).stderr
    assert "raise ValueError(reason)" in shown
    assert shown.splitlines()[-1] == "Error: node fail failed with ValueError: too bad"


def test_a_result_that_json_cannot_hold_is_shown_as_python_shows_it(cli: Cli) -> None:
    assert to_json({"found": {1}}) == '{"found": "{1}"}'


def test_run_waits_for_the_result_on_workers(cli: Cli, cluster: Cluster) -> None:
    result = cli("run", "unit.cli.targets:squares", "-p", "n=4", "--timeout", "30")
    assert (result.exit_code, result.stdout) == (0, "14\n")


def test_run_prints_json_for_programs(cli: Cli, cluster: Cluster) -> None:
    done = json.loads(cli("run", "unit.cli.targets:squares", "-p", "n=4", "--json").stdout)
    assert (done["state"], done["result"]) == ("done", 14)
    result = cli("run", "unit.cli.targets:fail", "-p", "reason=x", "--json")
    assert result.exit_code == 1
    failed = json.loads(result.stdout)
    assert (failed["state"], failed["error"]) == ("failed", "node fail failed with ValueError: x")


def test_run_shows_progress_to_people_only(cli: Cli, cluster: Cluster) -> None:
    result = cli("run", "unit.cli.targets:squares", "-p", "n=4", "--watch")
    assert result.stdout == "14\n"
    assert "square" in result.stderr
    assert "4/4" in result.stderr


def test_submit_prints_an_id_that_status_understands(cli: Cli, cluster: Cluster) -> None:
    run_id = cli("submit", "unit.cli.targets:squares", "-p", "n=3").stdout.strip()
    assert cli("status", run_id, "--watch").exit_code == 0
    assert run_id in cli("status", run_id).stdout.replace("\n", "")
    status = json.loads(cli("status", run_id, "--json").stdout)
    assert status["state"] == "done"
    assert [node["name"] for node in status["nodes"]] == ["numbers", "square", "total"]
    picture = cli("draw", "unit.cli.targets:squares", "--run", run_id).stdout
    assert "done" in picture
    assert json.loads(cli("submit", "unit.cli.targets:declared", "-p", 'name="x"', "--json").stdout)["id"]


def test_an_unknown_run_is_one_sentence(cli: Cli, cluster: Cluster) -> None:
    assert "run nobody is not in this store" in sentence(cli("status", "nobody"))


def test_without_a_broker_the_error_names_the_remedies(cli: Cli) -> None:
    before = set_default(None)
    try:
        assert "DAGCELERY_BROKER_URL" in sentence(cli("submit", "unit.cli.targets:squares", "-p", "n=3"))
    finally:
        set_default(before)


def test_who_stops_waiting_learns_how_to_come_back(cli: Cli, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagcelery.client import Run

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "result", interrupted)
    result = cli("run", "unit.cli.targets:squares", "-p", "n=3")
    assert result.exit_code == 1
    assert "continues; see it with: dagcelery status" in result.stderr


# -- looking -----------------------------------------------------------------------------------------------


def test_plan_prints_the_canvas_and_the_queues(cli: Cli) -> None:
    lines = cli("plan", "unit.cli.targets:squares").stdout.splitlines()
    assert lines[0] == "unit.cli.targets:squares"
    assert any(line.startswith("  chord([square[*]") for line in lines)
    assert lines[-1] == "queues: celery, gpu"


def test_plan_prints_what_workers_read(cli: Cli) -> None:
    assert json.loads(cli("plan", "unit.cli.targets:squares", "--json").stdout)


def test_draw_knows_three_languages(cli: Cli) -> None:
    assert "numbers" in cli("draw", "unit.cli.targets:squares").stdout
    assert cli("draw", "unit.cli.targets:squares", "-f", "mermaid").stdout.startswith("flowchart TD")
    assert cli("draw", "unit.cli.targets:folded", "-p", "folds=2", "-f", "dot").stdout.startswith("digraph")


def node(name: str, *, total: int | None, done: int = 0, running: int = 0, failed: int = 0) -> NodeStatus:
    started = 1.0 if done or running or failed else None
    return NodeStatus(name, "celery", total != 1, total, done, running, failed, started, None)


def test_a_table_shows_what_matters_where_there_are_too_many_nodes() -> None:
    nodes = [node("a", total=1, done=1), node("b", total=3, running=1), node("c", total=2, failed=1)]
    shown, left_out = chosen(nodes, 2)
    assert [found.name for found in shown] == ["b", "c"]
    assert [found.name for found in left_out] == ["a"]
    assert chosen(nodes, 3) == (nodes, [])


def test_a_row_says_how_many_items_a_fan_out_has() -> None:
    assert str(counts(node("a", total=1, done=1))) == ""
    assert str(counts(node("b", total=1200, done=3, running=2, failed=1))) == "3/1,200 2 running 1 failed"
    assert str(counts(node("c", total=None))) == "0/?"
    assert last_word(node("d", total=1)) == ""
    assert bar(node("e", total=0)).completed == 0


def test_a_table_tells_why_a_run_ended() -> None:
    status = RunStatus(
        "id",
        "mod:dag",
        RunState.FAILED,
        0,
        0,
        0,
        "c[1]",
        "",
        (node("a", total=1), node("c", total=2, failed=1)),
        error="OSError: x",
    )
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(status, most=1))
    told = console.export_text()
    assert "mod:dag id failed: c[1]: OSError: x" in told
    assert "and 1 more" in told


def test_a_terminal_sees_a_run_go_on(cluster: Cluster) -> None:
    run = targets.squares.submit(n=3)
    console = Console(force_terminal=True, width=100, record=True, file=io.StringIO())
    status = show_run(run, plan=targets.squares, console=console)
    assert status.state is RunState.DONE
    told = console.export_text()
    assert "chord([square[*]" in told
    assert "3/3" in told


# -- processes on this machine -------------------------------------------------------------------------------


def program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dagcelery.cli", *arguments]


def test_a_worker_consumes_what_it_tolerates(monkeypatch: pytest.MonkeyPatch) -> None:
    assert consumed((), (), ()) == ["celery"]
    assert consumed(("gpu", "ssd"), (), ("ssd",)) == ["celery", "gpu", "gpu+ssd"]
    assert consumed(("gpu",), ("reports",), ()) == ["reports", "gpu"]
    monkeypatch.setenv("DAGCELERY_QUEUE", "work")
    assert consumed((), (), ()) == ["work"]


def test_a_worker_without_queues_is_refused(cli: Cli) -> None:
    assert "leaves no queue to consume" in usage(cli("worker", "--exclude-queue", "celery"))


def test_a_worker_without_servers_is_refused_in_one_line(cli: Cli) -> None:
    before = set_default(None)
    try:
        told = sentence(cli("worker"))
    finally:
        set_default(before)
    assert told.startswith("Error: no broker and no store is configured: set DAGCELERY_BROKER_URL")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with a module."""
    (tmp_path / "my_targets.py").write_text(Path(targets.__file__).read_text())
    return tmp_path


def test_run_local_brings_its_own_workers(cli: Cli) -> None:
    assert cli("run", "unit.cli.targets:squares", "-p", "n=4", "--local", "1").stdout == "14\n"


def test_dev_runs_a_command_with_its_cluster_and_exits_as_it_does(folder: Path) -> None:
    with (folder / "my_targets.py").open("a") as module:
        module.write("\nif __name__ == '__main__':\n    raise SystemExit(squares.submit(n=4).result(30))\n")
    command = program("dev", "--toleration", "gpu", "--", sys.executable, "my_targets.py")
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 14, done.stderr
    assert [path.name for path in (folder / ".dagcelery").iterdir()] == [".gitignore"]


def test_dev_serves_other_processes_until_it_is_ended(folder: Path) -> None:
    with subprocess.Popen(
        program("dev", "--workers", "1", "--toleration", "gpu", "--keep"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=folder,
    ) as dev:
        assert dev.stdout
        assert "celery, gpu" in dev.stdout.readline()
        source = dev.stdout.readline().strip()
        file = folder / ".dagcelery" / "dev.env"
        assert source == f"source {file}"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        script = f". {file} && {sys.executable} -m dagcelery.cli run my_targets:squares -p n=4"
        used = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, cwd=folder)
        dev.send_signal(signal.SIGINT)
        assert dev.wait(30) == 0
    assert used.stdout == "14\n", used.stderr
    assert not file.exists()
    assert (folder / ".dagcelery" / "data").is_dir()


def test_dev_ends_with_its_workers() -> None:
    with local_cluster(workers=0) as cluster:
        with pytest.raises(click.ClickException, match="the worker ended"):
            stay(cluster)
        cluster.server.kill()
        with pytest.raises(click.ClickException, match="the server ended"):
            stay(cluster)


def test_a_commands_exit_code_is_what_a_shell_makes_of_it() -> None:
    assert exit_code(["/bin/sh", "-c", "exit 3"], {}) == 3
    assert exit_code(["/bin/sh", "-c", "kill -9 $$"], {}) == 128 + signal.SIGKILL
    with pytest.raises(click.ClickException, match="'no-such-program' cannot be run"):
        exit_code(["no-such-program"], {})


def test_ctrl_c_is_the_commands_to_answer() -> None:
    assert exit_code(["/bin/sh", "-c", "sleep 0.3; kill -INT $PPID; sleep 0.2; exit 3"], {}) == 3


def test_a_command_is_ended_along_with_dev() -> None:
    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)), ended_by_signals():
        exit_code(["/bin/sh", "-c", "sleep 0.3; kill -TERM $PPID; exec sleep 60"], {})


def test_config_init_copies_what_is_deployed_and_overwrites_nothing(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "config"
    said = cli("config", "init", str(target))
    assert {Path(line).relative_to(target) for line in said.stdout.splitlines()} == {
        path.relative_to(ROOT / "worker_config")
        for path in (ROOT / "worker_config").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    (target / "redis.conf").write_text("mine")
    assert "name a new folder" in cli("config", "init", str(target)).stderr
    assert (target / "redis.conf").read_text() == "mine"
