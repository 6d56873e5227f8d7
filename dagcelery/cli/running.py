"""A run from the command line: submitted, watched as a table of bars, and its result printed."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dagcelery import client
from dagcelery.cli.targets import Target, plain, plan_of
from dagcelery.client.status import NodeStatus, RunStatus, counts_text, last_word
from dagcelery.errors import DagceleryError
from dagcelery.local import cluster
from dagcelery.planner.plan import queues_of

if TYPE_CHECKING:
    from dagcelery.client import Run, Submittable


POLL_SECONDS = 0.1

BAR_WIDTH = 30

MARGIN = 4
"""Lines of the terminal that the table of nodes leaves to others."""

STYLES = {
    "pending": "dim",
    "waiting": "dim",
    "running": "cyan",
    "retrying": "yellow",
    "done": "green",
    "cached": "dim",
    "skipped": "yellow",
    "failed": "bold red",
    "cancelled": "yellow",
    "timed_out": "yellow",
}

URGENCY = ("failed", "retrying", "running", "waiting", "done", "skipped")


def show_run(run: Run[Any], plan: Submittable | None = None, console: Console | None = None) -> RunStatus:
    """Show a run's progress until it has ended; with `plan` the canvas that it becomes first. Returns the last status.

    Where the output is not a terminal, the finished table is written once.
    """
    console = console or Console(stderr=True)
    if plan is not None:
        for line in canvas_lines(plan):
            console.print(plain(line), highlight=False, markup=False, soft_wrap=True)
    most = max(1, console.height - MARGIN)
    status = run.status()
    # Without a terminal Live would not end its last line.
    with Live(console=console, auto_refresh=False) if console.is_terminal else nullcontext() as live:
        while not status.state.is_end:
            if live:
                live.update(table(status, most), refresh=True)
            time.sleep(POLL_SECONDS)
            status = run.status()
        if live:
            live.update(table(status, most), refresh=True)
    if not console.is_terminal:
        console.print(table(status, most))
    return status


def canvas_lines(node: Submittable) -> Iterator[str]:
    """Yield the Celery canvas of a DAG, a line each, and the queues that its workers must consume."""
    from dagcelery.worker.sender import describe

    plan = plan_of(node)
    yield plan.name
    for line in describe(plan):
        yield f"  {line}"
    yield f"queues: {', '.join(sorted(queues_of(plan)))}"


def table(status: RunStatus, most: int | None = None) -> Table:
    """Draw a run: its state on top, a line for each node, at most `most` of them and the urgent ones first."""
    title = Text.assemble(
        plain(status.name), " ", (plain(status.id), "dim"), " ", (str(status.state), STYLES[status.state])
    )
    if why := status.failed or status.reason or status.why:
        title.append(f": {plain(why)}")
    drawn = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    shown, left_out = chosen(branches(status.nodes), most)
    names = indented(shown)
    for node in shown:
        words = Text(plain(last_word(node)), "yellow" if node.why else "dim")
        drawn.add_row(names[node.name], bar(node), counts(node), Text(node.state, STYLES[node.state]), words)
    if left_out:
        states = Counter(node.state for node in left_out)
        rest = ", ".join(f"{states[state]:,} {state}" for state in URGENCY if states[state])
        drawn.add_row(Text(f"and {len(left_out):,} more", "dim"), "", "", Text(rest, "dim"))
    return drawn


def chosen(nodes: Sequence[NodeStatus], most: int | None) -> tuple[list[NodeStatus], list[NodeStatus]]:
    """Choose the nodes to show, in their own order, and those to leave out."""
    if most is None or len(nodes) <= most:
        return list(nodes), []
    by_urgency = sorted(range(len(nodes)), key=lambda at: URGENCY.index(nodes[at].state))
    kept = set(by_urgency[:most])
    return (
        [node for at, node in enumerate(nodes) if at in kept],
        [node for at, node in enumerate(nodes) if at not in kept],
    )


def branches(nodes: Sequence[NodeStatus]) -> list[NodeStatus]:
    """Put nodes within mapped DAGs, ``train[*]/fit``, right behind the node that maps."""
    places = {node.name: at for at, node in enumerate(nodes)}

    def path(node: NodeStatus) -> list[int]:
        parts = node.name.split("[*]/")
        return [places.get("[*]/".join(parts[: end + 1]), 0) for end in range(len(parts))]

    return sorted(nodes, key=path)


def indented(nodes: Sequence[NodeStatus]) -> dict[str, Text]:
    """Name nodes below the one that maps by their last part, further in; all others in full."""
    shown, names = {node.name for node in nodes}, {}
    for node in nodes:
        parent, _, last = node.name.rpartition("[*]/")
        depth = node.name.count("[*]/")
        names[node.name] = Text("  " * (depth - 1) + "└ " + last if parent in shown else node.name)
    return names


def bar(node: NodeStatus) -> ProgressBar:
    """Draw how much of a node is done; a fan-out of nothing is done from the start."""
    total, done = (node.total, node.done + node.skipped) if node.total else (1, int(node.state == "done"))
    finished = "red" if node.failed else "yellow" if node.skipped else "green"
    return ProgressBar(total, done, width=BAR_WIDTH, complete_style="cyan", finished_style=finished)


def counts(node: NodeStatus) -> Text:
    """Write how many pieces of a node are done, and how many are elsewhere."""
    text = Text(counts_text(node))
    for word, style in STYLES.items():
        text.highlight_regex(rf"([\d,]+ )?{word}", style)
    return text


C = TypeVar("C", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def running(command: C) -> C:
    """Give a command the options of a run: `local`, `watch`, `timeout` and `as_json`."""
    options = [
        click.option("--local", type=click.IntRange(1), metavar="N", help="Start a server and N workers for this run."),
        click.option("--watch", is_flag=True, help="Show each node's progress."),
        click.option("--timeout", type=float, metavar="SECONDS", help="Stop waiting then; the run continues."),
        as_json,
    ]
    for option in reversed(options):
        command = option(command)
    return command


def run_to_its_end(
    target: Target, params: dict[str, Any], local: int | None, *, watch: bool, timeout: float | None, as_json: bool
) -> None:
    """Submit a target, wait for its result, and print it as JSON; on `local` worker processes, if they are given."""
    with cluster(local, queues=queues_of(client.plan_of(target.dag(params)))) if local else nullcontext():
        submitted = target.submit(params)
        report: dict[str, object] = {"id": submitted.id}
        try:
            if watch:
                show_run(submitted)
            report["result"] = submitted.result(timeout)
        except DagceleryError as error:
            report["error"] = str(error)
            raise
        except KeyboardInterrupt:
            if not local:
                click.echo(f"run {submitted.id} continues; see it with: dagcelery status {submitted.id}", err=True)
            raise
        finally:
            if as_json and len(report) > 1:
                click.echo(to_json(report | {"state": str(submitted.state)}))
        if not as_json:
            click.echo(to_json(report["result"]))


def to_json(value: object) -> str:
    """Write a value for standard output, as its repr where JSON cannot hold it.

    JSON itself escapes some characters that a terminal would obey, and this escapes the others.
    """
    text = json.dumps(value, ensure_ascii=False, default=repr)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
