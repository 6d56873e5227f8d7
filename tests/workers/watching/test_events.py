"""Events tell what happens in a run while it happens, and go on from any position."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from itertools import islice
from pathlib import Path

import pytest

from dagcelery import Run, RunEvent, RunState, errors

from .conftest import SECONDS
from .vocabulary import breaks, grown, rows, squares, waits


def told(events: list[RunEvent]) -> list[tuple[str, str]]:
    return [(event.kind, event.address) for event in events]


def test_a_runs_events_name_each_piece_as_people_do() -> None:
    found = list(squares.submit(n=3).events())
    assert told(found)[:2] == [("created", ""), ("done", "numbers")]
    assert sorted(told(found)[2:5]) == [("done", "square[0]"), ("done", "square[1]"), ("done", "square[2]")]
    assert told(found)[5:] == [("done", "total"), ("ended", "")]
    assert found[-1].state == "done"
    assert {event.node for event in found if event.items} == {"numbers", "square", "total"}


def test_events_go_on_behind_any_position() -> None:
    run = squares.submit(n=3)
    found = list(run.events())
    for at, event in enumerate(found):
        assert list(run.events(after=event.position)) == found[at + 1 :]


def test_events_arrive_while_the_run_goes_on(tmp_path: Path) -> None:
    run = waits.submit(path=str(tmp_path / "it"))
    live = run.events()
    assert next(live).kind == "created"
    (tmp_path / "it").touch()
    assert next(live).address == "patient"
    assert list(live)[-1].kind == "ended"


def test_starts_are_told_while_pieces_run_to_those_who_ask(tmp_path: Path) -> None:
    run = waits.submit(path=str(tmp_path / "it"))
    live = run.events(started=True)
    assert next(live).kind == "created"
    started = next(live)
    assert (started.kind, started.address, started.attempt) == ("started", "patient", 1)
    (piece,) = run.status().nodes[0].pieces
    assert (piece.worker, piece.started) == (started.worker, started.at)
    (tmp_path / "it").touch()
    assert [(event.kind, event.worker) for event in live if event.address == "patient"] == [("done", started.worker)]
    assert next(iter(run.events(started=True, after=started.position))).kind == "started"


def test_events_so_far_end_at_once(tmp_path: Path) -> None:
    run = waits.submit(path=str(tmp_path / "it"))
    assert told(list(run.events(follow=False))) == [("created", "")]
    (tmp_path / "it").touch()
    run.wait(SECONDS)


def test_a_long_list_has_an_event_for_each_range() -> None:
    found = [event for event in squares.submit(n=1_500).events() if event.node == "square"]
    assert sum(event.items for event in found) == 1_500
    assert len(found) < 1_000
    longest = max(found, key=lambda event: event.items)
    first, last = longest.address.removeprefix("square[").removesuffix("]").split(":")
    assert int(last) - int(first) == longest.items


def test_nodes_that_a_run_has_grown_are_named_as_in_its_status() -> None:
    run = grown.submit(n=3)
    found = [event for event in run.events() if event.items]
    assert {event.node for event in found} == {node.name for node in run.status().nodes if node.done}
    assert ("grow[2]/rows/row[*]/square", "grow[2]/rows/row[1]/square[0]") in {(e.node, e.address) for e in found}


def test_what_was_grown_and_taken_back_is_told_without_its_name() -> None:
    run = grown.submit(n=3)
    run.wait(SECONDS)
    assert run.retry_from("grow").wait(SECONDS) is RunState.DONE
    found = [event.node for event in run.events() if event.items]
    assert "(taken back)" in found
    assert set(found) - {"(taken back)"} == {node.name for node in run.status().nodes if node.done}


def test_each_attempt_that_failed_has_an_event() -> None:
    found = list(breaks.submit(n=3).events())
    assert [(event.kind, event.attempt) for event in found if event.address == "fragile[2]"] == [
        ("retried", 1),
        ("failed", 2),
    ]
    # Not the last one for sure: another process may commit an item that it was at.
    assert [event.state for event in found if event.kind == "ended"] == ["failed"]


def test_events_of_mapped_dags_have_addresses_within() -> None:
    found = list(rows.submit(n=3).events())
    assert ("done", "row[2]/square[1]") in told(found)
    assert {event.node for event in found} >= {"row", "row[*]/square", "row[*]/total"}


def test_events_go_on_after_a_resume() -> None:
    run = breaks.submit(n=3)
    before = list(run.events())
    run.resume()
    after = list(run.events(after=before[-1].position))
    assert (after[0].kind, after[-1].state) == ("resumed", "failed")


def test_events_are_data() -> None:
    event = list(squares.submit(n=1).events())[1]
    assert event.to_dict() | {"position": "", "at": 0, "started": 0, "seconds": 0, "worker": ""} == {
        "position": "",
        "kind": "done",
        "at": 0,
        "node": "numbers",
        "address": "numbers",
        "items": 1,
        "attempt": 1,
        "started": 0,
        "seconds": 0,
        "state": "",
        "worker": "",
    }


def test_events_reach_an_event_loop() -> None:
    async def heard() -> list[RunEvent]:
        run = await squares.asubmit(n=3)
        return [event async for event in run.aevents()]

    assert Counter(event.node for event in asyncio.run(heard())) == {"": 2, "numbers": 1, "square": 3, "total": 1}


def test_an_event_loop_watches_many_runs_at_once(tmp_path: Path) -> None:
    """Far more than its executor has threads: whoever waits takes none."""
    watched = 40

    async def heard() -> list[str]:
        run = await waits.asubmit(path=str(tmp_path / "it"))
        begun = asyncio.Barrier(watched + 1)

        async def last() -> str:
            async with aclosing(run.aevents()) as events:
                first = await anext(events)
                await begun.wait()
                state = first.state
                async for event in events:
                    state = event.state
                return state

        watching = [asyncio.create_task(last()) for _ in range(watched)]
        await begun.wait()
        (tmp_path / "it").touch()
        return await asyncio.wait_for(asyncio.gather(*watching), SECONDS)

    assert asyncio.run(heard()) == ["done"] * watched


def test_whoever_leaves_early_leaves_nothing_behind() -> None:
    run = squares.submit(n=3)
    assert len(list(islice(run.events(), 2))) == 2

    async def first() -> str:
        async with aclosing(run.aevents()) as events:
            return (await anext(events)).kind

    assert asyncio.run(first()) == "created"


def test_a_deleted_run_ends_its_watchers(tmp_path: Path) -> None:
    run = waits.submit(path=str(tmp_path / "it"))
    live = run.events()
    next(live)
    run.delete()
    with pytest.raises(errors.RunNotFound):
        list(live)
    (tmp_path / "it").touch()


def test_an_unknown_run_has_no_events() -> None:
    with pytest.raises(errors.RunNotFound):
        list(Run[object]("nobody").events())


@pytest.mark.parametrize("after", ["yesterday", "1", 1, None, "٣-٣", f"{2**64}-0", f"0-{2**64}", "9" * 10_000 + "-0"])
def test_what_is_no_position_is_refused(after: object) -> None:
    run = squares.submit(n=1)
    with pytest.raises(errors.InvalidParameters, match="is not a position"):
        list(run.events(after=after))  # type: ignore[arg-type]
