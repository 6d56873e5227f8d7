"""A run's status as plain text for people, where neither colours nor bars are: ``print(run.status())``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagcelery.runtime.results import NodeStatus, RunStatus

_WORDS = ("running", "retrying", "cached", "skipped", "failed")


def run_text(status: RunStatus) -> str:
    """Return a line for the run, and one for each node below it."""
    first = f"{status.name} {status.id} {status.state}"
    if words := status.failed or status.reason or status.why:
        first += f": {words}"
    rows = [(node.name, _counts(node), node.state, _last_word(node)) for node in status.nodes]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    lines = ["  ".join((*map(str.ljust, row, widths), row[3])).rstrip() for row in rows]
    return "\n".join([first, *(f"  {line}" for line in lines)])


def node_text(node: NodeStatus) -> str:
    """Return a node's line, such as ``square 3/10 1 running  running``."""
    return "  ".join(filter(None, (node.name, _counts(node), node.state, _last_word(node))))


def run_repr(status: RunStatus) -> str:
    """Return what a run is in a few words, for a debugger or a list of them."""
    over = sum(node.state in ("done", "skipped") for node in status.nodes)
    return f"<RunStatus {status.name} {status.id} {status.state}, {over} of {len(status.nodes)} nodes done>"


def node_repr(node: NodeStatus) -> str:
    """Return what a node is in a few words."""
    return f"<NodeStatus {' '.join(filter(None, (node.name, _counts(node), node.state)))}>"


def _counts(node: NodeStatus) -> str:
    if not node.is_fan_out and node.total <= 1:
        return "cached" if node.cached else ""
    total = f"{node.total:,}" if node.total or node.state == "done" else "?"
    others = [f"{number:,} {word}" for word in _WORDS if (number := getattr(node, word))]
    return " ".join([f"{node.done:,}/{total}", *others])


def _last_word(node: NodeStatus) -> str:
    if node.why:
        return node.why
    return f"{node.ended - node.started:.2f} s" if node.started and node.ended > node.started else ""
