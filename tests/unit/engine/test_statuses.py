"""What a status says of errors, ends and claims, and that it trusts none of what is stored."""

from __future__ import annotations

import pytest
from workers.watching.vocabulary import breaks, rows, squares

from dagcelery import errors
from dagcelery.client import following, lifecycle
from dagcelery.client.activity import alive
from dagcelery.client.status import run_status
from dagcelery.store.keys import Keys
from dagcelery.store.records import Outstanding, Spot

from .worlds import World


def test_the_error_of_a_failed_run_is_in_its_first_line() -> None:
    world = World()
    run_id = world.ended(breaks, n=4)
    status = run_status(world.client, run_id)
    assert (status.failed, status.error) == ("fragile[2]", "ValueError: 2")
    assert str(status).splitlines()[0].endswith(f" {run_id} failed: fragile[2]: ValueError: 2")
    assert status.to_dict()["error"] == "ValueError: 2"


def test_an_error_that_no_key_has_signed_is_not_shown() -> None:
    world = World()
    run_id = world.ended(breaks, n=4)
    record = world.store.reader.record(run_id)
    assert record is not None
    world.store.server.client.hset(
        Keys().run(run_id, "f"), record.failed, b'{"type": "Lie", "message": "", "traceback": ""}'
    )
    assert run_status(world.client, run_id).error.startswith("its error cannot be shown: ")


def test_every_node_of_a_done_run_has_its_end_and_nothing_that_is_not_yet_is_a_number() -> None:
    world = World()
    run_id = world.submit(rows, n=3)
    before = run_status(world.client, run_id).to_dict()
    assert {before["started"], before["ended"], before["deadline"], before["seconds"]} == {None}
    row = next(node for node in before["nodes"] if node["name"] == "row")
    assert {row[name] for name in ("total", "started", "ended", "due", "waiting", "seconds")} == {None}
    world.settle()
    status = run_status(world.client, run_id)
    for node in status.nodes:
        assert status.started is not None
        assert status.ended is not None
        assert node.started is not None
        assert node.ended is not None
        assert status.started <= node.started <= node.ended <= status.ended


def test_the_time_after_an_end_is_no_part_of_what_a_node_took() -> None:
    world = World(slice_seconds=1e-9)
    run_id = world.submit(squares, n=4)
    while run_status(world.client, run_id).nodes[1].done != 2:
        world.deliver(world.post.waiting.pop())
    world.store.machine.end(run_id, "cancelled", "")
    node = run_status(world.client, run_id).nodes[1]
    assert (node.state, node.stopped, node.ended) == ("stopped", 2, run_status(world.client, run_id).ended)
    lifecycle.resume(world.client, run_id, None, allow_code_change=True)
    world.settle()
    node = run_status(world.client, run_id).nodes[1]
    assert node.started is not None
    assert node.ended is not None
    assert node.seconds == pytest.approx(node.ended - node.started - node.paused)
    assert node.paused > 0


def test_what_a_silent_worker_has_claimed_does_not_run() -> None:
    world = World()
    found = Outstanding(claimed=[Spot("0", 0, at=100.0, owner="gone:1"), Spot("0", 0, 0, 0, at=999.0)])
    assert alive(world.client, found, 105.0).claimed == found.claimed[:1]
    assert alive(world.client, found, 1000.0).claimed == []
    world.store.fleet.heartbeat("gone", ["celery"], 1)
    assert alive(world.client, found, 1000.0).claimed == found.claimed[:1]


def test_who_waits_in_vain_without_the_key_is_told_no_reasons() -> None:
    world = World()
    run_id = world.submit(squares, n=4)
    stranger = world.engine("stranger", key="another key")
    with pytest.raises(errors.ResultTimeout, match="had no result after 0 s; the run goes on"):
        following.result(stranger, run_id, 0)
    with pytest.raises(errors.ResultTimeout, match=r"it is pending \(numbers: no worker listens to queue celery"):
        following.result(world.client, run_id, 0)


@pytest.mark.parametrize("error", [errors.PlanVersionUnsupported(99, 1), errors.BadSignature("a plan", "why")])
def test_who_waits_in_vain_is_told_so_whatever_keeps_the_reasons_from_being_read(
    error: errors.DagceleryError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    world = World()
    run_id = world.submit(squares, n=4)
    monkeypatch.setattr(following, "run_status", refuse)
    with pytest.raises(errors.ResultTimeout, match="had no result after 0 s; the run goes on"):
        following.result(world.client, run_id, 0)
    monkeypatch.setattr(following, "run_status", lambda *_: world.client.record("gone"))
    with pytest.raises(errors.RunNotFound):
        following.result(world.client, run_id, 0)
