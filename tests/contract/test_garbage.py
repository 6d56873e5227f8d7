"""Of a run that keeps nothing but its outputs, what nobody reads any more is freed; clearing makes it again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagcelery.store.in_process import store_in_process
from dagcelery.store.protocol import Store
from dagcelery.store.records import CLOSE, ROOT, START, Block, Claim, Spot, scope_id

from .between import between
from .moves import Body, begun, body, drain, new_run, results, step, whole
from .test_clearing import Cleared, again
from .test_random_runs import Piece


def keeping_outputs(*bodies: Body) -> list[Body]:
    return [bodies[0] | {"start": bodies[0]["start"] | {"kp": True}}, *bodies[1:]]


LINE = keeping_outputs(body([0], step(s=[1]), step(1, s=[2, 3], rd=[0]), step(1, rd=[1]), step(1, rd=[1], rt=1)))
MAPPED = keeping_outputs(
    body(
        [0],
        step(s=[1, 2]),
        step(1, x="0.1", se=[2], rd=[0]),
        step(x="0.1", e=1, b=1, s=[3], rd=[0, 1]),
        step(1, rd=[2], rt=1),
    ),
    body([0], step(s=[1]), step(1)),
)


def produce(claim: Claim) -> dict[str, Any]:
    """Every step puts out a whole value; the first one a list as well; scopes close into their items."""
    if claim.step == CLOSE:
        at = claim.scope.index
        return {"blocks": [Block(f"{claim.scope.step}.0", at, at + 1, claim.attempt, b"r")]}
    if claim.lo >= 0:
        return {} if claim.step == 2 else {"blocks": results(claim)}
    values = {f"{claim.step}.0": b"v"}
    if claim.step or claim.scope.id != ROOT:
        return {"values": values}
    blocks = [Block("0.1", 0, 2, claim.attempt, b"ab")]
    return {"values": values | {"0.1#": b"2"}, "lists": {"0.1": 2}, "blocks": blocks}


def there(store: Store, run_id: str, *tokens: str, scope: str = ROOT) -> list[bool]:
    return [value is not None for value in store.reader.values(run_id, scope, tokens)]


def test_what_its_last_reader_has_read_is_freed(store: Store) -> None:
    run_id, worker = begun(store, LINE)
    left = []
    for claim in worker.pieces(LINE, produce):
        store.machine.collect_garbage(run_id)
        left.append((claim.step, there(store, run_id, "0.0", "1.0", "2.0", "3.0")))
    store.machine.collect_garbage(run_id)
    assert left == [
        (0, [False, False, False, False]),
        (1, [True, False, False, False]),
        (2, [False, True, False, False]),
        (3, [False, True, False, False]),
    ]
    assert there(store, run_id, "0.0", "1.0", "2.0", "3.0") == [False, False, False, True]


def test_everything_is_kept_unless_the_run_says_otherwise(store: Store) -> None:
    topology = [body([0], *(LINE[0][str(number)] for number in range(4)))]
    run_id = new_run(store, topology)
    drain(store, run_id, topology, produce=produce)
    store.machine.collect_garbage(run_id)
    assert there(store, run_id, "0.0", "1.0", "2.0", "3.0") == [True] * 4
    store.machine.collect_garbage("nobody")


def test_lists_are_freed_and_their_lengths_are_kept(store: Store) -> None:
    run_id = new_run(store, MAPPED)
    drain(store, run_id, MAPPED, produce=produce)
    inner = scope_id(run_id, ROOT, 2, 0)
    assert there(store, run_id, "0.0", "1.0", scope=inner) == [True, True]
    store.machine.collect_garbage(run_id)
    assert there(store, run_id, "0.0", "0.1#", "3.0") == [False, True, True]
    for token in ("0.1", "1.0", "2.0"):
        assert not list(store.reader.blocks(run_id, ROOT, token, 0, 2))
    assert there(store, run_id, "0.0", "1.0", scope=inner) == [False, False]


def test_clearing_makes_again_what_was_freed_and_is_read(store: Store) -> None:
    run_id = new_run(store, LINE)
    drain(store, run_id, LINE, produce=produce)
    again(store, run_id, 3)
    assert drain(store, run_id, LINE, produce=produce) == ["3"], "nothing has been freed yet"
    store.machine.collect_garbage(run_id)
    again(store, run_id, 3)
    assert drain(store, run_id, LINE, produce=produce) == ["0", "1", "2", "3"]
    assert there(store, run_id, "0.0", "1.0", "2.0", "3.0") == [True] * 4
    store.machine.collect_garbage(run_id)
    assert there(store, run_id, "0.0", "1.0", "2.0", "3.0") == [False, False, False, True]


def test_of_large_values_no_key_is_left(redis_store: Store, raw: redis.Redis) -> None:
    run_id = new_run(redis_store, LINE)
    large = b"v" * 1_200_000
    drain(redis_store, run_id, LINE, produce=lambda claim: {"values": {f"{claim.step}.0": large}})
    before = _bytes(raw)
    redis_store.machine.collect_garbage(run_id)
    assert {name for name in raw.scan_iter() if b":x:" in name} == {f"dagcelery:{{{run_id}}}:x:0:3.0@1".encode()}
    assert before - _bytes(raw) > 3_000_000
    assert list(redis_store.reader.values(run_id, ROOT, ["3.0"])) == [large]


def _bytes(raw: redis.Redis) -> int:
    return sum(int(raw.memory_usage(name) or 0) for name in raw.scan_iter())


def test_who_looked_before_clearing_frees_nothing_after_it(redis_store: Store) -> None:
    run_id = new_run(redis_store, LINE)
    drain(redis_store, run_id, LINE, produce=produce)
    turns = iter([True])

    def slow(call: Callable[[], Any], verb: str, *_: Any) -> Any:
        if verb == "collect_garbage" and next(turns, False):
            assert redis_store.machine.clear(run_id, whole(3))
        return call()

    between(redis_store, slow).machine.collect_garbage(run_id)
    assert there(redis_store, run_id, "0.0", "1.0", "2.0") == [True] * 3


def test_who_dies_amid_freeing_leaves_it_to_the_next(redis_store: Store, raw: redis.Redis) -> None:
    run_id = new_run(redis_store, MAPPED)
    drain(redis_store, run_id, MAPPED, produce=produce)
    left = iter([1])

    def mortal(call: Callable[[], Any], verb: str, *_: Any) -> Any:
        if verb == "collect_garbage" and next(left, None) is None:
            raise InterruptedError
        return call()

    with pytest.raises(InterruptedError):
        between(redis_store, mortal).machine.collect_garbage(run_id)
    assert [name for name in raw.scan_iter() if b":b:" in name]
    redis_store.machine.collect_garbage(run_id)
    assert not [name for name in raw.scan_iter() if b":b:" in name]


# -- any graph, any moment ------------------------------------------------------------------------
class Collecting(Cleared):
    """Workers amid failures and clearings, which collect the garbage; whatever is granted finds its inputs."""

    def random_topology(self) -> list[Body]:
        topology = super().random_topology()
        entries = {int(name): entry for name, entry in topology[0].items() if name.isdigit()}
        for source, entry in entries.items():
            for reader in (*entry["s"], *entry["se"]):
                entries[reader].setdefault("rd", []).append(source)
            if self.choice.random() < 0.2:
                entry["rt"] = True
        return keeping_outputs(*topology)

    def claim(self) -> None:
        if self.choice.random() < 0.3:
            self.store.machine.collect_garbage(self.run_id)
        super().claim()

    def finish_as(self, owner: str) -> None:
        self.check_inputs(self.held[owner])
        super().finish_as(owner)

    def check_inputs(self, claim: Claim) -> None:
        """Every fan-out that the piece's step in the root scope reads has the results of all its items."""
        step = claim.step if claim.scope.id == ROOT else claim.scope.step
        if step in (START, CLOSE) or step < 0:
            return
        entries = self.topology[0]
        for source in entries[str(step)].get("rd", ()):
            size = self.model.size(ROOT, source)
            if size > 0 and "b" not in entries[str(source)] and self.model.is_complete(ROOT, source):
                blocks = self.store.reader.blocks(self.run_id, ROOT, f"{source}.0", 0, size)
                found = {item for block in blocks for item in range(block.lo, block.hi)}
                assert found >= set(range(size)), f"{claim.piece} finds nothing of step {source}"

    def is_entered_anew(self, scope: str) -> bool:
        """Of scopes that were closed, values are gone."""
        return self.around(scope) in self.model.done

    def also(self, scope: str, number: int) -> set[Piece]:
        """What was freed and is read again is executed again; nobody but the store knows what was freed."""
        if scope != ROOT:
            return set()
        read = self.model.entry(scope, number).get("rd", ())
        return {piece for source in set(read) & self.freed for piece in self.pieces(Spot(ROOT, source))}

    @property
    def freed(self) -> set[int]:
        fields = self.store.server.client.hkeys(f"dagcelery:{{{self.run_id}}}:s:0")
        return {int(name[:-2]) for name in fields if name.endswith(b":x")}


@pytest.mark.timeout(600)
@given(st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_nothing_is_freed_that_is_read_again(seed: int) -> None:
    Collecting(store_in_process(), random.Random(seed)).play()


@given(st.integers(0, 2**32))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_stores_free_alike(redis_store: Store, seed: int) -> None:
    on_redis = Collecting(redis_store, random.Random(seed))
    assert on_redis.play() == Collecting(store_in_process(), random.Random(seed)).play()
