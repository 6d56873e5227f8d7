"""Of all attempts at a piece one commits; whoever comes later changes nothing."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from dagcelery.store.protocol import Store
from dagcelery.store.records import Claim, Lost

from .moves import Worker, begun, body, chain, name, new_run, nothing, results, state_after, step

FAN = [body([0], step(s=[1], x="$xs"), step(1))]


def picture(store: Store, run_id: str) -> object:
    """All that a verb might have changed, but for times."""
    progress = store.reader.progress(run_id)
    counts = {at: (c.total, c.running, c.done, c.failed) for at, c in progress.counts.items()}
    events = [(e.kind, e.piece, e.hi, e.attempt) for e in store.reader.events(run_id, "", 1000)]
    return counts, progress.scopes, progress.ready, progress.record.state, events


def test_finishing_twice_commits_once(store: Store) -> None:
    run_id, worker = begun(store, chain(2))
    claim = worker.claim()
    assert worker.finish(claim, values={"0.0": b"first"}).state == "committed"
    before = picture(store, run_id)
    reply = worker.finish(claim, values={"0.0": b"second"})
    assert (reply.state, reply.opened) == ("stale", [])
    assert picture(store, run_id) == before
    assert store.reader.values(run_id, "0", ["0.0"]) == [b"first"]


def test_a_stale_attempt_changes_nothing_but_may_claim_the_next_piece(store: Store) -> None:
    run_id = new_run(store, [body([0, 1], step(), step())])
    slow, fast = Worker(store, run_id, "worker-s:1"), Worker(store, run_id, "worker-f:1")
    lost = slow.claim()
    assert store.machine.sweep(run_id, Lost(["worker-s"]), 1).released == 1
    again = fast.claim(focus="0/0")
    assert (lost.attempt, again.attempt) == (1, 2)
    before = picture(store, run_id)
    for forged in (lost, replace(lost, attempt=2), replace(lost, attempt=7)):
        assert slow.finish(forged, values={"0.0": b"old"}, failure=b"old").state == "stale"
    assert picture(store, run_id) == before
    reply = slow.finish(lost, slow.want())
    assert (reply.state, reply.claim and name(reply.claim)) == ("stale", "1")
    assert fast.finish(again, values={"0.0": b"new"}).state == "committed"
    assert store.reader.values(run_id, "0", ["0.0"]) == [b"new"]


def test_a_sleeper_that_wakes_before_anybody_claims_may_still_commit(store: Store) -> None:
    run_id = new_run(store, FAN, lists={"$xs": 8})
    sleeper, other = Worker(store, run_id, "worker-s:1"), Worker(store, run_id)
    items = sleeper.claim(ranges={"0.0": 4})
    store.machine.sweep(run_id, Lost(["worker-s"]), 1)
    assert sleeper.finish(items, blocks=results(items)).state == "committed"
    assert sleeper.finish(items, blocks=results(items)).state == "stale"
    done = [g for g in other.pieces(FAN, nothing) if g.lo >= 0]
    assert sum(g.hi - g.lo for g in done) == 4
    assert min(g.lo for g in done) == 4
    assert state_after(store, run_id) == "done"
    run_id = new_run(store, chain(1))
    sleeper = Worker(store, run_id, "worker-s:1")
    claim = sleeper.claim()
    store.machine.sweep(run_id, Lost(["worker-s"]), 1)
    assert sleeper.finish(claim).run == "done"
    assert Worker(store, run_id).nothing()


def test_a_sleeper_commits_no_part_of_what_others_have_claimed(store: Store) -> None:
    for others in (["first"], ["second"], ["first", "second"]):
        run_id = new_run(store, FAN, lists={"$xs": 8})
        sleeper, other = Worker(store, run_id, "worker-s:1"), Worker(store, run_id)
        items = sleeper.claim(ranges={"0.0": 4})
        assert (items.lo, items.hi) == (0, 4)
        rest = other.claim(ranges={"0.0": 2}), other.claim(), other.claim()
        assert [g.hi for g in rest] == [6, 7, 8]
        store.machine.sweep(run_id, Lost(["worker-s"]), 1)
        taken = {"first": other.claim(ranges={"0.0": 2}), "second": other.claim(ranges={"0.0": 2})}
        for half in {"first", "second"} - set(others):
            store.machine.release(run_id, taken[half], other.owner)
        assert sleeper.finish(items, blocks=results(items)).state == "stale"
        for claim in (*rest, *(taken[half] for half in others)):
            assert other.finish(claim).state == "committed"
        list(other.pieces(FAN, nothing))
        progress = store.reader.progress(run_id)
        assert (progress.counts[0, 0].done, progress.record.state) == (8, "done")


def test_two_claimers_never_get_the_same_piece(store: Store) -> None:
    size = 300
    run_id = new_run(store, [body(range(101), *(step() for _ in range(100)), step(x="$xs"))], lists={"$xs": size})
    got: list[Claim] = []

    def work(number: int) -> None:
        worker = Worker(store, run_id, f"worker-{number}:1")
        while (claim := worker.ask(ranges={"0.100": 7}, slots=4).claim) is not None:
            got.append(claim)
            worker.finish(claim, values={f"{claim.step}.0": b"%d" % claim.step} if claim.lo < 0 else {})

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    seen = Counter((g.step, i) for g in got for i in (range(g.lo, g.hi) if g.lo >= 0 else [-1]))
    assert len(seen) == 100 + size
    assert set(seen.values()) == {1}
    assert state_after(store, run_id) == "done"
    assert list(store.reader.values(run_id, "0", ["0.0", "99.0"])) == [b"0", b"99"]


def test_a_released_piece_is_ready_again_and_spent_no_attempt(store: Store) -> None:
    run_id, worker = begun(store, FAN, lists={"$xs": 10})
    claim = worker.claim(ranges={"0.0": 4})
    store.machine.release(run_id, claim, worker.owner)
    progress = store.reader.progress(run_id)
    assert (progress.ready, progress.counts[0, 0].running) == ({"cpu": 1}, 0)
    again = worker.claim(ranges={"0.0": 4})
    assert (again.lo, again.hi, again.attempt) == (0, 4, 1)
    store.machine.release(run_id, again, "worker-x:1")
    assert worker.finish(again).state == "committed", "nobody else releases a claim"


def test_a_released_step_may_be_claimed_by_another(store: Store) -> None:
    run_id, worker = begun(store, chain(2))
    other = Worker(store, run_id, "worker-b:1")
    claim = worker.claim()
    store.machine.release(run_id, claim, worker.owner)
    again = other.claim()
    assert (again.step, again.attempt) == (0, 1)
    assert worker.finish(claim).state == "stale"
    assert other.finish(again).state == "committed"
    store.machine.release(run_id, claim, worker.owner)
    store.machine.release(run_id, again, other.owner)
    assert other.claim().step == 1


def test_a_failed_run_grants_nothing_but_live_pieces_commit(store: Store) -> None:
    run_id, worker = begun(store, [body([0, 1, 2], step(), step(s=[3]), step(), step(1))])
    other = Worker(store, run_id, "worker-b:1")
    failing, live = worker.claim(), other.claim()
    assert worker.finish(failing, worker.want(), failure=b"boom").run == "failed"
    assert worker.nothing()
    reply = other.finish(live, other.want(), values={"1.0": b"kept"})
    assert (reply.state, reply.run, reply.claim) == ("committed", "failed", None)
    assert store.reader.values(run_id, "0", ["1.0"]) == [b"kept"]
    assert store.reader.failures(run_id) == {"0/0": b"boom"}
    assert store.machine.wake_ups(run_id, "cpu", 8) == 0
    assert store.machine.sweep(run_id, Lost(["worker-a"]), 1).wake_ups == []


def test_the_first_failure_is_the_runs(store: Store) -> None:
    run_id, worker = begun(store, [body([0, 1], step(), step())])
    other = Worker(store, run_id, "worker-b:1")
    first, second = worker.claim(), other.claim()
    worker.finish(first, failure=b"one")
    other.finish(second, failure=b"two")
    record = store.reader.record(run_id)
    assert (record.state, record.failed) == ("failed", "0/0")
    assert store.reader.failures(run_id) == {"0/0": b"one", "0/1": b"two"}


def test_a_repeated_finish_of_many_successors_announces_each_once(store: Store) -> None:
    width = 1300
    run_id, worker = begun(store, [body([0], step(s=range(1, width + 1)), *(step(1) for _ in range(width)))])
    claim, want = worker.claim(), worker.want()
    worker.finish(claim, want)
    again = worker.finish(claim, want)
    assert again.claim is not None
    progress = store.reader.progress(run_id)
    assert (progress.ready, progress.counts[0, 0].done) == ({"cpu": width - 1}, 1)
