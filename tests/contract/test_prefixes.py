"""Two stores whose keys have different prefixes share one database, and know nothing of each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import redis

from dagcelery.local import Server
from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import ROOT, NewRun
from dagcelery.store.redis import store_on_redis

from .moves import chain, drain, entries, state_after


@pytest.fixture(params=[("shop:", ""), ("shop:", "shop:eu:")], ids=["one has none", "one begins with the other"])
def stores(request: pytest.FixtureRequest, server: Server) -> Iterator[tuple[Store, Store]]:
    ours, theirs = (store_on_redis(server.url, prefix) for prefix in request.param)
    with closing(ours), closing(theirs):
        yield ours, theirs


def _use(store: Store, run_id: str) -> None:
    """Do of everything that is remembered beyond a run something under the same name in each store."""
    topology, fleet = chain(2), store.fleet
    assert store.machine.reserve("order-42", run_id, 60) == run_id
    store.machine.create(NewRun(run_id, "same", b"plan", entries(topology), values={"$big": b"b" * 700_000}))
    assert drain(store, run_id, topology)
    fleet.heartbeat("worker", ["cpu"], 1)
    fleet.announce(["mine"])
    fleet.spills(run_id)
    assert fleet.enter("one at once", run_id, run_id, 1)
    fleet.cache.set("task", {"entry": run_id.encode()}, 60)


def test_nothing_of_one_is_seen_by_the_other(stores: tuple[Store, Store]) -> None:
    ours, theirs = stores
    _use(ours, "our run")
    _use(theirs, "their run")
    for store, run_id in ((ours, "our run"), (theirs, "their run")):
        assert [run.id for run in store.fleet.runs("same", float("inf"), 10)] == [run_id]
        assert state_after(store, run_id) == "done"
        assert store.fleet.inside("one at once") == [run_id]
        assert store.fleet.cache.get("task", ["entry"]) == [run_id.encode()]
        assert store.fleet.spilled(10, 0) == [run_id]
        assert store.fleet.due(10, 0) == []
    theirs.machine.delete("our run")
    theirs.fleet.retire("worker")
    assert theirs.fleet.cache.delete("task") == 1
    assert ours.reader.values("our run", ROOT, ["$big"]) == [b"b" * 700_000]
    assert list(ours.fleet.workers()) == ["worker"]
    assert ours.fleet.cache.get("task", ["entry"]) == [b"our run"]


def test_all_that_is_written_begins_with_the_prefix(server: Server) -> None:
    with closing(store_on_redis(server.url, "shop:")) as store, redis.Redis.from_url(server.url) as raw:
        _use(store, "run")
        names = list(raw.scan_iter())
        assert len(names) > 10
        assert [name for name in names if not name.startswith(b"shop:dagcelery:")] == []
        store.machine.delete("run")
        assert not [name for name in raw.scan_iter() if name.startswith(Keys("shop:").run("run").encode())]
