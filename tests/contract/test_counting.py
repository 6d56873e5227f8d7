"""How far a run is, is counted when somebody asks; the numbers are those of one moment, though read in portions."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery.store import counting
from dagcelery.store.keys import key
from dagcelery.store.protocol import Store
from dagcelery.store.records import Progress

from .moves import begun, body, chain, drain, new_run, state_after, step

ONCE, ITEMS, MAPPED = range(5), 5, 6
TOPOLOGY = [
    body(range(7), *(step() for _ in ONCE), step(x="$xs"), step(x="$ys", b=1)),
    body([0], step(s=[1]), step(1)),
]


def numbers(progress: Progress | None) -> dict[tuple[int, int], tuple[int, ...]]:
    assert progress is not None
    return {at: (each.total, each.done, each.running) for at, each in progress.counts.items() if any(each[1:3])}


@pytest.mark.parametrize("fields", [5, 500], ids=["many counters", "few counters"])
def test_what_is_done_while_a_run_is_read_is_not_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch, fields: int
) -> None:
    run_id, worker = begun(store, TOPOLOGY, lists={"$xs": 12, "$ys": 6})
    monkeypatch.setattr(counting, "_STEPS", 2)
    monkeypatch.setattr(counting, "_FIELDS", fields)
    monkeypatch.setattr(counting, "_EVENTS", 3)
    worker.delegate(worker.claim(focus=f"0/{MAPPED}", ranges={f"0.{MAPPED}": 6}))
    moved = 0

    def move() -> None:
        nonlocal moved
        claim = worker.ask().claim
        if claim is not None:
            delegating = claim.scope.body == 0 and claim.step == MAPPED
            worker.delegate(claim) if delegating else worker.finish(claim)
            moved += 1

    run, together = store.server.run, counting.together

    def busily(verb: str, *about: Any) -> Any:
        if verb == "counts":
            move()
        answer = run(verb, *about)
        if verb == "counts":
            move()
        return answer

    def together_busily(*about: Any) -> Any:
        answers = together(*about)
        move()
        return answers

    for focus in (None, "0/1", f"0/{ITEMS}"):
        worker.finish(worker.claim(**({"focus": focus} if focus else {})))
    while moved < 30 and state_after(store, run_id) == "running":
        quiet = numbers(store.reader.progress(run_id))
        with monkeypatch.context() as patched:
            patched.setattr(store.server, "run", busily)
            patched.setattr(counting, "together", together_busily)
            before, busy = moved, numbers(store.reader.progress(run_id))
        assert moved > before
        assert busy == quiet
    assert state_after(store, run_id) == "done"
    assert moved >= 20


def test_a_step_that_runs_once_leaves_no_counters(store: Store) -> None:
    run_id = new_run(store, chain(3))
    drain(store, run_id, chain(3))
    assert set(store.server.client.hgetall(key(run_id, "n"))) == {b"", b"0:scopes"}
    progress = store.reader.progress(run_id)
    assert progress is not None
    assert [progress.counts[0, at].done for at in range(3)] == [1, 1, 1]
    times = [progress.record.started, *(progress.counts[0, at].ended for at in range(3)), progress.now]
    assert times == sorted(times)


def test_the_times_of_a_step_are_by_the_clock_of_the_store(store: Store) -> None:
    run_id, worker = begun(store, chain(1))
    worker.finish(worker.claim(), started=1_000.0, seconds=0.0)
    progress = store.reader.progress(run_id)
    assert progress is not None
    assert progress.record.started <= progress.counts[0, 0].started <= progress.now
    assert store.reader.within(run_id, {"0": [0]})["0"][0].started == pytest.approx(progress.counts[0, 0].started)
