"""How far a run is, is counted when somebody asks; the numbers are those of one moment, though read in portions."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery.store import counting
from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import Progress, TaskResult

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
    assert not [name for name in store.server.client.hgetall(Keys().run(run_id, "n")) if name.startswith(b"0.")]
    progress = store.reader.progress(run_id)
    assert progress is not None
    assert [progress.counts[0, at].done for at in range(3)] == [1, 1, 1]
    times = [progress.record.started, *(progress.counts[0, at].ended for at in range(3)), progress.now]
    assert times == sorted(times)


def test_times_are_by_the_clock_of_the_store_and_as_far_apart_as_the_worker_says(store: Store) -> None:
    run_id, worker = begun(store, [body([0, 1], step(), step())])
    first, last = (TaskResult(started=1_000.0, seconds=0.25), TaskResult(started=1_002.0, seconds=0.5))
    executed = [(worker.claim(), first), (worker.claim(), last)]
    store.machine.finish(run_id, executed, worker.owner, "token", None)
    progress = store.reader.progress(run_id)
    assert progress is not None
    times = [(each.started, each.ended) for each in (progress.counts[0, 0], progress.counts[0, 1])]
    end = progress.record.ended
    assert times[0] == pytest.approx((end - 2.5, end - 2.25), abs=1e-5)
    assert times[1] == (pytest.approx(end - 0.5, abs=1e-5), end)
    within = store.reader.within(run_id, {"0": [0, 1]})["0"]
    assert [(within[at].started, within[at].ended) for at in (0, 1)] == times
