"""Why a node waits, in a few words: for other nodes, for a worker of its queue, for its next attempt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dagcelery.errors import BadSignature
from dagcelery.planner.topology import topology
from dagcelery.runtime.engine import Engine
from dagcelery.runtime.reading import RunView
from dagcelery.store.protocol import Store
from dagcelery.store.records import RunRecord, Spot

if TYPE_CHECKING:
    from dagcelery.runtime.results import NodeStatus

Place = tuple[int, int]
"""A step of a body."""
Worker = Mapping[str, Any]
"""What a worker announces of itself."""

HELD = {
    "limit": "as many runs of this DAG are active as max_active_runs allows",
    "key": "its submitter has not let it start yet",
}
_NAMED = 3
_OVER = frozenset({"done", "skipped"})
_SPOTS = 100


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides whether a node may go on: what it waits for, who serves which queue, what is parked or due.

    `strangers` are the workers of each queue that lack the signing key of this run, whose id is `key`.
    """

    whole: Mapping[Place, Sequence[Place]]
    by_item: Mapping[Place, Sequence[Place]]
    parents: Mapping[int, Place]
    slots: Mapping[str, int]
    strangers: Mapping[str, Sequence[Worker]] = field(default_factory=dict)
    key: str = ""
    parked: frozenset[Place] = frozenset()
    due: Mapping[Place, float] = field(default_factory=dict)


def explained(
    engine: Engine, view: RunView, record: RunRecord, nodes: Mapping[Place, NodeStatus]
) -> Iterator[NodeStatus]:
    """The nodes with the reason why each of them waits; a run that is over waits for nothing."""
    if record.is_over or record.held or not any(_waits(node) for node in nodes.values()):
        yield from nodes.values()
        return
    around = _surroundings(engine, view, nodes)
    for place, node in nodes.items():
        why = reason(place, nodes, around) if _waits(node) else ""
        yield replace(node, why=why, due=around.due.get(place, 0.0))


def reason(place: Place, nodes: Mapping[Place, NodeStatus], around: Surroundings) -> str:
    """Why a node waits of which something is neither done nor being done."""
    node = nodes[place]
    missing = [nodes[other] for other in around.whole.get(place, ()) if nodes[other].state not in _OVER]
    seen = node.done + node.running + node.failed + node.retrying + node.skipped
    sources = [nodes[other] for other in around.by_item.get(place, ())]
    missing += [other for other in sources if other.state not in _OVER and other.done + other.skipped <= seen]
    if missing:
        return f"waits for {_named(missing)}"
    if not node.total and place[0] in around.parents:
        parent = nodes[around.parents[place[0]]]
        return f"waits for {'items of' if parent.is_fan_out else 'the choice of'} {parent.name}"
    if node.retrying and not node.waiting:
        return "waits for its next attempt"
    if place in around.parked:
        return "as many of its pieces are executed as may be at once"
    state = _of_queue(around.slots.get(node.queue, 0), around.strangers.get(node.queue, ()), around.key)
    return f"queue {node.queue}: {state}"


def _of_queue(slots: int, strangers: Sequence[Worker], key: str) -> str:
    """What is waited for on a queue; `strangers` are its workers that cannot read what this key sealed."""
    if not slots and not strangers:
        return "no live worker consumes it"
    if not slots:
        who = "the one worker that consumes it" if len(strangers) == 1 else f"all {len(strangers)} workers of it"
        return f"{who} {of_other_keys(strangers, key, 'this run')}"
    waits = f"waits for {'the one process' if slots == 1 else f'one of {slots} processes'} of it"
    if not strangers:
        return waits
    who = "another worker" if len(strangers) == 1 else f"{len(strangers)} other workers"
    return f"{waits}; {who} of it {of_other_keys(strangers, key, 'this run')}"


def holds(worker: Worker, key: str) -> bool:
    """Whether a worker can read what the key of this id sealed ("": none); one of an older version does not say."""
    keys = worker.get("keys")
    return keys is None or (key in keys if key else not keys)


def of_other_keys(workers: Sequence[Worker], key: str, whose: str) -> str:
    """Say that workers lack the key of something, or have one where it has none."""
    verb = "has" if len(workers) == 1 else "have"
    found = sorted({"+".join(map(str, worker["keys"])) for worker in workers})
    if found == [""]:
        return f"{verb} no signing key, and {whose} has one (id {key})"
    theirs = f"{verb} another signing key (id {' or '.join(each or 'none' for each in found)})"
    return f"{theirs} than {whose} (id {key})" if key else f"{verb} a signing key, and {whose} has none"


def _waits(node: NodeStatus) -> bool:
    return bool(node.waiting or node.retrying or (node.state == "waiting" and not node.total))


def _named(nodes: Sequence[NodeStatus]) -> str:
    names = [f"{node.name}, which failed" if node.state == "failed" else node.name for node in nodes[:_NAMED]]
    return "; ".join(names) + (f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else "")


def _surroundings(engine: Engine, view: RunView, nodes: Iterable[Place]) -> Surroundings:
    whole: dict[Place, list[Place]] = {}
    by_item: dict[Place, list[Place]] = {}
    parents: dict[int, Place] = {}
    for body in sorted({body for body, _ in nodes}):
        plan, number = view.program.home(body) or (view.program.plan, body)
        for name, entry in topology(plan)[number].items():
            if not name.isdigit():
                continue
            place = (body, int(name))
            for kind, found in (("s", whole), ("se", by_item)):
                for successor in entry.get(kind) or ():
                    found.setdefault((body, successor), []).append(place)
            if entry.get("b", -1) > 0:
                parents.setdefault(body - number + entry["b"], place)
    outstanding = engine.store.reader.outstanding(view.run_id)
    due: dict[Place, float] = {}
    for place, at in _placed(view, outstanding.retrying):
        due[place] = min(at, due.get(place, at))
    parked = frozenset(place for place, _ in _placed(view, outstanding.blocked))
    slots: dict[str, int] = {}
    strangers: dict[str, list[Worker]] = {}
    for queue, worker in _consumers(engine.store, engine.settings.dead_seconds):
        if holds(worker, view.sealed_by):
            slots[queue] = slots.get(queue, 0) + worker["slots"]
        else:
            strangers.setdefault(queue, []).append(worker)
    return Surroundings(whole, by_item, parents, slots, strangers, view.sealed_by, parked, due)


def live_slots(store: Store, dead_seconds: float) -> dict[str, int]:
    """How many processes of live workers consume each queue."""
    slots: dict[str, int] = {}
    for queue, worker in _consumers(store, dead_seconds):
        slots[queue] = slots.get(queue, 0) + worker["slots"]
    return slots


def _consumers(store: Store, dead_seconds: float) -> Iterator[tuple[str, Worker]]:
    """Each live worker with each queue that it consumes."""
    for worker in store.fleet.workers().values():
        if worker["age"] < dead_seconds:
            yield from ((queue, worker) for queue in worker["queues"])


def _placed(view: RunView, spots: Iterable[Spot]) -> Iterator[tuple[Place, float]]:
    """Where in the plan the first few spots are."""
    for _, spot in zip(range(_SPOTS), spots, strict=False):
        try:
            yield (view.scope(spot.scope).body, spot.step), spot.at
        except BadSignature:  # its scope was taken back meanwhile
            continue
