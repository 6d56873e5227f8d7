"""Steps that are to be executed again: they and what depends on them are as if never executed, all else stays done."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagcelery.local import Server
from dagcelery.store.in_process import store_in_process
from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import CLOSE, HOOK, ROOT, START, Block, Claim, Lost, Response, Scope, Spot, scope_id
from dagcelery.store.redis import store_on_redis

from .between import between
from .moves import (
    Worker,
    begun,
    body,
    chain,
    drain,
    hooked,
    new_run,
    pass_time,
    results,
    retry,
    state_after,
    step,
    whole,
)
from .test_lost_replies import _first_portion_only
from .test_random_failures import Troubled
from .test_random_runs import Piece

DIAMOND = [body([0], step(s=[1, 2]), step(1, s=[3]), step(1, s=[3]), step(2), step())]
MAPPED = [
    body([0, 1], step(s=[2], x="$xs", se=[2, 3]), step(), step(1, x="$xs", e=1, b=1, se=[3]), step(x="$xs", e=2)),
    body([0], step(s=[1]), step(1)),
]


def again(store: Store, run_id: str, *steps: int) -> None:
    assert store.machine.clear(run_id, whole(*steps))
    assert store.machine.resume(run_id)


def counts(store: Store, run_id: str) -> dict[tuple[int, int], tuple[int, int, int]]:
    progress = store.reader.progress(run_id)
    return {at: (c.total, c.running, c.done) for at, c in progress.counts.items() if c.total}


def state(store: Store, run_id: str) -> str:
    return store.reader.record(run_id).state


# -- what is executed again -----------------------------------------------------------------------
def test_a_step_of_a_done_run_and_what_depends_on_it_are_executed_again(store: Store) -> None:
    run_id = new_run(store, chain(4))
    drain(store, run_id, chain(4))
    again(store, run_id, 2)
    assert state(store, run_id) == "running"
    assert drain(store, run_id, chain(4)) == ["2", "3"]
    assert state_after(store, run_id) == "done"
    assert store.reader.record(run_id).epoch == 2


def test_what_follows_a_complete_fan_out_hears_of_all_its_items_again(store: Store) -> None:
    topology = [body([0], step(x="$xs", se=[1]), step(x="$xs", e=1))]
    run_id = new_run(store, topology, lists={"$xs": 700})
    ranges = {"0.0": 512, "0.1": 512}
    drain(store, run_id, topology, ranges=ranges)
    again(store, run_id, 1)
    pieces = list(Worker(store, run_id).pieces(topology, lambda claim: {}, ranges=ranges))
    assert {claim.step for claim in pieces} == {1}
    assert sorted(i for claim in pieces for i in range(claim.lo, claim.hi)) == list(range(700))
    assert state_after(store, run_id) == "done"


def test_an_empty_fan_out_is_told_of_again(store: Store) -> None:
    topology = [body([0], step(x="$xs", se=[1], s=[2]), step(x="$xs", e=1), step(1))]
    run_id = new_run(store, topology, lists={"$xs": 0})
    drain(store, run_id, topology)
    again(store, run_id, 1)
    assert drain(store, run_id, topology) == ["1[0:0]"]
    again(store, run_id, 0)
    assert sorted(drain(store, run_id, topology)) == ["0[0:0]", "1[0:0]", "2"]


def test_many_successors_are_told_in_portions(store: Store) -> None:
    width = 600
    topology = [body([0], step(s=range(1, width + 1)), *(step(1) for _ in range(width)))]
    run_id = new_run(store, topology)
    drain(store, run_id, topology)
    again(store, run_id, *range(1, width))
    assert len(drain(store, run_id, topology)) == width - 1
    again(store, run_id, 0)
    assert len(drain(store, run_id, topology)) == width + 1


def test_many_first_steps_are_told_in_portions(store: Store) -> None:
    topology = [body(range(600), *(step() for _ in range(600)))]
    run_id = new_run(store, topology)
    drain(store, run_id, topology)
    again(store, run_id, 3, 599)
    assert drain(store, run_id, topology) == ["3", "599"]
    assert state_after(store, run_id) == "done"


# -- what is gone ---------------------------------------------------------------------------------
def test_what_was_put_out_is_gone_and_the_rest_stays(store: Store) -> None:
    topology = [body([0], step(s=[1]), step(1, x="0.1", s=[2]), step(1))]
    run_id = new_run(store, topology)

    def produce(claim: Claim) -> dict[str, Any]:
        if claim.step == 1:
            return {"blocks": results(claim)}
        lists = {f"{claim.step}.1": 3}
        made = [Block(f"{claim.step}.1", 0, 3, claim.attempt, b"abc")]
        return {"values": {f"{claim.step}.0": b"v", f"{claim.step}.1#": b"3"}, "lists": lists, "blocks": made}

    drain(store, run_id, topology, produce=produce)
    assert store.machine.clear(run_id, whole(1))
    assert list(store.reader.values(run_id, ROOT, ["0.0", "0.1#", "2.0", "2.1#"])) == [b"v", b"3", None, None]
    assert [b.data for b in store.reader.blocks(run_id, ROOT, "0.1", 0, 3)] == [b"abc"]
    assert not list(store.reader.blocks(run_id, ROOT, "1.0", 0, 3))
    assert store.machine.resume(run_id)
    drain(store, run_id, topology, produce=produce)
    assert list(store.reader.values(run_id, ROOT, ["2.0"])) == [b"v"]


def test_scopes_are_gone_with_the_step_that_opened_them(store: Store) -> None:
    run_id = new_run(store, MAPPED, lists={"$xs": 2})
    drain(store, run_id, MAPPED)
    inner = scope_id(run_id, ROOT, 2, 1)
    assert store.reader.scope(run_id, inner) is not None
    assert store.machine.clear(run_id, whole(2))
    assert store.reader.scope(run_id, inner) is None
    progress = store.reader.progress(run_id)
    assert {at for at, c in progress.counts.items() if c.done} == {(0, 0), (0, 1)}
    assert not progress.scopes.get(1)


def test_nothing_of_large_values_stays_behind(redis_store: Store, raw: redis.Redis) -> None:
    topology = [body([0], step(s=[1]), step(1))]
    run_id = new_run(redis_store, topology)
    large = b"v" * 1_300_000
    drain(redis_store, run_id, topology, produce=lambda claim: {"values": {f"{claim.step}.0": large}})
    before = set(raw.keys())
    redis_store.machine.clear(run_id, whole(1))
    assert before - set(raw.keys()) >= {f"dagcelery:{{{run_id}}}:x:0:1.0@1".encode()}
    assert list(redis_store.reader.values(run_id, ROOT, ["0.0"])) == [large]


def test_failures_are_kept_as_those_of_earlier_attempts(store: Store) -> None:
    run_id, worker = begun(store, chain(2))
    worker.finish(worker.claim())
    worker.fail(worker.claim())
    assert state(store, run_id) == "failed"
    again(store, run_id, 0)
    assert dict(store.reader.failures(run_id)) == {"0/1@1": b"boom"}
    assert drain(store, run_id, chain(2)) == ["0", "1"]
    assert counts(store, run_id) == {(0, 0): (1, 0, 1), (0, 1): (1, 0, 1)}


def test_a_retry_that_was_waiting_does_not_come(store: Store) -> None:
    topology = [body([0, 1], step(r=retry(3, 1000.0)), step(s=[2]), step(1))]
    run_id, worker = begun(store, topology)
    worker.fail(worker.claim(), retryable=True)
    store.machine.end(run_id, "cancelled", "")
    again(store, run_id, 0)
    assert drain(store, run_id, topology) == ["0", "1", "2"]
    assert state_after(store, run_id) == "done"


def test_what_a_dead_worker_had_not_yet_told_is_told_once(redis_store: Store) -> None:
    width = 1200
    topology = [body([0], step(s=range(1, width + 1)), *(step(1) for _ in range(width)))]
    run_id = new_run(redis_store, topology)
    _first_portion_only(redis_store, run_id, Worker(redis_store, run_id).claim().attempt, "t")
    redis_store.machine.end(run_id, "cancelled", "")
    again(redis_store, run_id, 7, 1100)
    assert sorted(map(int, drain(redis_store, run_id, topology))) == list(range(1, width + 1))
    redis_store.machine.sweep(run_id, Lost(["worker-a"]), 1)
    assert not drain(redis_store, run_id, topology)
    assert state_after(redis_store, run_id) == "done"


# -- who comes late -------------------------------------------------------------------------------


def test_late_pieces_of_a_scope_that_is_gone_are_stale(store: Store) -> None:
    topology = [body([0], step(x="$xs", b=1)), body([0], step(x="^$xs", b=2)), body([0], step())]
    run_id, worker = begun(store, topology, lists={"$xs": 1})
    worker.delegate(worker.claim())
    mapped = worker.claim()
    late, deep = Worker(store, run_id, "worker-l:1"), Worker(store, run_id, "worker-l:2")
    worker.delegate(mapped)
    piece = deep.claim()
    store.machine.end(run_id, "cancelled", "")
    assert store.machine.clear(run_id, whole(0))
    for _ in range(2):
        assert deep.finish(piece).state == "stale"
        assert late.delegate(mapped).state == "stale"
        store.machine.release(run_id, piece, deep.owner)
        store.machine.resume(run_id)
    drain(store, run_id, topology)
    assert state_after(store, run_id) == "done"


def test_attempts_go_on_from_where_they_were(store: Store) -> None:
    """What an attempt stages carries its number: none is given twice, in a scope that is opened again neither."""
    topology = [body([0], step(x="$xs", b=1, s=[1]), step(1)), body([0], step(x="^$xs"))]
    run_id = new_run(store, topology, lists={"$xs": 1})

    def attempts() -> list[int]:
        return [claim.attempt for claim in Worker(store, run_id).pieces(topology, lambda claim: {})]

    assert attempts() == [1, 1, 1, 1]
    again(store, run_id, 0)
    assert attempts() == [2, 2, 2, 2]
    again(store, run_id, 0)
    worker = Worker(store, run_id, "worker-d:1")
    assert worker.claim().attempt == 3
    store.machine.sweep(run_id, Lost(["worker-d"]), 1)
    assert attempts() == [4, 3, 3, 3]
    again(store, run_id, 0)
    assert attempts() == [5, 4, 4, 4]


# -- when -----------------------------------------------------------------------------------------
def test_a_run_that_goes_on_or_is_not_there_cannot_be_cleared(store: Store) -> None:
    run_id = new_run(store, chain(2))
    assert not store.machine.clear(run_id, whole(0))
    assert not store.machine.clear("nobody", whole(0))
    drain(store, run_id, chain(2))
    assert not store.machine.resume(run_id), "it is done"
    assert not store.machine.clear(run_id, [])
    assert state(store, run_id) == "done"


def test_a_run_that_was_cleared_is_cancelled_until_it_is_resumed(store: Store) -> None:
    run_id = new_run(store, hooked(*chain(2)))
    drain(store, run_id, chain(2), only=True)
    drain(store, run_id, chain(2))
    assert store.machine.clear(run_id, whole(0))
    record = store.reader.record(run_id)
    assert (record.state, record.hook) == ("cancelled", "")
    assert "resume()" in record.reason
    assert Worker(store, run_id).nothing()
    assert store.machine.resume(run_id)
    assert drain(store, run_id, chain(2))[:2] == ["0", "1"]


def test_what_grants_say_of_the_era_rises(store: Store) -> None:
    run_id, worker = begun(store, chain(1), values={"$a": b"a"})
    want = worker.want()
    claim = store.machine.claim(run_id, want).claim
    assert claim.generation == 0
    worker.finish(claim)
    for era in (1, 2):
        again(store, run_id, 0)
        want = worker.want()
        reply = store.machine.claim(run_id, want)
        assert reply == store.machine.claim(run_id, want)
        assert reply.claim.generation == era
        worker.finish(reply.claim)


# -- any graph, any moment ------------------------------------------------------------------------
class Cleared(Troubled):
    """Workers amid failures, of whom somebody takes steps of runs back that are over."""

    def __init__(self, store: Store, choice: random.Random) -> None:
        self.clearings = 3
        self.scopes: dict[str, Scope] = {}
        super().__init__(store, choice)

    def claim(self) -> None:
        if self.clearings and self.state() not in ("pending", "running") and self.choice.random() < 0.3:
            self.clearings -= 1
            self.clear()
        super().claim()

    def take(self, worker: Worker, reply: Response) -> None:
        if reply.claim is not None:
            self.scopes[reply.claim.scope.id] = reply.claim.scope
        super().take(worker, reply)

    def clear(self) -> None:
        places = [spot for scope in [ROOT, *self.scopes] if self.is_there(scope) for spot in self.spots(scope)]
        wanted = self.choice.sample(places, self.choice.choice([1, 1, min(2, len(places))]))
        gone, undone = self.closure(wanted)
        assert self.store.machine.clear(self.run_id, wanted)
        self.model.done -= gone | undone
        self.skipped = {scope for scope in self.skipped if self.around(scope) not in gone}
        for owner, claim in list(self.held.items()):
            if claim.step == HOOK or self.is_lost(claim, gone, undone):
                self.old.append((replace_owner_of(self, owner), self.held.pop(owner)))
        self.seen.append(("cleared", [(self.at(p.scope), *p[1:]) for p in wanted], self.state()))

    def spots(self, scope: str) -> Iterator[Spot]:
        """Each step of a scope, and some items of each fan-out whose size is known."""
        for number in self.steps(scope):
            yield Spot(scope, number)
            size = self.model.size(scope, number)
            if size > 0:
                lo = self.choice.randrange(size)
                yield Spot(scope, number, lo, self.choice.randint(lo + 1, size))

    def steps(self, scope: str) -> list[int]:
        return sorted(int(name) for name in self.topology[self.model.bodies[scope]] if name.isdigit())

    def is_there(self, scope: str) -> bool:
        return scope == ROOT or self.store.reader.scope(self.run_id, scope) is not None

    def at(self, scope: str) -> Any:
        """The place of a scope, which is the same in another run."""
        around = self.scopes.get(scope)
        return around and scope != ROOT and (self.at(around.parent), around.step, around.index)

    def pieces(self, spot: Spot) -> set[Piece]:
        size = self.model.size(spot.scope, spot.step)
        is_open = self.store.server.client.hexists(f"dagcelery:{{{self.run_id}}}:s:{spot.scope}", f"{spot.step}:n")
        if spot.lo >= 0 and is_open:
            return {(spot.scope, spot.step, item) for item in range(spot.lo, spot.hi)}
        return {(spot.scope, spot.step, item) for item in (range(size) if size > 0 else [-1])}

    def closure(self, wanted: list[Spot]) -> tuple[set[Piece], set[Piece]]:
        """What goes by the plain rule, over and over until nothing is added; and what is not done any more."""
        gone: set[Piece] = {piece for spot in wanted for piece in self.pieces(self.widened(spot))}
        undone: set[Piece] = set()
        waiting = list(gone)
        while waiting:
            scope, number, item = waiting.pop()
            found: set[Piece] = set()
            entry = self.model.entry(scope, number)
            for reader in entry["s"]:
                found |= self.pieces(Spot(scope, reader))
            found |= {(scope, reader, item) for reader in entry["se"]}
            found |= self.also(scope, number)
            if "b" in entry and (scope, number, item) in gone:
                inner = scope_id(self.run_id, scope, number, item)
                if inner in self.model.bodies:
                    found |= {piece for step in self.steps(inner) for piece in self.pieces(Spot(inner, step))}
            if scope != ROOT:
                around = self.around(scope)
                if around not in undone:
                    undone.add(around)
                    waiting.append(around)
            waiting += found - gone
            gone |= found
        return gone, undone

    def around(self, scope: str) -> Piece:
        hangs = self.scopes[scope]
        return hangs.parent, hangs.step, hangs.index

    def widened(self, spot: Spot) -> Spot:
        """A place in a scope that is entered anew is its item."""
        while spot.scope != ROOT and self.is_entered_anew(spot.scope):
            spot = Spot(*(around := self.around(spot.scope)), around[2] + 1)
        return spot

    def is_entered_anew(self, scope: str) -> bool:
        return scope in self.skipped

    def also(self, scope: str, number: int) -> set[Piece]:
        """What else goes with a step."""
        return set()

    def is_lost(self, claim: Claim, gone: set[Piece], undone: set[Piece]) -> bool:
        scope, number = claim.scope, claim.step
        around = (scope.parent, scope.step, scope.index)
        if number in (START, CLOSE):
            return around in gone or (number == CLOSE and around in undone)
        items = range(claim.lo, claim.hi) if claim.hi > claim.lo else [-1]
        return any((scope.id, number, item) in gone for item in items)

    def play(self) -> list[tuple[Any, ...]]:
        seen = super().play()
        progress = self.store.reader.progress(self.run_id)
        assert progress is not None
        scopes = [ROOT, *(scope for scope in self.scopes if scope != ROOT and self.is_there(scope))]
        for scope in scopes[1:]:
            assert progress.scopes[self.model.bodies[scope]] == len(scopes) - 1
        totals: Counter[tuple[int, int]] = Counter()
        for scope in scopes:
            for number in self.steps(scope):
                totals[self.model.bodies[scope], number] += abs(self.model.size(scope, number))
        unknown = {self.model.bodies[scope] for scope in self.skipped}  # of a fan-out that did not begin one is skipped
        for place, total in totals.items():
            found = progress.counts[place]
            total = found.total if place[0] in unknown else total
            assert (found.total, found.done + found.skipped, found.failed, found.retrying) == (total, total, 0, 0)
        return seen

    def is_over(self) -> bool:
        return super().is_over() and not self.clearings


def replace_owner_of(play: Cleared, owner: str) -> Worker:
    return Worker(play.store, play.run_id, owner)


@given(st.integers(0, 2**32))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_stores_clear_alike(redis_store: Store, seed: int) -> None:
    on_redis = Cleared(redis_store, random.Random(seed))
    assert on_redis.play() == Cleared(store_in_process(), random.Random(seed)).play()


# -- the process that clears may die ----------------------------------------------------------------------
LONG = 3600.0
"""After so many seconds who clears a run is taken for dead, however often one died before."""


class Died(Exception):
    """The process that clears is gone."""


class Mortal:
    """Lets those that clear a run die, before or after one of their calls, until they have done so often enough."""

    def __init__(self, choice: random.Random) -> None:
        self.choice = choice
        self.deaths = 4

    def __call__(self, call: Callable[[], Any], verb: str, *_: Any) -> Any:
        if verb != "clear":
            return call()
        is_last = self.deaths > 0 and self.choice.random() < 0.2
        before = self.choice.random() < 0.5
        if is_last and before:
            raise Died
        answer = call()
        if self.choice.random() < 0.2:
            call()  # the reply was lost
        if is_last:
            raise Died
        return answer


class Repeating:
    """A machine that clears a run again when it has died of it."""

    def __init__(self, store: Store, mortal: Mortal) -> None:
        self._store, self._machine = store, store.machine
        self._mortal = mortal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)

    def clear(self, run_id: str, places: Any) -> bool:
        self._mortal.deaths = 4
        while True:
            try:
                return self._machine.clear(run_id, places)
            except Died:
                self._mortal.deaths -= 1
                pass_time(self._store, run_id, LONG)


@given(st.integers(0, 2**32))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_clearing_that_was_cut_short_anywhere_is_ended_by_the_next(redis_store: Store, seed: int) -> None:
    mortal = Mortal(random.Random(-seed))
    dying = between(redis_store, mortal)
    machine: Any = Repeating(dying, mortal)
    on_redis = Cleared(replace(dying, machine=machine), random.Random(seed))
    assert on_redis.play() == Cleared(store_in_process(), random.Random(seed)).play()


@pytest.mark.parametrize("calls", range(1, 6))
def test_resume_ends_a_clearing_that_was_cut_short(redis_store: Store, calls: int) -> None:
    run_id = new_run(redis_store, MAPPED, lists={"$xs": 2})
    first = drain(redis_store, run_id, MAPPED)
    first.remove("1")
    _cut_short(redis_store, run_id, 0, calls)
    assert state(redis_store, run_id) == "cancelled"
    assert redis_store.machine.resume(run_id)
    assert sorted(drain(redis_store, run_id, MAPPED)) == sorted(first)
    assert state_after(redis_store, run_id) == "done"


def test_while_it_is_cleared_nothing_commits(redis_store: Store) -> None:
    run_id, worker = begun(redis_store, DIAMOND)
    other = Worker(redis_store, run_id, "worker-b:1")
    worker.finish(worker.claim())
    claim = other.claim(focus="0/1")
    redis_store.machine.end(run_id, "cancelled", "")
    _cut_short(redis_store, run_id, 2, 3)
    assert other.finish(claim).state == "stale"
    assert redis_store.machine.resume(run_id)
    assert redis_store.machine.sweep(run_id, Lost(["worker-b"]), 1).released == 1
    assert sorted(drain(redis_store, run_id, DIAMOND)) == ["1", "2", "3"]


def test_who_seems_dead_is_overtaken_and_what_it_cleared_is_cleared(redis_store: Store, server: Server) -> None:
    run_id = new_run(redis_store, chain(4))
    drain(redis_store, run_id, chain(4))
    other = store_on_redis(server.url)
    turns = iter([False, False, True])

    def disturbed(call: Callable[[], Any], verb: str, *_: Any) -> Any:
        if verb == "clear" and next(turns, False):
            pass_time(other, run_id, LONG)
            assert other.machine.clear(run_id, whole(1))
        return call()

    assert between(redis_store, disturbed).machine.clear(run_id, whole(2))
    assert redis_store.machine.resume(run_id)
    assert drain(redis_store, run_id, chain(4)) == ["1", "2", "3"]
    other.close()


def test_who_clears_a_run_is_left_alone_and_clears_what_others_add(store: Store) -> None:
    """However long it takes: of two that went on to take over from each other none would come to an end."""
    run_id = new_run(store, chain(4))
    drain(store, run_id, chain(4))
    turns, acts = iter([False, False, True]), list[str]()

    def impatient(call: Callable[[], Any], *_: Any) -> Any:
        if json.loads(call()[0]).get("busy"):
            raise Died
        raise AssertionError("it has taken over")

    def disturbed(call: Callable[[], Any], verb: str, _: str, request: Any, *__: Any) -> Any:
        if verb == "clear" and next(turns, False):
            for _ in range(3):
                with pytest.raises(Died):
                    between(store, impatient).machine.clear(run_id, whole(1))
            mark = store.server.client.hget(Keys().run(run_id), "clearing")
            assert mark.count(b"[") == 1 + 2, "each place is there once"
        acts.append(request["act"])
        return call()

    assert between(store, disturbed).machine.clear(run_id, whole(2))
    assert acts.count("begin") == acts.count("finish") == 2
    assert store.machine.resume(run_id)
    assert drain(store, run_id, chain(4)) == ["1", "2", "3"]


def test_who_waits_is_content_when_the_other_has_cleared_its_places(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = new_run(store, chain(4))
    drain(store, run_id, chain(4))
    _cut_short(store, run_id, 2, 3)
    pass_time(store, run_id, -LONG)

    def go_on(_: float) -> None:
        pass_time(store, run_id, LONG)
        assert store.machine.clear(run_id, ())

    monkeypatch.setattr("dagcelery.store.clearing.time.sleep", go_on)
    assert store.machine.clear(run_id, whole(1))
    assert store.machine.resume(run_id)
    assert drain(store, run_id, chain(4)) == ["1", "2", "3"]


def _cut_short(store: Store, run_id: str, step: int, calls: int) -> None:
    """Clear a step, and die after so many calls."""
    left = iter(range(calls))

    def mortal(call: Callable[[], Any], *_: Any) -> Any:
        if next(left, None) is None:
            raise Died
        return call()

    with pytest.raises(Died):
        between(store, mortal).machine.clear(run_id, whole(step))
    pass_time(store, run_id, LONG)
