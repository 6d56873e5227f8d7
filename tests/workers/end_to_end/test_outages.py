"""A store or a broker that is out of reach gives a typed error, and nothing half-written remains."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hardships
import pipelines
import pytest
import redis
from hardships import traces

from dagcelery import Run, RunState
from dagcelery.client import Client
from dagcelery.errors import BrokerUnavailable, ResultTimeout, RunCancelled, StoreFull, StoreUnavailable
from dagcelery.local import Cluster, Server
from dagcelery.settings import Settings

from .hard import SECONDS, eventually, node
from .several_servers import limit_memory, masters_of, store_client
from .surroundings import nobody_at


@pytest.fixture
def port() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def nowhere(port: int) -> str:
    """The address of a Redis that does not answer."""
    return f"redis://:secret@127.0.0.1:{port}/0"


def client_of(**settings: Any) -> Client:
    return Client(Settings(signing_key="key", **settings))


def test_a_store_out_of_reach_is_named_without_its_password(server: Server, nowhere: str) -> None:
    client = client_of(broker_url=server.url, store_url=nowhere)
    with pytest.raises(StoreUnavailable, match=r"127.0.0.1") as caught:
        client.submit(pipelines.map_reduce, {"n": 3})
    assert "secret" not in str(caught.value)
    with redis.Redis.from_url(server.url) as raw:
        assert not raw.keys("*")


@pytest.mark.parametrize("ask", ["result", "status", "state"])
def test_asking_for_a_run_whose_store_is_out_of_reach_is_a_typed_error(nowhere: str, ask: str) -> None:
    run: Run[Any] = Run("some-run", client=client_of(broker_url=nowhere, store_url=nowhere))
    with pytest.raises(StoreUnavailable):
        run.state if ask == "state" else getattr(run, ask)()


@pytest.mark.parametrize(
    ("node", "params"),
    [
        (pipelines.map_reduce, {"n": 3}),
        (pipelines.zigzag, {"x": 3}),
        (pipelines.naps, {"seconds": [0.0] * 5}),
    ],
    ids=["visit", "chain", "group"],
)
def test_a_broker_out_of_reach_cancels_the_run_and_names_it(
    server: Server, port: int, node: Any, params: dict[str, Any]
) -> None:
    client = client_of(broker_url=nobody_at(port), store_url=server.url)
    with pytest.raises(BrokerUnavailable) as caught:
        client.submit(node, params)
    assert "secret" not in str(caught.value)
    with redis.Redis.from_url(server.url) as raw:
        (run_id,) = {name.decode().split("{")[1].split("}")[0] for name in raw.keys("dagcelery:{*")}
    assert run_id in str(caught.value)
    run: Run[Any] = Run(run_id, client=client)
    assert run.state is RunState.CANCELLED
    with pytest.raises(RunCancelled, match="its first message could not be sent"):
        run.result()


def test_a_key_that_was_cancelled_for_want_of_a_broker_is_free_again(server: Server, port: int) -> None:
    down = client_of(broker_url=nobody_at(port), store_url=server.url)
    for _ in range(2):
        with pytest.raises(BrokerUnavailable):
            down.submit(pipelines.map_reduce, {"n": 3}, key="k")
    up = client_of(broker_url=server.url, store_url=server.url)
    run = up.submit(pipelines.map_reduce, {"n": 3}, key="k")
    assert [(listed.run, listed.state) for listed in up.runs()] == [(run, RunState.PENDING)]
    assert run == up.submit(pipelines.map_reduce, {"n": 3}, key="k")
    run.cancel("by a user")
    assert run == up.submit(pipelines.map_reduce, {"n": 3}, key="k")
    assert run.state is RunState.CANCELLED


def test_in_a_full_store_workers_wait_and_users_make_room(tmp_path: Path, hard: Cluster) -> None:
    def is_heard() -> float:
        return max(word["at"] for word in hard.client.store.fleet.workers().values())

    (tmp_path / "other").mkdir()
    run = hardships.held_items.submit(folder=str(tmp_path), n=6)
    eventually(lambda: len(traces(tmp_path)) == 2)
    other = hardships.held_items.submit(folder=str(tmp_path / "other"), n=6)
    limit_memory(hard.client.settings.store_url, 1)
    try:
        (tmp_path / "go").touch()
        with pytest.raises(StoreFull):
            hardships.held_items.submit(folder=str(tmp_path / "other"), n=6)
        assert other.cancel("there is no room") is RunState.CANCELLED
        other.delete()
        until = is_heard() + 2 * hard.client.settings.dead_seconds
        eventually(lambda: is_heard() > until)
        assert node(run, "held").done == 0
        with pytest.raises(ResultTimeout, match=r"the store is full \(.* MB of 0.0 MB maxmemory\): results wait"):
            run.result(timeout=0.01)
    finally:
        limit_memory(hard.client.settings.store_url, 0)
    assert run.result(SECONDS) == list(range(6))
    assert sorted(traces(tmp_path)) == [*map(str, range(6)), "last"]


def test_a_store_that_takes_no_writes_for_a_while_is_waited_for(tmp_path: Path, hard: Cluster) -> None:
    def refused() -> int:
        counts = (server.info("errorstats").get("errorstat_NOREPLICAS", {"count": 0}) for server in masters)
        return sum(int(each["count"]) for each in counts)

    run = hardships.held_items.submit(folder=str(tmp_path), n=6)
    eventually(lambda: len(traces(tmp_path)) == 2)
    with ExitStack() as stack:
        masters = [stack.enter_context(store_client(url)) for url in masters_of(hard.client.settings.store_url)]
        for server in masters:
            server.config_set("min-replicas-to-write", 9)
        try:
            before = refused()
            (tmp_path / "go").touch()
            with pytest.raises(StoreUnavailable, match=r"NOREPLICAS.*wait for its replicas"):
                run.cancel("it takes no writes")
            eventually(lambda: refused() > before + 9)
        finally:
            for server in masters:
                server.config_set("min-replicas-to-write", 0)
    assert run.result(SECONDS) == list(range(6))
    assert {*traces(tmp_path)} == {*map(str, range(6)), "last"}
