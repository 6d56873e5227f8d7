"""What pieces have logged comes with their outcome, is kept with the run, and never fills the store."""

from __future__ import annotations

import redis

from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import Block, Child, Logged, Lost, Response, Spot, TaskResult

from .conftest import check_keys
from .moves import Worker, begun, body, chain, elements, outliving, retry, step

LARGE = b"l" * 200_000
"""Of such texts 20 are kept."""


def kept(store: Store, run_id: str) -> dict[Logged, bytes | None]:
    names = store.reader.logged(run_id)
    return dict(zip(names, store.reader.logs(run_id, names), strict=True))


def logged(step: int, attempt: int = 1) -> Logged:
    return Logged("0", step, -1, -1, attempt, 0)


def mapped(store: Store, items: int) -> tuple[str, Worker]:
    data = elements("$xs", [b"e"] * items)
    return begun(store, outliving(body([0], step(x="$xs"))), lists={"$xs": items}, blocks=data)


def test_what_each_attempt_has_logged_is_kept_once(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(r=retry(2)))])
    first = worker.claim()
    for _ in range(2):  # the reply was lost
        worker.fail(first, token="one", retryable=True, values={"0.9": b"v"}, log=b"tried")
    worker.finish(worker.claim(), values={"0.0": b"v"}, log=b"done")
    assert kept(store, run_id) == {logged(0): b"tried", logged(0, 2): b"done"}


def test_pieces_that_are_committed_together_have_texts_of_their_own(store: Store) -> None:
    steps = [step(s=[3], f="f") for _ in range(3)]
    run_id, worker = begun(store, [body([0, 1, 2], *steps, step(3, needs=["1.0"]))])
    claims = [worker.claim() for _ in range(3)]
    said = [TaskResult({f"{at}.0": b"v%d" % at}, log=b"log %d" % at if at != 1 else b"") for at in range(3)]
    worker.store.machine.finish(run_id, list(zip(claims, said, strict=True)), worker.owner, "t", None)
    assert kept(store, run_id) == {logged(0): b"log 0", logged(2): b"log 2"}
    assert worker.claim().values == {"1.0": b"v1"}


def test_a_range_has_one_text_and_markers_of_its_failed_item_are_still_found(store: Store) -> None:
    data = elements("$xs", [b"e"] * 8)
    run_id, worker = begun(store, [body([0], step(x="$xs", ms=0.5))], lists={"$xs": 8}, blocks=data)
    claim = worker.claim(ranges={"0.0": 4})
    marker = Block("0.0", 1, 2, claim.attempt, b"-")
    done = [Block("0.0", 0, 1, claim.attempt, b".")]
    reply: Response = worker.fail(claim, at=1, blocks=done, markers={"0": [marker]}, log=b"of two items")
    assert reply.state == "skipped"
    assert kept(store, run_id) == {Logged("0", 0, 0, 4, 1, 0): b"of two items"}
    assert [block.data for block in store.reader.blocks(run_id, "0", "0.0", 0, 2)] == [b".", b"-"]


def test_an_attempt_that_was_overtaken_leaves_no_text(store: Store) -> None:
    run_id, slow = begun(store, chain(1))
    fast, lost = Worker(store, run_id, "worker-f:1"), slow.claim()
    store.machine.sweep(run_id, Lost(["worker-a"]), 1)
    again = fast.claim()
    assert slow.finish(lost, values={"0.0": b"v"}, log=b"late").state == "stale"
    fast.finish(again, values={"0.0": b"v"}, log=b"right")
    assert kept(store, run_id) == {logged(0, 2): b"right"}


def test_a_piece_that_opens_scopes_has_logged_before(store: Store) -> None:
    lists = {"lists": {"$xs": 1}, "blocks": elements("$xs", [b"e"])}
    run_id, worker = begun(store, [body([0], step(x="$xs", b=1)), body([0], step())], **lists)
    claim, children = worker.claim(), [Child(0, {"$x": b"v"})]
    for _ in range(2):
        store.machine.delegate(run_id, claim, children, worker.owner, "token", None, b"before")
    assert kept(store, run_id) == {Logged("0", 0, 0, 1, 1, 0): b"before"}
    assert store.reader.values(run_id, worker.claim().scope.id, ["$x"]) == [b"v"]


def test_of_more_than_there_is_room_for_the_newest_are_kept_and_the_first_that_failed(store: Store) -> None:
    run_id, worker = mapped(store, 70)
    for number in range(70):
        outcome = worker.fail if number % 2 else worker.finish
        outcome(worker.claim(), log=b"%05d" % number + LARGE)
    texts = sorted(int(text[:5]) for text in kept(store, run_id).values() if text)
    failed, done = [n for n in texts if n % 2], [n for n in texts if n % 2 == 0]
    assert failed[:20] == list(range(1, 41, 2))
    # The others that failed are among the newest.
    assert sorted([*failed[20:], *done]) == [n for n in range(70) if n % 2 == 0 or n > 40][-20:]


def test_of_a_thousand_and_some_texts_a_thousand_are_kept(store: Store) -> None:
    run_id, worker = mapped(store, 1_010)
    for number in range(1_010):
        worker.finish(worker.claim(), log=b"%d" % number)
    assert {int(text) for text in kept(store, run_id).values() if text} == set(range(10, 1_010))


def test_a_text_takes_the_place_of_one_that_was_taken_back_with_its_scope(store: Store) -> None:
    lists = {"lists": {"$xs": 1}, "blocks": elements("$xs", [b"e"])}
    topology = [body([0], step(x="$xs", b=1)), body([0], step())]
    run_id, worker = begun(store, topology, **lists)
    for text in (b"first", b"second"):
        worker.delegate(worker.claim())
        worker.finish(worker.claim(), log=text + LARGE)
        worker.finish(worker.claim())
        assert [found[:6].rstrip(b"l") for found in kept(store, run_id).values() if found][-1:] == [text]
        assert store.machine.clear(run_id, [Spot("0", 0)])
        assert store.machine.resume(run_id)
    numbers = store.server.client.hgetall(Keys().run(run_id, "lg"))
    names = {name for name in numbers if not name.startswith(b"#")}
    assert int(numbers[b"#n"]) == len(names)
    assert int(numbers[b"#b"]) == sum(len(numbers[name]) for name in names)


def test_texts_live_as_long_as_their_run_and_go_with_it(redis_store: Store, raw: redis.Redis) -> None:
    run_id, worker = begun(redis_store, chain(2))
    worker.finish(worker.claim(), values={"0.0": b"v"})
    assert not raw.exists(Keys().run(run_id, "lg"))
    reply = worker.finish(worker.claim(), worker.want(keep_seconds=1000), log=b"text")
    check_keys(raw)
    assert (reply.run, reply.is_settled) == ("done", False)
    redis_store.machine.expire(run_id, 500)
    assert 400 < raw.ttl(Keys().run(run_id, "lg")) <= 500
    redis_store.machine.delete(run_id)
    assert not raw.exists(Keys().run(run_id, "lg"))
