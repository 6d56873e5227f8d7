"""Runs from the command line: watched as tables of bars, and list, status, watch, errors, cancel, resume, sweep, cache.

People see tables and bars, programs one line for each thing.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dagcelery import client
from dagcelery.cli.targets import Target, plain, plan_of, prepare_modules
from dagcelery.cli.which_run import Since, about_run
from dagcelery.client.following import RunEvent
from dagcelery.client.status import NodeStatus, RunStatus, counts_text, last_word
from dagcelery.errors import DagceleryError
from dagcelery.local import cluster
from dagcelery.planner.plan import queues_of
from dagcelery.store.records import RunState

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
    "stopped": "yellow",
    "failed": "bold red",
    "cancelled": "yellow",
    "timed_out": "yellow",
}

URGENCY = ("failed", "stuck", "retrying", "running", "stopped", "waiting", "done", "skipped")


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
    if news := status.news:
        title.append(f": {plain(news)}")
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
    urgencies = [URGENCY.index("stuck" if node.is_stuck else node.state) for node in nodes]
    by_urgency = sorted(range(len(nodes)), key=urgencies.__getitem__)
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
    target: Target,
    params: dict[str, Any],
    local: int | None,
    *,
    watch: bool,
    timeout: float | None,
    as_json: bool,
    **submission: Any,
) -> None:
    """Submit a target, wait for its result, and print it as JSON; on `local` worker processes, if they are given."""
    with cluster(local, queues=queues_of(client.plan_of(target.dag(params)))) if local else nullcontext():
        submitted = target.submit(params, **submission)
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


# -- commands -------------------------------------------------------------------------------------
@click.command()
@about_run
@click.option("--reason", default="", metavar="TEXT", help="The reason, which waiting clients are shown.")
@click.option("--terminate", is_flag=True, help="Also end the processes that work on it.")
@as_json
def cancel(run_id: str, reason: str, terminate: bool, as_json: bool) -> None:
    """Cancel RUN: nothing more of it is started. The exit code is 1 if it has ended in another way before."""
    state = client.Run[Any](run_id).cancel(reason, terminate=terminate)
    if state is not RunState.CANCELLED:
        raise click.ClickException(f"run {run_id} cannot be cancelled: it has ended as {state}")
    _tell(run_id, state, as_json=as_json)


@click.command()
@about_run
@click.option("--deadline", type=float, metavar="SECONDS", help="End the run if it takes longer than this from now on.")
@click.option("--allow-code-change", is_flag=True, help="Resume although a function has changed since the run began.")
@click.option(
    "--from",
    "address",
    metavar="ADDRESS",
    help="Execute this node or item, as read[3] or one_file[117]/read, again, and what depends on it.",
)
@click.option("--watch", is_flag=True, help="Show progress until the run has ended.")
@as_json
def resume(
    run_id: str, deadline: float | None, allow_code_change: bool, address: str | None, watch: bool, as_json: bool
) -> None:
    """Resume RUN, which failed, was cancelled or timed out: execute only what is missing.

    With --from, a run that is done can be resumed, too. With --watch, the exit code is 0 only if it ends as done.
    """
    prepare_modules()  # where tasks have moved to, say
    run = client.Run[Any](run_id)
    if address is None:
        run.resume(deadline=deadline, allow_code_change=allow_code_change)
    else:
        run.retry_from(address, deadline=deadline, allow_code_change=allow_code_change)
    if not watch:
        _tell(run_id, run.state, as_json=as_json)
        return
    last = show_run(run)
    _tell(run_id, last.state, as_json=as_json)
    succeed_if_done(last)


@click.command()
@about_run
@click.option("--traceback", "with_traceback", is_flag=True, help="Show the traceback of each.")
@as_json
def errors(run_id: str, with_traceback: bool, as_json: bool) -> None:
    """Print every failed attempt of RUN, repeated ones too: address, attempt, error."""
    failures = client.Run[Any](run_id).errors()
    if as_json:
        click.echo(to_json([asdict(failure) for failure in failures]))
        return
    for failure in failures:
        text = f"{failure.type_name}: {failure.message}" if failure.message else failure.type_name
        line = f"{failure.address} attempt {failure.attempt}{'' if failure.stands else ', repeated'}: {text}"
        click.echo(plain(line))
        if with_traceback and failure.traceback:
            click.echo(plain(failure.traceback.rstrip()))


@click.command()
@as_json
def sweep(as_json: bool) -> None:
    """Sweep all active runs once, for cron, where no worker may be up for long.

    Give the work of lost workers back, send a message for each queue with work that is ready, and end runs that are
    past their deadline.
    """
    from dagcelery.worker.heartbeat import sweep_all  # late, since it imports Celery

    looked = sweep_all(client.default_client().app_context)
    if as_json:
        report = {"looked_at": looked.runs, "messages_sent": looked.wake_ups, "given_back": looked.given_back}
        click.echo(to_json(report))
        return
    counts = ((looked.runs, "run"), (looked.wake_ups, "message"), (looked.given_back, "piece"))
    runs, messages, pieces = (f"{count:,} {word}{'' if count == 1 else 's'}" for count, word in counts)
    click.echo(f"{runs} looked at, {messages} sent, {pieces} given back")


@click.group()
def cache() -> None:
    """Manage the results that tasks with cache= have kept."""


@cache.command()
@click.argument("task", metavar="TASK")
def clear(task: str) -> None:
    """Drop all results that TASK, named as module:function, has kept."""
    dropped = client.forget(task)
    click.echo(f"{dropped:,} result{'' if dropped == 1 else 's'} dropped")


def succeed_if_done(last: RunStatus | None) -> None:
    """Exit with 1 where a run was watched to an end that is not "done"."""
    if last is not None and last.state is not RunState.DONE:
        raise click.exceptions.Exit(1)


def _tell(run_id: str, state: RunState, *, as_json: bool) -> None:
    click.echo(to_json({"id": run_id, "state": str(state)}) if as_json else state)


_PIPE_WIDTH = 1_000
"""Columns where the output is not a terminal, so that nothing is cut off."""


@click.command(name="list")
@click.option("--dag", "name", metavar="NAME", help="Only runs of this DAG, such as pkg.mod:name.")
@click.option("--key", metavar="TEXT", help="Only runs that were submitted with this key.")
@click.option(
    "--since", type=Since(), metavar="TIME", help="Only newer runs: 2h, 30m or 7d ago, or an ISO date and time."
)
@click.option("--state", type=click.Choice([str(state) for state in RunState]), help="Only runs in this state.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many at most.")
@as_json
def list_runs(
    name: str | None,
    key: str | None,
    since: datetime | timedelta | None,
    state: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Print the newest runs, newest first: creation time, id, state, DAG and parameters."""
    runs = client.runs(name, state=state, key=key, since=since, limit=limit)
    if as_json:
        click.echo(to_json([run.to_dict() for run in runs]))
    elif sys.stdout.isatty():
        Console().print(_listing(runs))
    else:
        for run in runs:
            row = (moment(run.created), run.id, str(run.state), run.name, parameters(run.params, _PIPE_WIDTH))
            click.echo("\t".join(map(plain, row)))


@click.command()
@about_run
@click.option("--watch", is_flag=True, help="Show progress until the run has ended.")
@click.option("--tree", is_flag=True, help="With --json: a tree with the items of mapped DAGs and the nodes within.")
@as_json
def status(run_id: str, watch: bool, tree: bool, as_json: bool) -> None:
    """Print how far each node of RUN is, and why it waits.

    With --watch, the exit code is 0 only if the run ends as done.
    """
    if tree and not as_json:
        raise click.UsageError("--tree prints JSON; add --json")
    run = client.Run[Any](run_id)
    last = show_run(run) if watch else None
    if as_json:
        click.echo(to_json((run.tree() if tree else run.status()).to_dict()))
    elif not watch:
        console().print(table(run.status()))
    succeed_if_done(last)


@click.command()
@about_run
@click.option("--after", default="", metavar="POSITION", help="Begin after this event: a position that --json prints.")
@click.option("--started", is_flag=True, help="Print a line, too, when a piece is started.")
@as_json
def watch(run_id: str, after: str, started: bool, as_json: bool) -> None:
    """Follow RUN until it has ended: with progress bars on a terminal, else with a line for each event.

    The exit code is 0 only if the run ends as done.
    """
    run = client.Run[Any](run_id)
    if sys.stdout.isatty() and not as_json and not after and not started:
        succeed_if_done(show_run(run, console=Console()))
        return
    for event in run.events(after, started=started):
        click.echo(to_json(event.to_dict()) if as_json else line(event))
        sys.stdout.flush()
    succeed_if_done(run.status())


def console() -> Console:
    """Standard output; where it is not a terminal, lines are as long as they need to be."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)


def line(event: RunEvent) -> str:
    """Write an event as one line: when, what, where, and how long it took."""
    words = [moment(event.at), event.kind, event.address or event.state]
    if event.items > 1:
        words.append(f"{event.items:,} items")
    if event.attempt > 1:
        words.append(f"attempt {event.attempt}")
    if event.attempt and event.kind != "started":
        words.append(f"{event.seconds:.3f} s")
    if event.worker:
        words.append(event.worker)
    return plain(" ".join(word for word in words if word))


def _listing(runs: list[client.RunSummary]) -> Table:
    drawn = Table(box=None, show_header=False, pad_edge=False)
    for run in runs:
        drawn.add_row(
            Text(moment(run.created), "dim"),
            Text(plain(run.id)),
            Text(str(run.state), STYLES[run.state]),
            Text(plain(run.name)),
            Text("" if run.seconds is None else f"{run.seconds:.1f} s", "dim"),
            Text(plain(parameters(run.params, _MOST_CHARACTERS)), "dim", no_wrap=True, overflow="ellipsis"),
        )
    return drawn


_MOST_CHARACTERS = 80


def parameters(texts: Mapping[str, str], most: int) -> str:
    """Write parameters in one line of at most so many characters."""
    line = " ".join(f"{name}={text}" for name, text in texts.items())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def moment(seconds: float) -> str:
    """Write a time as an ISO date and time, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
