"""A run's graph as data, for whoever draws it: its nodes, the boxes that they lie in, and what follows what.

It is made of the plan, so it costs what the DAG is made of, however many items there are; of a run whose tasks make
graphs also of their plans, as far as they have been made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dagcelery import collector
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView
from dagcelery.planner.plan import JOINT, Plan, Step, level, step_of, tokens
from dagcelery.store.records import Scope

_RANKS: Final = {"order": 0, "item": 1, "data": 2}
"""Of two nodes that are connected in several ways the strongest is told: who needs all waits for all."""


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node of a run's graph. Its `address` is the name that `status()` gives it: ``train[*]/fit``.

    `kind` is "task", "mapped" (a task with items), "dag" (a nested DAG, which has no state of its own), "mapped dag",
    "branch", "dynamic" (a task that makes a graph) or "join" (it combines values, and calls nothing). `parent` is the
    address of the box that it lies in, "" at the top.
    """

    address: str
    label: str
    kind: str
    queue: str = ""
    taints: tuple[str, ...] = ()
    parent: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {name: getattr(self, name) for name in self.__slots__} | {"taints": list(self.taints)}


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """What a node waits for: it needs all of `source` ("data"), its own item of it ("item"), or its end ("order")."""

    source: str
    target: str
    kind: str

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {"from": self.source, "to": self.target, "kind": self.kind}


@dataclass(frozen=True, slots=True, repr=False)
class RunGraph:
    """The graph of a run: each node behind the box that it lies in, and behind what it waits for."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return {"nodes": [node.to_dict() for node in self.nodes], "edges": [edge.to_dict() for edge in self.edges]}

    def __repr__(self) -> str:
        return f"<RunGraph of {len(self.nodes)} nodes, {len(self.edges)} edges>"


def structure(control: RunControl, run_id: str) -> RunGraph:
    """Return the graph of a run as far as it is known. Raises RunNotFound."""
    record, view = control.record(run_id), control.view(run_id)
    view.look(record.epoch)
    with collector.paused():
        drawing = _Drawing()
        drawing.draw(view.program.plan)
        for first, scope in _grown(view):
            home = view.program.home(first)
            if home is not None:
                drawing.draw(home[0], view.path(scope), _around(view, scope))
        return RunGraph(tuple(drawing.nodes), tuple(drawing.edges))


def _grown(view: RunView) -> Iterator[tuple[int, Scope]]:
    """Yield the plans that pieces made while they ran: the number of each one's first body, and its scope."""
    if not view.program.may_grow:
        return
    progress = view.store.reader.progress(view.run_id)
    bodies = sorted(body for body in progress.scopes if not view.is_planned(body)) if progress else []
    for first, scope in view.scopes_of(bodies):
        yield first, view.scope(scope)


def _around(view: RunView, scope: Scope) -> str:
    """Return the address of the node whose piece made a graph, whichever item it was: ``train[*]/crawl``."""
    address = ""
    while True:
        outer = view.scope(scope.parent)
        name = view.program.node_name(outer.body, scope.step)
        if address:
            is_item = scope.index >= 0 and not view.program.is_branch(outer.body, scope.step)
            address = f"{name}{'[*]' if is_item else ''}/{address}"
        else:
            address = name
        home = view.program.home(outer.body)
        if home is None or home[1] == 0:  # the plan begins here, and its nodes have the path of this scope in front
            return view.path(outer) + address
        scope = outer


class _Drawing:
    """Draws plans into one graph."""

    def __init__(self) -> None:
        self.nodes: list[GraphNode] = []
        self.edges: list[GraphEdge] = []
        self._boxes: set[str] = set()

    def draw(self, plan: Plan, prefix: str = "", parent: str = "") -> None:
        """Draw a plan whose nodes have a prefix, into a box; each body behind the step that enters it."""
        above: dict[int, tuple[int, int]] = {}
        homes = {0: (prefix, parent)}
        waiting = [(0, iter(enumerate(plan.bodies[0].steps)))]
        while waiting:
            number, steps = waiting[-1]
            at, step = next(steps, (-1, None))
            if step is None:
                waiting.pop()
                continue
            here, box = homes[number]
            address = self._node(step, here, box)
            self._edges(plan, homes, above, number, step, address)
            if step.kind == "dag" and step.target not in homes:
                homes[step.target] = f"{address}{'' if 'branch' in step.options else '[*]'}/", address
                above[step.target] = number, at
                waiting.append((step.target, iter(enumerate(plan.bodies[step.target].steps))))

    def _node(self, step: Step, prefix: str, parent: str) -> str:
        """Draw a step, and before it the flattened DAGs that it lies in."""
        *dags, label = step.name.split("/")
        if dags and "branch" in step.options:  # the condition's name is no box
            label = f"{dags.pop()}/{label}"
        path = prefix
        for name in dags:
            path += name
            if path not in self._boxes:
                self._boxes.add(path)
                self.nodes.append(GraphNode(path, name, "dag", parent=parent))
            parent, path = path, f"{path}/"
        address = prefix + step.name
        taints = tuple(step.queue.split(JOINT)) if step.options.get("tainted") else ()
        self.nodes.append(GraphNode(address, label, _kind(step), step.queue, taints, parent))
        return address

    def _edges(
        self,
        plan: Plan,
        homes: Mapping[int, tuple[str, str]],
        above: Mapping[int, tuple[int, int]],
        number: int,
        step: Step,
        address: str,
    ) -> None:
        """Draw what a step waits for, in its own body and in those around it."""
        found: dict[str, str] = {}
        for token, kind in _read(step):
            up, name = level(token)
            body = number
            for _ in range(up):
                body = above.get(body, (-1, -1))[0]
            source = step_of(name)
            if source is not None and body >= 0:
                at = homes[body][0] + plan.bodies[body].steps[source].name
                found[at] = max(found.get(at, kind), kind, key=_RANKS.__getitem__)
        self.edges += [GraphEdge(source, address, kind) for source, kind in found.items()]


def _read(step: Step) -> Iterator[tuple[str, str]]:
    """Yield what a step reads and follows, as tokens, and how."""
    for _, expr in step.arguments:
        for token, reading in tokens(expr):
            yield token, "item" if reading == "each" and step.over is not None else "data"
    if step.over is not None:
        yield step.over, "item"
    yield from ((f"{other}.", "order") for other in step.after)


def _kind(step: Step) -> str:
    if step.kind == "dag":
        return "branch" if "branch" in step.options else "mapped dag"
    if step.kind == "gather":
        return "join"
    if "dynamic" in step.options:
        return "dynamic"
    return "task" if step.over is None else "mapped"
