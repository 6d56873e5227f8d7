"""What a page says of a run and of its nodes, as JSON-able data: it is served, or kept in a file."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from dagcelery.client.following import errors
from dagcelery.client.inspection import inspect, summary
from dagcelery.client.node import Look
from dagcelery.client.shown_values import run_result
from dagcelery.client.status import NodeStatus, RunStatus, run_status
from dagcelery.client.structure import RunGraph, structure
from dagcelery.client.tree import TreeNode
from dagcelery.engine.run_control import RunControl
from dagcelery.errors import BadSignature, DagceleryError, InvalidParameters
from dagcelery.text import nearest, shown

_MOST_ERRORS: Final = 100
_MOST_FUNCTIONS: Final = 200
_KEPT_NODES: Final = 150
_KEPT_EFFORT: Final = 200_000
"""What is kept of a node costs what the run is made of, so of large runs fewer are."""
_KEPT_ITEMS: Final = 500
_MOST_LOGS: Final = 100
_MOST_LINES: Final = 500

_USUAL: Final = {
    **dict.fromkeys(NodeStatus.__slots__),
    **dict.fromkeys(("total", "done"), 1),
    **dict.fromkeys(("running", "failed", "retrying", "skipped", "cached", "paused", "waiting", "stopped"), 0),
    **dict.fromkeys(("is_fan_out", "is_stuck"), False),
    "why": "",
    "is_over": True,
    "pieces": (),
    "state": "done",
    "seconds": None,
}
"""What is so of most nodes of a large run that is done."""

Json = dict[str, Any]


def whole(control: RunControl, run_id: str) -> Json:
    """Return all of a run that its page shows at first. Raises RunNotFound."""
    status = run_status(control, run_id)
    view = control.view(run_id)
    specs = [spec for spec in view.program.function_specs if spec.module][:_MOST_FUNCTIONS]
    result = run_result(view).to_dict() if status.state == "done" else None
    return {
        **run_and_nodes(status),
        "graph": _graph(structure(control, run_id)),
        "errors": [asdict(failure) for failure in errors(control, run_id, most=_MOST_ERRORS)],
        "code": {f"{spec.module}:{spec.qualname}": {"hash": spec.hash, "python": spec.python} for spec in specs},
        "result": result,
    }


def run_and_nodes(status: RunStatus) -> Json:
    """Return a status as the page takes it: the run, and its nodes without what is usual, which is told once."""
    told = replace(status, nodes=()).to_dict() | {"news": status.news}
    del told["nodes"]
    return {"run": told, "usual": _USUAL, "nodes": [_unusual(node) for node in status.nodes]}


def _unusual(node: NodeStatus) -> Json:
    """Return what of a node is not usual: of thousands of nodes most of what is told would be noughts."""
    told = {name: value for name, usual in _USUAL.items() if (value := getattr(node, name)) != usual}
    if node.pieces:
        told["pieces"] = [asdict(piece) for piece in node.pieces]
    return told


def _graph(graph: RunGraph) -> Json:
    """Return a graph as the page takes it: a box at the top, a task, and data that is needed are what is usual."""
    usual = {"kind": "task", "taints": [], "parent": ""}
    nodes = [
        {name: value for name, value in node.to_dict().items() if usual.get(name) != value} for node in graph.nodes
    ]
    edges = [edge.to_dict() for edge in graph.edges]
    for edge in edges:
        if edge["kind"] == "data":
            del edge["kind"]
    return {"nodes": nodes, "edges": edges}


def node(control: RunControl, run_id: str, address: str, first: int, limit: int, state: str | None) -> Json:
    """Return a node or an item, with some of its items. Raises RunNotFound, InvalidParameters."""
    if "[*]/" not in address:
        return inspect(control, run_id, address, first, limit, state).to_dict() | {
            "log": _log(control, run_id, address)
        }
    status = run_status(control, run_id)
    named = {node.name: node for node in status.nodes}
    if address not in named:
        remedy = nearest(address, named) or "give an address as status() shows it"
        raise InvalidParameters(f"node {shown(address)}", "does not exist", remedy)
    return summary(_as_tree(named[address]), address).to_dict() | {"log": []}


def _log(control: RunControl, run_id: str, address: str) -> list[str]:
    """Return the last lines that a place logged, all pieces together."""
    try:
        kept = Look(control, run_id, address).logs()
    except BadSignature:  # no key here has signed them
        return []
    return [line for each in kept[-_MOST_LOGS:] for line in each.lines][-_MOST_LINES:]


def _as_tree(node: NodeStatus) -> TreeNode:
    counts = ("total", "done", "running", "failed", "retrying", "skipped", "started", "ended", "pieces")
    return TreeNode(node.name, node.state, **{name: getattr(node, name) for name in counts})


def _kept_nodes(control: RunControl, run_id: str, told: Json) -> Iterator[tuple[str, Json]]:
    """Yield what there is to say of the nodes and items of a run, failed ones first, of up to 150 in all."""
    most = max(1, min(_KEPT_NODES, _KEPT_EFFORT // max(1, len(told["nodes"]))))
    failed = [error["address"] for error in told["errors"] if error["stands"]]
    names = [node["name"] for node in sorted(told["nodes"], key=lambda node: "failed" not in node)]
    for address in [*dict.fromkeys([*failed[: most // 2], *names])][:most]:
        with suppress(DagceleryError):  # it was taken back meanwhile
            yield address, node(control, run_id, address, 0, _KEPT_ITEMS, None)


def report(control: RunControl, run_id: str, links: Json | None = None) -> str:
    """Return the page of a run as one file."""
    from dagcelery.web import report  # late: few processes make pages

    told = whole(control, run_id) | {"now": time.time(), "links": links or {}}
    return report.report(told, dict(_kept_nodes(control, run_id, told)))


def save(control: RunControl, run_id: str, path: str | Path) -> Path:
    """Write the page of a run into a file, as a whole or not at all."""
    text, target = report(control, run_id), Path(path)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=target.parent, delete=False) as part:
        try:
            part.write(text)
            part.close()
            os.chmod(part.name, 0o644)
            os.replace(part.name, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(part.name)
            raise
    return target
