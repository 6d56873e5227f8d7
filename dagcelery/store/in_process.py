"""A server in this process: the scripts of the store on a host of their own, lua/host.lua, and as much of a client."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache, partial
from importlib.resources import files
from typing import Any

from dagcelery.store.cache import OF_THIS_PROCESS
from dagcelery.store.keys import Keys
from dagcelery.store.lua import source
from dagcelery.store.protocol import AsyncListen, Call, Listen, Store
from dagcelery.store.records import TERMINAL
from dagcelery.store.run_adapters import assemble

_MOST_ARGUMENTS = 4_000
"""Lua takes 8,000 in one call."""


class Host:
    """The Lua of this process: it runs one call at a time, and tells those that wait of each."""

    def __init__(self) -> None:
        # The language of Redis; LuaJIT takes two thirds of the time, and spells some numbers wrongly. Imported when
        # something runs: a process that only writes DAGs needs none.
        from lupa import lua51

        self.changed = threading.Condition()
        self.lua = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=False)
        text = (files("dagcelery.store") / "lua" / "host.lua").read_bytes()
        self._lua = self.lua.execute(text, self._parsed)
        self.command, self._run, self.encode, self.decoded = (
            self._lua[name] for name in (b"command", b"run", b"encode", b"decoded")
        )
        self._map, self._list, self._end, self._null = (self._lua[n] for n in (b"MAP", b"LIST", b"END", b"NULL"))
        self._table, self._verbs = type(self._map), dict[str, bytes]()

    def __enter__(self) -> Host:
        self.changed.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.changed.release()

    def run(self, database: Any, verb: str, key: str, request: Mapping[str, Any], payloads: Sequence[bytes]) -> Any:
        """Run the script of a verb."""
        name = self._verbs.get(verb) or self.load(verb, source(verb))
        row: list[Any] = [*payloads]
        self._unfold(request, row)
        return self._run(database, time.time() * 1000, name, key.encode(), len(payloads), *self._short(row))

    def plain(self, answer: Any) -> Any:
        """Return an answer as redis-py has it."""
        if type(answer) is self._table:
            return [self.plain(each) for each in answer.values()]
        return None if answer is False else int(answer) if type(answer) is float else answer

    def load(self, verb: str, text: str) -> bytes:
        """Make a script known by the name of its verb."""
        name = self._verbs[verb] = verb.encode()
        self._lua[b"load"](name, text.encode())
        return name

    def _parsed(self, text: bytes) -> Any:
        value, row = json.loads(text), list[Any]()
        self._unfold(value if isinstance(value, dict) else dict(enumerate(value, 1)), row)
        return self._lua[b"table"](*self._short(row))

    def _short(self, row: list[Any]) -> list[Any]:
        return row if len(row) < _MOST_ARGUMENTS else [self.lua.table_from(row)]

    def _unfold(self, value: Mapping[Any, Any] | Sequence[Any], row: list[Any]) -> None:
        """Lay a table out in a row, as the host takes it: names and values, and what begins and ends a table."""
        is_map = isinstance(value, dict)
        for each in value:
            if is_map:
                row.append(each.encode() if type(each) is str else each)
                each = value[each]
            kind = type(each)
            if kind is str:
                row.append(each.encode())
            elif kind is int or kind is float or kind is bool:
                row.append(each)
            elif each is None:
                row.append(self._null)
            else:
                row.append(self._map if isinstance(each, Mapping) else self._list)
                self._unfold(each, row)
        row.append(self._end)


@cache
def _host() -> Host:
    return Host()


# A child begins anew: at the time of the fork another thread may have been within the Lua of the parent.
os.register_at_fork(after_in_child=_host.cache_clear)


class LocalServer:
    """A server that is a database in this process, which lives as long as this object."""

    shown_url = "memory"
    is_in_process = True
    keys = Keys()

    def __init__(self) -> None:
        self.client = LocalClient(self)
        self._open()

    def _open(self) -> None:
        self._pid, self._host = os.getpid(), _host()
        self._database = self._host.lua.table()

    def entered(self) -> Host:
        """The host, to be entered: one call at a time, and in a forked child on a database of the child's own."""
        if self._pid != os.getpid():
            self._open()
        return self._host

    def run(self, verb: str, key: str, request: Mapping[str, Any], *payloads: bytes) -> Any:
        with self.entered() as host:
            answer = host.plain(host.run(self._database, verb, key, request, payloads))
            host.changed.notify_all()
        return answer

    def run_together(self, calls: Sequence[Call]) -> list[Any]:
        return [self.run(*call) for call in calls]

    def command(self, name: str, *arguments: Any) -> Any:
        """Send one command to the database."""
        with self.entered() as host:
            answer = self._answered(name, *arguments)
            host.changed.notify_all()
        return answer

    def _answered(self, name: str, *arguments: Any) -> Any:
        sent = (each.encode() if isinstance(each, str) else each for each in arguments)
        return self._host.plain(self._host.command(self._database, time.time() * 1000, name.encode(), *sent))

    def ping(self) -> None:
        """This process answers."""

    def close(self) -> None:
        """Nothing is held open."""

    @contextmanager
    def listening(self, run_id: str) -> Iterator[Listen]:
        yield partial(self._listen, run_id)

    @asynccontextmanager
    async def alistening(self, run_id: str) -> AsyncIterator[AsyncListen]:
        async def listen(timeout_seconds: float, after: str | None = None) -> str:
            return await asyncio.to_thread(self._listen, run_id, timeout_seconds, after)

        yield listen

    def _listen(self, run_id: str, timeout_seconds: float, after: str | None = None) -> str:
        at, seen = self.keys.run(run_id), (after or "").encode()

        def state() -> str:  # asked without telling others that wait: they would ask as well, and so on for ever
            return (self._answered("HGET", at, "state") or b"gone").decode()

        def is_worth_telling() -> bool:
            entries = () if after is None else self._answered("XRANGE", f"{at}:e", after or "-", "+", "COUNT", 2)
            return state() in (*TERMINAL, "gone") or any(entry != seen for entry, _ in entries)

        with self.entered() as host:
            host.changed.wait_for(is_worth_telling, timeout_seconds)
            return state()


def _pairs(found: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(found[::2], found[1::2], strict=True)


class LocalClient:
    """Those commands of redis-py that the adapters use; a pipeline sends each at once."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server

    def __getattr__(self, command: str) -> Callable[..., Any]:
        return partial(self._server.command, command.upper())

    def entered(self) -> Host:
        """The host, to be entered by calls that belong together."""
        return self._server.entered()

    def pipeline(self, transaction: bool = True) -> LocalPipeline:
        return LocalPipeline(self)

    def time(self) -> tuple[int, int]:
        seconds, micros = self._server.command("TIME")
        return int(seconds), int(micros)

    def hgetall(self, name: str) -> dict[bytes, bytes]:
        return dict(_pairs(self._server.command("HGETALL", name)))

    def hvals(self, name: str) -> list[bytes]:
        return list(self.hgetall(name).values())

    def hscan_iter(self, name: str, count: int = 0) -> Iterator[tuple[bytes, bytes]]:
        return iter(self.hgetall(name).items())

    def sscan_iter(self, name: str, count: int = 0) -> Iterator[bytes]:
        return iter(self._server.command("SMEMBERS", name))

    def zscan_iter(self, name: str, count: int = 0) -> Iterator[tuple[bytes, float]]:
        return iter(self.zrange(name, 0, -1, withscores=True))

    def mget(self, names: Sequence[str]) -> list[bytes | None]:
        return list(self._server.command("MGET", *names))

    def set(self, name: str, value: bytes, ex: int) -> bool:
        return bool(self._server.command("SET", name, value, "EX", ex))

    def xadd(self, name: str, fields: Mapping[str, str]) -> Any:
        return self._server.command("XADD", name, "*", *(each for pair in fields.items() for each in pair))

    def xrevrange(self, name: str, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        entries = self._server.command("XREVRANGE", name, "+", "-", "COUNT", count)
        return [(entry, dict(_pairs(fields))) for entry, fields in entries]

    def xrange(self, name: str, min: str, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        entries = self._server.command("XRANGE", name, min, "+", "COUNT", count)
        return [(entry, dict(_pairs(fields))) for entry, fields in entries]

    def zadd(self, name: str, members: Mapping[str, float], nx: bool = False) -> int:
        only = ("NX",) if nx else ()
        return sum(self._server.command("ZADD", name, *only, score, member) for member, score in members.items())

    def zrange(self, name: str, first: float, last: Any, *, byscore: bool = False, **options: Any) -> Any:
        """By rank from `first` to `last`; by score from the highest, which is at most `first`, downwards."""
        if byscore:
            members = self._server.command(
                "ZREVRANGEBYSCORE", name, first, last, "WITHSCORES", "LIMIT", 0, options["num"]
            )
        else:
            scores = ("WITHSCORES",) if options.get("withscores") else ()
            members = self._server.command("ZRANGE", name, first, last, *scores)
        return [(member, float(score)) for member, score in _pairs(members)] if options.get("withscores") else members


class LocalPipeline:
    """Collects commands, and sends them together."""

    def __init__(self, client: LocalClient) -> None:
        self._client = client
        self._asked: list[Callable[[], Any]] = []

    def __getattr__(self, command: str) -> Callable[..., LocalPipeline]:
        def ask(*arguments: Any, **options: Any) -> LocalPipeline:
            self._asked.append(partial(getattr(self._client, command), *arguments, **options))
            return self

        return ask

    def execute(self) -> list[Any]:
        asked, self._asked = self._asked, []
        with self._client.entered():
            return [ask() for ask in asked]


def store_in_process() -> Store:
    """Return a store of its own in this process; only cached results are shared with the others."""
    server = LocalServer()
    return assemble(server, OF_THIS_PROCESS)
