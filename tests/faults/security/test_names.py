"""Names and messages that others chose are shown as text: no terminal, browser or log obeys them."""

from __future__ import annotations

from collections.abc import Callable

import guarded
import pytest
from click.testing import CliRunner
from guarded import HOSTILE
from rich.console import Console

from dagcelery import errors, submit
from dagcelery.cli import dag as program
from dagcelery.cli import runs, targets
from dagcelery.cli.runs import table
from dagcelery.frontends.yaml import load
from dagcelery.local import Cluster
from dagcelery.model.names import is_name

SECONDS = 60.0
Cli = Callable[..., str]


@pytest.fixture
def cli(talkative: Cluster) -> Cli:
    """Run a command line in this process; answer all that it prints."""

    def run(*arguments: str) -> str:
        told = CliRunner().invoke(program, arguments, prog_name="dagcelery")
        assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
        return told.output

    return run


def is_harmless(told: str) -> bool:
    """Whether a terminal shows just this text, and no line of it was written by somebody else."""
    return all(letter.isprintable() or letter in "\n\t" for letter in told)


def test_what_is_hidden_in_text_is_shown() -> None:
    assert not is_harmless(HOSTILE)
    assert is_harmless(targets.plain(HOSTILE))
    assert targets.plain("\x1b[2J") == "\\x1b[2J"
    assert targets.plain("naïve 東京\n\tplain") == "naïve 東京\n\tplain"


def test_an_error_of_a_task_is_printed_as_text(cli: Cli) -> None:
    run = guarded.failing.submit(x=1)
    with pytest.raises(errors.NodeFailed):
        run.result(timeout=SECONDS)
    for told in (
        cli("errors", run.id),
        cli("errors", run.id, "--traceback"),
        cli("errors", run.id, "--json"),
        cli("status", run.id),
        cli("watch", run.id),
        cli("run", "guarded:failing", "-p", "x=1"),
        cli("--traceback", "run", "guarded:failing", "-p", "x=1"),
        cli("invoke", "guarded:failing", "-p", "x=1"),
    ):
        assert told
        assert is_harmless(told)


def test_the_name_of_a_dag_is_printed_as_text(cli: Cli) -> None:
    run = submit(guarded.named, {"x": 1})
    run.cancel(HOSTILE)
    for told in (
        cli("list"),
        cli("list", "--json"),
        cli("status", run.id),
        cli("plan", "guarded:named"),
        cli("draw", "guarded:named", "--format", "text"),
        cli("run", "guarded:named", "-p", "x=1"),
    ):
        assert told
        assert is_harmless(told)


def test_a_terminal_is_shown_text_too(talkative: Cluster) -> None:
    run = submit(guarded.named, {"x": 1})
    run.cancel(HOSTILE)
    for drawn in (table(run.status()), runs._listing(talkative.client.runs())):
        console = Console(width=300, force_terminal=True, color_system=None, record=True)
        with console.capture() as captured:
            console.print(drawn)
        assert is_harmless(captured.get())
        assert "[red]" in captured.get().replace("\n", "")  # and rich reads no markup in it; a title may be wrapped


def test_an_unknown_target_or_run_is_told_as_text(cli: Cli) -> None:
    for told in (cli("status", HOSTILE), cli("invoke", HOSTILE), cli("cancel", HOSTILE), cli(HOSTILE)):
        assert told
        assert is_harmless(told)


def test_nodes_inputs_and_outputs_have_plain_names() -> None:
    assert is_name("load_2-a")
    for name in (HOSTILE, "<b>", "a b", "a\n", "a\x1b", "a[0]", "a/b", "a.b", "a:b", "{a}", "-a", "", "a" * 65, "a‮b"):
        assert not is_name(name), name


STEP = {"name": "a", "module": "os", "function": "getcwd", "dependencies": None, "return": None}


@pytest.mark.parametrize("key", STEP)
def test_a_hostile_word_in_a_step_is_refused(key: str) -> None:
    with pytest.raises(errors.InvalidConfig) as refused:
        load({"workflows": [{"name": "w", "steps": [STEP | {key: HOSTILE}]}]})
    assert HOSTILE not in str(refused.value)


@pytest.mark.parametrize("key", ["name", "schedule", HOSTILE])
def test_a_hostile_word_in_a_workflow_is_refused(key: str) -> None:
    with pytest.raises(errors.InvalidConfig) as refused:
        load({"workflows": [{"name": "w", "steps": [STEP]} | {key: HOSTILE}]})
    assert HOSTILE not in str(refused.value)
