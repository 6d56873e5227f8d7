"""What an action on a run would do, said before it is done: which nodes are executed, and how many items of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dagcelery.client.following import Feed
from dagcelery.client.places import find_place
from dagcelery.client.status import NodeStatus, RunStatus, run_status
from dagcelery.engine.run_control import RunControl
from dagcelery.errors import InvalidParameters, NotResumable
from dagcelery.text import choices, listed, shown

ACTIONS: Final = ("cancel", "resume", "retry", "delete")
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Preview:
    """What an action would do, as a sentence. `nodes` will be executed by it, some of them for the second time, and in
    all `items` of those that have items.
    """

    action: str
    will: str
    nodes: int = 0
    items: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {name: getattr(self, name) for name in self.__slots__}


def preview(control: RunControl, run_id: str, action: str, address: str) -> Preview:
    """Say what an action would do. Raises RunNotFound, NotResumable, InvalidParameters."""
    status = run_status(control, run_id)
    match action:
        case "cancel":
            return _cancel(status)
        case "resume":
            return _resume(status)
        case "retry":
            return _retry(control, status, address)
        case "delete":
            return _delete(status)
    raise InvalidParameters(f"action={shown(action)}", "cannot be previewed", choices(action, ACTIONS))


def _cancel(status: RunStatus) -> Preview:
    if status.state.is_end:
        return Preview("cancel", f"the run is {status.state}, and stays so")
    running = sum(node.running for node in status.nodes)
    unfinished = [node for node in status.nodes if _unfinished(node)]
    live = f"; {_count(running, 'piece')} that run now may still commit" if running else ""
    return Preview("cancel", f"{_nodes(unfinished)} will not be executed any further{live}")


def _delete(status: RunStatus) -> Preview:
    if not status.state.is_end:
        return Preview("delete", f"the run is {status.state}: cancel it first")
    return Preview("delete", "the run will be forgotten, with all its results, errors and files; it cannot be undone")


def _resume(status: RunStatus) -> Preview:
    if not status.state.is_end or status.state == "done":
        raise NotResumable(status.id, str(status.state))
    nodes = [node for node in status.nodes if _unfinished(node)]
    items = sum(_unfinished(node) for node in nodes if node.is_fan_out)
    failed = sum(node.failed for node in nodes)
    again = f", {_count(failed, 'piece')} that failed among them" if failed else ""
    return Preview("resume", f"{_executed(nodes, items)}{again}", len(nodes), items)


def _retry(control: RunControl, status: RunStatus, address: str) -> Preview:
    view = control.view(status.id)
    view.look(status.epoch)
    place = find_place(view, address)
    if not status.state.is_end:
        raise NotResumable(status.id, str(status.state))
    names, again = Feed(control, status.id, ""), dict[str, int]()
    for (body, step), pieces in control.store.reader.foreseen(status.id, [place]).items():
        if view.program.knows(body):
            name = names.node_name(view, body, step)
            again[name] = again.get(name, 0) + pieces
    # A graph that a piece made goes with it: which nodes the next one has is not known.
    nodes = [node for node in status.nodes if node.name in again or _unfinished(node)]
    items = sum(_pieces(node, again) for node in nodes if node.is_fan_out)
    first = [node for node in nodes if node.name in again]
    rest = len(nodes) - len(first)
    more = f"; and {_count(rest, 'node')} that {'was' if rest == 1 else 'were'} not done" if rest else ""
    return Preview(
        "retry",
        f"{_executed(first, sum(_pieces(node, again) for node in first if node.is_fan_out))} again{more}",
        len(nodes),
        items,
    )


def _pieces(node: NodeStatus, again: Mapping[str, int]) -> int:
    """How many pieces of a node will be executed: those that are cleared, and those that were not done anyway."""
    pieces = max(again.get(node.name, 0), _unfinished(node))
    return pieces if node.total is None else min(pieces, node.total)


def _unfinished(node: NodeStatus) -> int:
    """How many pieces of a node are not done; 1 where it is not known how many there will be."""
    return 1 if node.total is None else max(0, node.total - node.done - node.skipped)


def _executed(nodes: Iterable[NodeStatus], items: int) -> str:
    count = f" and {_count(items, 'item')}" if items else ""
    return f"{_nodes(nodes)}{count} will be executed"


def _nodes(nodes: Iterable[NodeStatus]) -> str:
    names = [node.name for node in nodes]
    return f"{_count(len(names), 'node')} ({listed(names, most=_NAMED)})" if names else "no node"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
