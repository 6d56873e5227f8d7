"""What one server carries: 64 simulated workers on several runs at once, without functions and without Celery.

``python -m bench.scale [--workers N] [--processes N] [--runs N] [--quick]``. A few processes play the workers in turn.
Each does what a real one does between two calls of functions: it takes a message, claims, finishes with a result that
was never computed and claims the next in the same call, and tells others as often as `engine.worker_loop` would.
Messages pass through a queue of this machine, so all that the server computes is the store's.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from rich.console import Console

from bench.floor import floor
from bench.ground import Ground
from bench.rows import WIDTH, Row, table
from dagcelery.client import plan_of
from dagcelery.engine.durations import BATCH_SECONDS, RANGE_TARGET_SECONDS
from dagcelery.local import Server
from dagcelery.planner.plan import DEFAULT_QUEUE, Plan
from dagcelery.planner.topology import topology
from dagcelery.settings import Settings
from dagcelery.store.protocol import Store
from dagcelery.store.records import CELL, TERMINAL, Block, Claim, ClaimRequest, NewRun, Response, TaskResult, Topology
from dagcelery.store.redis import store_on_redis

RESULT = b"x" * 56
BODY_SECONDS = 0.001
"""How long bodies are said to take, so that claims are as large as they would be; nobody waits for them."""
STANDSTILL_SECONDS = 30.0
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Outputs:
    """What a step stores: values, lists, and whether it is a fan-out, of which each item has a result."""

    values: tuple[str, ...]
    lists: tuple[str, ...]
    is_fan_out: bool


@dataclass(frozen=True)
class Graph:
    """A graph that runs are made of: its topology, the functions whose calls may come in a batch, what its steps store,
    and how many nodes and items it has.
    """

    topology: Topology
    functions: frozenset[str]
    outputs: Mapping[int, Outputs]
    params: tuple[str, ...]
    items: int
    size: int

    @classmethod
    def of(cls, plan: Plan, items: int = 0) -> Graph:
        """Read a plan; its fan-outs have so many items."""
        steps = plan.bodies[0].steps
        outputs = {number: _outputs(number, step.outputs, step.over is not None) for number, step in enumerate(steps)}
        size = sum(items if step.is_fan_out else 1 for step in outputs.values())
        params = tuple(f"${param.name}" for param in plan.bodies[0].params if param.whole)
        table = topology(plan)
        functions = frozenset(entry.function for entry in table[0].values() if entry.function and not entry.is_alone)
        return cls(table, functions, outputs, params, items, size)


def _outputs(number: int, outputs: Sequence[Any], is_fan_out: bool) -> Outputs:
    names = [(f"{number}.{position}", output.split) for position, output in enumerate(outputs)]
    values, lists = ([name for name, split in names if split is wanted] for wanted in (False, True))
    return Outputs(tuple(values), tuple(lists), is_fan_out)


def result_of(graph: Graph, claim: Claim) -> TaskResult:
    """Return what a piece could have given."""
    outputs = graph.outputs.get(claim.step)
    about: dict[str, Any] = {"started": time.time(), "seconds": BODY_SECONDS, "done": claim.hi}
    if outputs is None:
        return TaskResult(**about)
    if outputs.is_fan_out:
        return TaskResult(**about, blocks=_blocks(outputs.values, claim.lo, claim.hi, claim.attempt))
    values, lists = dict.fromkeys(outputs.values, RESULT), dict.fromkeys(outputs.lists, graph.items)
    return TaskResult(**about, values=values, lists=lists, blocks=_blocks(outputs.lists, 0, graph.items, claim.attempt))


def _blocks(tokens: Sequence[str], lo: int, hi: int, attempt: int) -> list[Block]:
    edges = sorted({lo, hi, *range(lo - lo % CELL + CELL, hi, CELL)})
    return [Block(token, a, b, attempt, RESULT) for token in tokens for a, b in itertools.pairwise(edges)]


@dataclass(frozen=True)
class Shared:
    """What all processes see: that all have started, messages, and by process what was done of each run and how many
    messages were sent.
    """

    started: Any
    messages: Any
    done: Any
    sent: Any
    ended: Any


Runs = Sequence[tuple[str, Graph]]


class Simulated:
    """One worker of many: at each step it makes one call to the store."""

    def __init__(self, owner: str, process: int, store: Store, runs: Runs, shared: Shared, slots: int) -> None:
        self._owner = owner
        self._process = process
        self._store = store
        self._runs = runs
        self._shared = shared
        self._settings = Settings()
        self._calls = itertools.count(1)
        self._slots = slots
        self._number = 0
        self._ready = 0
        self._claims: Sequence[Claim] = ()
        self._until = self._told_at = 0.0

    @property
    def is_free(self) -> bool:
        """Whether it waits for a message."""
        return not self._claims

    @property
    def _run(self) -> str:
        return self._runs[self._number][0]

    def arrive(self, number: int) -> None:
        """Take a message about a run."""
        self._number, self._ready, self._told_at = number, 0, time.perf_counter()
        self._until = self._told_at + self._settings.slice_seconds
        self._take(self._store.machine.claim(self._run, self._request(arrived=True)))

    def step(self) -> None:
        """Finish what is claimed, and claim more as long as the message lasts."""
        graph = self._runs[self._number][1]
        executed = [(claim, result_of(graph, claim)) for claim in self._claims]
        request = self._request() if time.perf_counter() < self._until else None
        token = request.token if request else self._token()
        response = self._store.machine.finish(self._run, executed, self._owner, token, request)
        at = self._process * len(self._runs) + self._number
        for claim in self._claims:
            if claim.step in graph.outputs:
                self._shared.done[at] += claim.hi - claim.lo if claim.lo >= 0 else 1
        self._take(response)
        if request is None:
            slots = self._slots
            self._send(self._store.machine.wake_ups(self._run, DEFAULT_QUEUE, slots, is_leaving=True))

    def _take(self, response: Response) -> None:
        self._claims, self._ready = response.claims, response.ready
        if response.run in TERMINAL:
            self._shared.ended[self._number] = 1
        if response.wake_ups is not None:
            self._told_at = time.perf_counter()
            self._send(response.wake_ups)

    def _send(self, wake_ups: int) -> None:
        self._shared.sent[self._process] += wake_ups
        for _ in range(wake_ups):
            self._shared.messages.put(self._number)

    def _token(self) -> str:
        return f"{self._owner}-{next(self._calls)}"

    def _request(self, *, arrived: bool = False) -> ClaimRequest:
        graph = self._runs[self._number][1]
        ranges, batch = int(RANGE_TARGET_SECONDS / BODY_SECONDS), int(BATCH_SECONDS / BODY_SECONDS)
        is_due = time.perf_counter() - self._told_at >= self._settings.handoff_seconds
        return ClaimRequest(
            queue=DEFAULT_QUEUE,
            owner=self._owner,
            token=self._token(),
            slots=self._slots,
            ranges={f"0.{step}": ranges for step, outputs in graph.outputs.items() if outputs.is_fan_out},
            short=dict.fromkeys(graph.functions, batch),
            message=f"m-{self._owner}",
            arrived=arrived,
            tells=self._ready > 0 and is_due,
        )


def play(url: str, process: int, workers: int, processes: int, runs: Runs, shared: Shared) -> None:
    """Let this process's share of the workers take steps in turn, until all runs are over."""
    store = store_on_redis(url)
    names = [f"worker-{number}:1" for number in range(process, workers, processes)]
    mine = [Simulated(name, process, store, runs, shared, workers) for name in names]
    store.ping()
    shared.started.wait()
    while not all(shared.ended):
        for worker in mine:
            if not worker.is_free:
                worker.step()
        free = [worker for worker in mine if worker.is_free]
        for worker in free:
            try:
                # A process with nothing else to do waits for a message, so that it does not turn idly.
                number = shared.messages.get(timeout=0.002) if len(free) == len(mine) else shared.messages.get_nowait()
            except queue.Empty:
                break
            worker.arrive(number)
    store.close()


@dataclass(frozen=True)
class Figures:
    """What a simulation showed. `spread` compares the runs when half of all was done: the most by the least; of all
    times in which a run waited for others and nothing of it was done, `longest_wait` is the longest, in seconds.
    """

    nodes: int
    seconds: float
    server_seconds: float
    messages: int
    spread: float
    longest_wait: float


def simulate(url: str, graph: Graph, *, runs: int, workers: int, processes: int) -> Figures:
    """Create runs of a graph, and let workers do them."""
    store, server = store_on_redis(url), redis.Redis.from_url(url)
    made = [(f"scale-{time.time_ns()}-{number}", graph) for number in range(runs)]
    values = dict.fromkeys(graph.params, RESULT)
    for run_id, _ in made:
        store.machine.create(NewRun(run_id, "scale", b"plan", graph.topology, values))
    empty = (SPAWN.Array("q", length, lock=False) for length in (processes * runs, processes, runs))
    shared = Shared(SPAWN.Barrier(processes + 1), SPAWN.Queue(), *empty)
    playing = [
        SPAWN.Process(target=play, args=(url, process, workers, processes, made, shared), daemon=True)
        for process in range(processes)
    ]
    for process in playing:
        process.start()
    shared.started.wait(STANDSTILL_SECONDS)
    before, started = _cpu(server), time.perf_counter()
    for number in range(runs):
        shared.messages.put(number)
    try:
        spread, longest = _watched(shared, runs, runs * graph.size)
        took = time.perf_counter() - started
    finally:
        for process in playing:
            process.join(5.0)
            process.kill()
    spent = _cpu(server) - before
    for run_id, _ in made:
        store.machine.delete(run_id)
    store.close()
    return Figures(runs * graph.size, took, spent, runs + sum(shared.sent), spread, longest)


def _watched(shared: Shared, runs: int, size: int) -> tuple[float, float]:
    """Wait for the end of all runs; return how their progress compared in the middle, and how long one waited."""
    spread, longest, last = 0.0, 0.0, [0] * runs
    moved = [time.monotonic()] * runs
    while not all(shared.ended):
        now, done = time.monotonic(), [sum(shared.done[run::runs]) for run in range(runs)]
        for run in range(runs):
            longest = max(longest, 0.0 if shared.ended[run] else now - moved[run])
            if done[run] > last[run]:
                moved[run] = now
        last = done
        if not spread and 2 * sum(done) >= size:
            spread = max(done) / max(1, min(done))
        if now - max(moved) > STANDSTILL_SECONDS:
            raise RuntimeError(f"{sum(done)} of {size} nodes are done, and nothing moves: {done} by run")
        time.sleep(0.002)
    return spread, longest


def _cpu(server: redis.Redis) -> float:
    used = server.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def graphs(quick: bool) -> dict[str, Graph]:
    """Return the graphs that are simulated."""
    from bench import loads  # it reads addresses when it is imported

    width, steps, items = (200, 10, 2_000) if quick else (1_000, 30, 10_000)
    return {
        f"wide, {width:,}": Graph.of(_plan(loads.independent.__dag__(width=width))),
        f"stencil, 32x{steps}": Graph.of(_plan(loads.stencil.__dag__(width=32, steps=steps))),
        f"map, {items:,} items": Graph.of(_plan(loads.map_reduce.__dag__()), items),
    }


def _plan(dag: Any) -> Plan:
    return plan_of(dag, queue=DEFAULT_QUEUE)


def measured(*, workers: int, processes: int, runs: int, quick: bool) -> Iterator[Row]:
    """Simulate each graph on a server of its own."""
    with Server() as server:
        client = redis.Redis.from_url(server.url)
        for name, graph in graphs(quick).items():
            about = f"{runs} x {name}, {workers} simulated workers"
            found = simulate(server.url, graph, runs=runs, workers=workers, processes=processes)
            lowest = min(floor(client, 1) for _ in range(2)) * 1e6
            each = found.server_seconds / found.nodes * 1e6
            goal = "" if graph.items else "<= 2 x"
            yield Row(about, found.nodes / found.seconds, "nodes/s")
            yield Row(f"server's CPU, {about}", each, "us a node", goal, "floor, 1 a call", lowest)
            yield Row(f"one Redis carries, {about}", 1e6 / each, "nodes/s of its CPU")
            yield Row(f"messages, {about}", found.messages / found.nodes, "a node")
            yield Row(f"progress of runs at half-time, {about}", found.spread, "most/least")
            yield Row(f"longest wait of a run, {about}", found.longest_wait, "s", "<= 2")


def rows(ground: Ground) -> Iterator[Row]:
    """Measure 64 simulated workers; the cluster of the other loads stands idle."""
    return measured(workers=64, processes=4, runs=4, quick=ground.quick)


def main() -> None:
    """Simulate, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--workers", type=int, default=64, help="how many workers are simulated")
    parser.add_argument("--processes", type=int, default=4, help="how many processes play them")
    parser.add_argument("--runs", type=int, default=4, help="how many runs there are at once")
    parser.add_argument("--quick", action="store_true", help="smaller graphs")
    options = parser.parse_args()
    Console(width=WIDTH).print(table(measured(**vars(options))))


if __name__ == "__main__":
    main()
