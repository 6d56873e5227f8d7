"""Whatever the graph and the order of moves: every piece is committed once, in order, and the run ends."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagcelery.store.in_process import store_in_process
from dagcelery.store.protocol import Store
from dagcelery.store.records import CLOSE, START, Claim, Lost, Response

from .moves import Body, Worker, body, new_run, results, state_after, step

Piece = tuple[str, int, int]
"""Scope, step, and item; -1 for a step that runs once."""


def random_topology(choice: random.Random, inner: bool = False) -> list[Body]:
    """Up to 8 steps; some are fan-outs, some follow a fan-out item by item, one may be a nested DAG."""
    count = choice.randint(1, 4 if inner else 8)
    steps: list[dict[str, Any]] = []
    lists: list[str] = []
    nested: list[Body] = []
    for i in range(count):
        entry = step(q=choice.choice(["cpu", "gpu"]))
        over = choice.choice(["", "", *(["^$xs"] if inner else ["$xs", "$ys", "$none"])])
        entry["x"] = over
        followed = [j for j in range(i) if over and lists[j] == over and choice.random() < 0.5]
        waited = [j for j in range(i) if j not in followed and choice.random() < 0.4]
        for j in followed:
            steps[j]["se"].append(i)
        for j in waited:
            steps[j]["s"].append(i)
        entry["e"], entry["n"] = len(followed), len(waited)
        if over and not inner and not nested and choice.random() < 0.5:
            entry |= {"b": 1}
            nested = random_topology(choice, inner=True)
        steps.append(entry)
        lists.append(over)
    return [body([i for i, e in enumerate(steps) if not e["n"] and not e["e"]], *steps), *nested]


class Model:
    """What has been committed, by the plain rules of order."""

    def __init__(self, topology: list[Body], sizes: dict[str, int]) -> None:
        self.topology = topology
        self.sizes = sizes
        self.done: set[Piece] = set()
        self.bodies: dict[str, int] = {"0": 0}
        self.items: Counter[Piece] = Counter()

    def entry(self, scope: str, number: int) -> dict[str, Any]:
        return self.topology[self.bodies[scope]][str(number)]

    def size(self, scope: str, number: int) -> int:
        over = self.entry(scope, number)["x"]
        return self.sizes[over.lstrip("^")] if over else -1

    def is_complete(self, scope: str, number: int) -> bool:
        size = self.size(scope, number)
        wanted = [(scope, number, i) for i in range(size)] if size > 0 else [(scope, number, -1)]
        return self.done.issuperset(wanted)

    def may_run(self, claim: Claim) -> bool:
        """All that the granted piece waits for is committed."""
        scope = claim.scope.id
        steps = {int(name): e for name, e in self.topology[claim.scope.body].items() if name.isdigit()}
        if claim.step == CLOSE:
            return all(self.is_complete(scope, number) for number in steps)
        before = [number for number, e in steps.items() if claim.step in e["s"]]
        beside = [number for number, e in steps.items() if claim.step in e["se"]]
        return all(self.is_complete(scope, number) for number in before) and all(
            (scope, number, i) in self.done for number in beside for i in range(claim.lo, claim.hi)
        )

    def commit(self, claim: Claim, until: int) -> None:
        """Everything is committed once."""
        scope, number = claim.scope.id, claim.step
        if number == START:
            return
        pieces: list[Piece] = [(scope, number, i) for i in range(claim.lo, until)]
        if claim.lo < 0 or claim.items == 0:
            pieces = [(scope, number, -1)]
        if number == CLOSE:
            pieces = [(claim.scope.parent, claim.scope.step, claim.scope.index)]
        for piece in pieces:
            assert piece not in self.done, f"{piece} was committed twice"
            self.done.add(piece)

    def is_over(self) -> bool:
        return all(self.is_complete("0", int(name)) for name in self.topology[0] if name.isdigit())


class Play:
    """A few workers that make random moves, some of them wrong ones."""

    def __init__(self, store: Store, choice: random.Random) -> None:
        self.store, self.choice = store, choice
        self.topology = self.random_topology()
        sizes = {"$xs": choice.randint(0, 5), "$ys": choice.choice([1, 3, 9]), "$none": 0}
        self.model = Model(self.topology, sizes)
        self.run_id = new_run(store, self.topology, lists=sizes)
        self.held: dict[str, Claim] = {}
        self.old: list[tuple[Worker, Claim]] = []
        self.seen: list[tuple[Any, ...]] = []
        self.deaths = 0
        self.dead: set[str] = set()

    def random_topology(self) -> list[Body]:
        return random_topology(self.choice)

    def worker(self) -> Worker:
        number = self.choice.randint(0, 2)
        return Worker(self.store, self.run_id, f"worker-{number}:{self.deaths}", self.choice.choice(["cpu", "gpu"]))

    def wanted(self, worker: Worker) -> dict[str, Any]:
        ranges = {f"{b}.{s}": self.choice.randint(1, 9) for b in range(2) for s in range(8)}
        return {"ranges": ranges, "slots": self.choice.randint(1, 3), "token": f"t{len(self.seen)}/{self.run_id}"}

    def take(self, worker: Worker, reply: Response) -> None:
        claim = reply.claim
        shown = claim and (worker.owner, self.place(claim), claim.step, claim.lo, claim.hi, claim.attempt)
        self.seen.append((reply.state, reply.run, reply.ready, shown))
        if claim is None:
            return
        self.model.bodies.setdefault(claim.scope.id, claim.scope.body)
        assert self.model.may_run(claim), f"{claim.piece} came too early"
        for other in self.held.values():
            assert (other.scope.id, other.step) != (claim.scope.id, claim.step) or not (
                (other.lo < claim.hi and claim.lo < other.hi) or other.lo == claim.lo
            ), f"{claim.piece} is claimed twice"
        self.held[worker.owner] = claim

    def place(self, claim: Claim) -> tuple[int, int]:
        """A scope without its run's id, so that two runs can be compared."""
        return claim.scope.step, claim.scope.index

    def claim(self) -> None:
        worker = self.worker()
        if worker.owner in self.held:
            return
        want = worker.want(**self.wanted(worker))
        reply = self.store.machine.claim(self.run_id, want)
        if self.choice.random() < 0.2:
            assert self.store.machine.claim(self.run_id, want) == reply
        self.take(worker, reply)

    def finish(self) -> None:
        if self.held:
            self.finish_as(self.choice.choice(sorted(self.held)))

    def finish_as(self, owner: str) -> None:
        worker, claim = replace_owner(self.worker(), owner), self.held.pop(owner)
        want = worker.want(**self.wanted(worker)) if self.choice.random() < 0.7 else None
        token = want.token if want else f"f{len(self.seen)}/{self.run_id}"
        again = self.choice.random() < 0.2
        if claim.step >= 0 and "b" in self.model.entry(claim.scope.id, claim.step):
            reply = worker.delegate(claim, want, token=token)
            if again:
                assert worker.delegate(claim, want, token=token) == reply
            if claim.items == 0:
                self.model.commit(claim, 0)
        else:
            until = self.choice.randint(claim.lo, claim.hi) if claim.hi > claim.lo else claim.hi
            said: dict[str, Any] = {"blocks": results(claim, until)} if claim.lo >= 0 else {}
            reply = worker.finish(claim, want, token=token, done=until, **said)
            if again:
                assert worker.finish(claim, want, token=token, done=until, **said) == reply
            self.model.commit(claim, until)
        assert reply.state == "committed"
        self.old.append((worker, claim))
        self.take(worker, reply)

    def stale(self) -> None:
        if self.old:
            worker, claim = self.choice.choice(self.old)
            if worker.owner in self.held or worker.owner in self.dead:
                return
            forged = replace(claim, attempt=claim.attempt + self.choice.choice([0, 0, 1]))
            assert worker.finish(forged, failure=b"stale", done=forged.lo).state == "stale"

    def release(self) -> None:
        if self.held:
            owner = self.choice.choice(sorted(self.held))
            claim = self.held.pop(owner)
            for _ in range(self.choice.randint(1, 2)):
                self.store.machine.release(self.run_id, claim, owner)

    def die(self) -> None:
        workers = sorted({owner.split(":")[0] for owner in self.held})
        if workers and self.deaths < 3:
            worker = self.choice.choice(workers)
            lost = [owner for owner in self.held if owner.split(":")[0] == worker]
            self.deaths += 1
            assert self.store.machine.sweep(self.run_id, Lost([worker]), 1).released == len(lost)
            for owner in lost:
                del self.held[owner]
                self.dead.add(owner)

    def is_over(self) -> bool:
        return self.model.is_over()

    def play(self) -> list[tuple[Any, ...]]:
        moves = [self.claim, self.claim, self.finish, self.finish, self.finish, self.stale, self.release, self.die]
        for turn in range(20_000):
            if self.is_over():
                break
            (self.choice.choice(moves) if turn < 2000 else self.choice.choice(moves[:5]))()
        assert self.model.is_over(), "nothing is left to claim, and the run is not done"
        assert state_after(self.store, self.run_id, 0) == "done"
        progress = self.store.reader.progress(self.run_id)
        for (number, index), count in sorted(progress.counts.items()):
            self.seen.append((number, index, count.total, count.running, count.done, count.failed))
            assert count.running == 0
        return self.seen


def replace_owner(worker: Worker, owner: str) -> Worker:
    return Worker(worker.store, worker.run_id, owner, worker.queue)


@given(st.integers(0, 2**32))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_stores_answer_alike(redis_store: Store, seed: int) -> None:
    on_redis = Play(redis_store, random.Random(seed))
    assert on_redis.play() == Play(store_in_process(), random.Random(seed)).play()
