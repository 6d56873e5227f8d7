"""Whatever fails, dies, is skipped or resumed on the way: every piece is committed once, and the run ends as done."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagcelery.store.in_process import store_in_process
from dagcelery.store.protocol import Store
from dagcelery.store.records import HOOK, Block, Claim, Lost, PieceId, Response

from .moves import Body, Worker, hooked, outliving, results, retry
from .test_random_runs import Play, random_topology, replace_owner


class Troubled(Play):
    """Workers that also fail, die of what they do, and resume what is over."""

    def __init__(self, store: Store, choice: random.Random) -> None:
        self.trouble = 60
        self.hooks = 0
        self.skipped: set[str] = set()
        super().__init__(store, choice)

    def random_topology(self) -> list[Body]:
        topology, choice = random_topology(self.choice), self.choice
        for entry in (e for found in topology for name, e in found.items() if name.isdigit()):
            if choice.random() < 0.5:
                entry["r"] = retry(choice.randint(1, 3), limit=choice.random() < 0.5)
            if choice.random() < 0.3:
                entry["tl"] = 1.0
            if entry["x"] and choice.random() < 0.4:
                entry["ms"] = choice.choice([0.0, 0.5, 0.9])
        topology = outliving(*topology) if choice.random() < 0.5 else topology
        return hooked(*topology, queue=choice.choice(["cpu", "gpu"])) if choice.random() < 0.5 else topology

    def finish_as(self, owner: str) -> None:
        claim = self.held[owner]
        if claim.step == HOOK:
            self.call_hook(owner, claim)
        elif claim.scope.id in self.skipped:
            self.finish_for_nothing(owner, claim)
        elif claim.poisoned or (self.trouble and self.choice.random() < 0.4):
            self.fail(owner, claim)
        else:
            super().finish_as(owner)

    def finish_for_nothing(self, owner: str, claim: Claim) -> None:
        worker = replace_owner(self.worker(), owner)
        del self.held[owner]
        want = worker.want(**self.wanted(worker))
        outcome = self.choice.choice([worker.finish, worker.fail])
        reply = outcome(claim, want)
        assert reply.state == "stale"
        assert outcome(claim, want) == reply
        self.take(worker, reply)

    def call_hook(self, owner: str, claim: Claim) -> None:
        worker = replace_owner(self.worker(), owner)
        del self.held[owner]
        self.seen.append((worker.finish(claim).state, "hook"))
        self.hooks += 1

    def fail(self, owner: str, claim: Claim) -> None:
        """Fail at any item; the same call again is answered alike."""
        self.trouble -= self.trouble > 0
        del self.held[owner]
        worker = replace_owner(self.worker(), owner)
        at = self.choice.randint(claim.lo, max(claim.lo, claim.hi - 1)) if not claim.poisoned else claim.lo
        want = worker.want(**self.wanted(worker)) if self.choice.random() < 0.7 else None
        said: dict[str, Any] = {"retryable": not claim.poisoned and self.choice.random() < 0.7, "at": at}
        said["token"] = want.token if want else f"x{len(self.seen)}/{self.run_id}"
        if claim.lo >= 0:
            said["blocks"] = results(claim, at)
            said["markers"] = {claim.scope.id: [Block(f"{claim.step}.0", at, at + 1, claim.attempt, b"-")]}
        if claim.scope.parent:
            outer, at_outer = claim.scope.parent, claim.scope.index
            block = Block(f"{claim.scope.step}.0", at_outer, at_outer + 1, claim.attempt, b"-")
            said["markers"] = said.get("markers", {}) | {outer: [block]}
        reply = worker.fail(claim, want, **said)
        if self.choice.random() < 0.3:
            assert worker.fail(claim, want, **said) == reply
        assert reply.state in ("committed", "retried", "skipped")
        if reply.skipped and PieceId.parse(reply.skipped).scope != claim.scope.id:
            assert reply.skipped == f"{claim.scope.parent}/{claim.scope.step}/{claim.scope.index}"
            self.skipped.add(claim.scope.id)
            self.model.done.add((claim.scope.parent, claim.scope.step, claim.scope.index))
        elif claim.lo >= 0 and claim.items:
            self.model.commit(claim, at + bool(reply.skipped))
        self.old.append((worker, claim))
        self.take(worker, reply)

    def take(self, worker: Worker, reply: Response) -> None:
        assert reply.claim is None or reply.claim.scope.id not in self.skipped, "nothing of what was skipped is called"
        super().take(worker, reply)

    def die(self) -> None:
        workers = sorted({owner.split(":")[0] for owner in self.held})
        if not workers or self.deaths >= 8 or self.state() != "running":
            return
        worker = self.choice.choice(workers)
        lost = [owner for owner in self.held if owner.split(":")[0] == worker]
        self.deaths += 1
        found = Lost([worker], limited=self.choice.random() < 0.3)
        swept = self.store.machine.sweep(self.run_id, found, 1, self.choice.randint(1, 3))
        assert swept.released == len(lost)
        self.seen.append(("died", swept.run, sorted(queue for queue, _ in swept.poisoned)))
        for owner in lost:
            del self.held[owner]
            self.dead.add(owner)

    def cancel(self) -> None:
        if self.trouble and self.choice.random() < 0.05:
            self.seen.append(("cancelled", self.store.machine.end(self.run_id, "cancelled", "enough").run))

    def resume(self) -> None:
        """What was claimed in the last epoch may still be committed in this one, but for its hook."""
        if self.state() in ("failed", "cancelled") and self.choice.random() < 0.3:
            assert self.store.machine.resume(self.run_id)
            self.held = {owner: claim for owner, claim in self.held.items() if claim.step != HOOK}
            self.seen.append(("resumed", self.state()))

    def state(self) -> str:
        return self.store.reader.record(self.run_id).state

    def claim(self) -> None:
        self.cancel()
        self.resume()
        super().claim()

    def is_over(self) -> bool:
        return self.model.is_over() and self.state() == "done"


@given(st.integers(0, 2**32))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_stores_answer_alike_amid_failures(redis_store: Store, seed: int) -> None:
    on_redis = Troubled(redis_store, random.Random(seed))
    assert on_redis.play() == Troubled(store_in_process(), random.Random(seed)).play()
