"""Whatever a server answers instead of doing what it is told is one of our errors, with a remedy, out of every verb."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import redis

from dagcelery.errors import DagceleryError, StoreDamaged, StoreFull, StoreRefused, StoreUnavailable
from dagcelery.local import Server
from dagcelery.store.protocol import Store
from dagcelery.store.redis import Inspection, store_on_redis

from .moves import Worker, begun, chain, new_run, state_after

AT_CONNECTING = (b"AUTH", b"CLIENT", b"HELLO", b"SELECT")

ANSWERS = [
    ("OOM command not allowed when used memory > 'maxmemory'.", StoreFull, "delete runs that are over"),
    ("LOADING Redis is loading the dataset in memory", StoreUnavailable, "wait until it has read its data"),
    ("BUSY Redis is busy running a script.", StoreUnavailable, "SCRIPT KILL"),
    ("NOREPLICAS Not enough good replicas to write.", StoreUnavailable, "min-replicas-to-write"),
    ("CLUSTERDOWN Hash slot not served", StoreUnavailable, "each slot has a primary"),
    ("TRYAGAIN Multiple keys request during rehashing of slot", StoreUnavailable, "each slot has a primary"),
    ("MASTERDOWN Link with MASTER is down", StoreUnavailable, "wait until"),
    ("UNBLOCKED client unblocked via CLIENT UNBLOCK", StoreUnavailable, "call again"),
    ("ERR max number of clients reached", StoreUnavailable, "maxclients"),
    ("READONLY You can't write against a read only replica.", StoreRefused, "name its primary"),
    ("MISCONF Redis is configured to save RDB snapshots, but", StoreRefused, "give its disk room"),
    ("ERR Error running script (call to f_ab): @user_script: 4: -READONLY You can't", StoreRefused, "its primary"),
    ("MOVED 3999 127.0.0.1:6381", StoreRefused, r"redis\+cluster://"),
    ("ASK 3999 127.0.0.1:6381", StoreRefused, r"redis\+cluster://"),
    ("CROSSSLOT Keys in request don't hash to the same slot", StoreRefused, r"redis\+cluster://"),
    ("EXECABORT Transaction discarded because of previous errors.", StoreRefused, "the user's rights"),
    ("NOPERM this user has no permissions to run the 'evalsha' command", StoreRefused, "the user's rights"),
    ("NOAUTH Authentication required.", StoreRefused, "password"),
    ("WRONGPASS invalid username-password pair", StoreRefused, "password"),
    ("DENIED Redis is running in protected mode", StoreRefused, "give it a password"),
    ("ERR unknown command 'EVALSHA', with args beginning with: 'BUSY'", StoreRefused, "hides or renames EVAL"),
    ("ERR DB index is out of range", StoreRefused, "name a database that it has"),
    ("SOMETHING that nobody has heard of", StoreRefused, "the user's rights"),
    ("WRONGTYPE Operation against a key holding the wrong kind of value", StoreDamaged, "delete the run"),
    ("ERR user_script:30: attempt to index a nil value", StoreDamaged, "delete the run"),
]


class _Refuses(socketserver.StreamRequestHandler):
    """Lets everybody in, and answers every command with one error."""

    def handle(self) -> None:
        while head := self.rfile.readline():
            words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:]))]
            answer = "+OK" if words[0] in AT_CONNECTING else f"-{self.server.answer}"  # type: ignore[attr-defined]
            self.wfile.write(f"{answer}\r\n".encode())


@contextmanager
def refusing(answer: str) -> Iterator[str]:
    """The URL of a server that answers so."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Refuses) as listening:
        listening.daemon_threads, listening.answer = True, answer  # type: ignore[attr-defined]
        threading.Thread(target=listening.serve_forever, args=[0.01], daemon=True).start()
        yield f"redis://127.0.0.1:{listening.server_address[1]}/0?protocol=2"
        listening.shutdown()


async def _awaited(store: Store, run_id: str = "r") -> str:
    async with store.reader.alistening(run_id) as listen:
        return await listen(0.1)


@pytest.mark.parametrize(("answer", "error", "remedy"), ANSWERS, ids=[answer[:24] for answer, *_ in ANSWERS])
def test_every_answer_is_one_of_our_errors(answer: str, error: type[DagceleryError], remedy: str) -> None:
    with refusing(answer) as url, closing(store_on_redis(url, retry=None)) as store:
        verbs: list[Callable[[], Any]] = [
            store.ping,
            lambda: new_run(store, chain(1)),
            lambda: Worker(store, "r").ask(),
            lambda: store.machine.delete("r"),
            lambda: store.reader.record("r"),
            lambda: store.reader.progress("r"),
            lambda: store.fleet.runs("", 1.0, 1),
            lambda: store.fleet.announce(["cpu"]),
            lambda: store.fleet.cache.get("task", ["entry"]),
            lambda: state_after(store, "r", 0.1),
            lambda: asyncio.run(_awaited(store)),
        ]
        for verb in verbs:
            with pytest.raises(error, match=remedy) as told:
                verb()
            assert type(told.value) is error


@contextmanager
def stuck(url: str) -> Iterator[None]:
    """Keep a server from everything but a script that never ends."""
    with redis.Redis.from_url(url) as admin:
        admin.config_set("lua-time-limit", 1)
        endless = threading.Thread(target=_run_for_ever, args=[url])
        endless.start()
        try:
            while True:
                try:
                    admin.get("anything")
                except redis.ResponseError:
                    break
            yield
        finally:
            admin.script_kill()
            endless.join()
            admin.config_set("lua-time-limit", 5000)


def _run_for_ever(url: str) -> None:
    with redis.Redis.from_url(url, socket_timeout=60) as client, pytest.raises(redis.ResponseError):
        client.eval("while true do end", 0)


def test_a_server_that_is_busy_with_a_script_of_others_is_waited_for(server: Server, redis_store: Store) -> None:
    _, worker = begun(redis_store, chain(1))
    claim = worker.claim()
    with stuck(server.url):
        for verb in (lambda: worker.finish(claim), lambda: store_on_redis(server.url).ping()):
            with pytest.raises(StoreUnavailable, match=r"busy running a script.*SCRIPT KILL"):
                verb()
        inspection = Inspection(server.url)
        with pytest.raises(StoreUnavailable, match="busy"):
            inspection.ping()
        inspection.close()
    assert worker.finish(claim).run == "done"


def test_what_lacks_replicas_writes_nothing_until_it_has_them(redis_store: Store, raw: redis.Redis) -> None:
    run_id, worker = begun(redis_store, chain(1))
    claim = worker.claim()
    raw.config_set("min-replicas-to-write", 1)
    try:
        before = {name: raw.dump(name) for name in raw.scan_iter()}
        for verb in (lambda: worker.finish(claim), lambda: redis_store.machine.end(run_id, "cancelled", "enough")):
            with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
                verb()
        assert {name: raw.dump(name) for name in raw.scan_iter()} == before
    finally:
        raw.config_set("min-replicas-to-write", 0)
    assert worker.finish(claim).run == "done"


def test_a_key_of_ours_that_somebody_else_wrote_is_told_apart_from_an_outage(
    redis_store: Store, raw: redis.Redis
) -> None:
    run_id, worker = begun(redis_store, chain(1))
    raw.set(redis_store.server.keys.run(run_id, "c"), "not ours", ex=60)
    with pytest.raises(StoreDamaged, match="let nothing else write to keys of dagcelery"):
        worker.ask()


@pytest.mark.parametrize("options", ["?decode_responses=true", "?decode_responses=1&socket_timeout=9&encoding=utf-16"])
def test_options_that_would_make_texts_of_answers_change_nothing(server: Server, options: str) -> None:
    with closing(store_on_redis(server.url + options)) as store:
        run_id, worker = begun(store, chain(1))
        assert worker.finish(worker.claim(), values={"0.0": b"\xff"}).run == "done"
        assert store.reader.values(run_id, "0", ["0.0"]) == [b"\xff"]
        assert state_after(store, run_id) == asyncio.run(_awaited(store, run_id)) == "done"
        assert [event.kind for event in store.reader.events(run_id, "", 9)] == ["created", "done", "done"]
