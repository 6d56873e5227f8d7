"""Faults for your own DAGs: real workers on this machine, and the means to let go wrong what goes wrong in production.

::

    with faults.faulty_cluster(workers=2, messages=Messages(dropped=0.1)) as faulty:
        run = faulty.client.submit(my_dag, {"n": 100})
        faulty.kill_child()
        faulty.cut_connection(seconds=2)
        assert run.result(timeout=60) == expected

Each fault returns whether it happened: a child cannot be killed where none is left. `FaultyCluster.counts` says how
often each kind did, including the faults that workers inject into themselves.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import redis

from dagcelery.local import Cluster, Process, cluster
from dagcelery.local.cluster import WorkerOptions, starting
from dagcelery.model.options import words
from dagcelery.testing.fault_injector import VARIABLE, FaultPlan, Ledger, Messages, Order

if TYPE_CHECKING:
    from dagcelery.client import Client

__all__ = ["FaultyCluster", "Messages", "Order", "faulty_cluster"]

QUICK = {"DAGCELERY_HEARTBEAT_SECONDS": "0.2", "DAGCELERY_DEAD_SECONDS": "1"}
"""Settings under which a death is noticed within a second or so; a test should not wait for longer."""
READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class FaultyWorker:
    """A worker of a faulty cluster, with a line of its own to the server."""

    process: Process
    proxy: Proxy


class FaultyCluster:
    """A server and workers that faults can be done to. Faults may be done from several threads."""

    def __init__(self, local: Cluster, options: WorkerOptions, plan: FaultPlan, processes: int) -> None:
        self.local = local
        self.ledger = Ledger(Path(plan.ledger))
        self._options = options
        self._plan = plan
        self._processes = processes
        self._workers: list[FaultyWorker] = []
        self._names = 0
        self._choice = random.Random(plan.seed)
        self._lock = threading.Lock()

    @property
    def client(self) -> Client:
        """Return a client of the server; only the server's own faults touch its connections."""
        return self.local.client

    def counts(self) -> dict[str, int]:
        """Return how often each kind of fault happened."""
        counts = self.ledger.counts()
        for order in self.ledger.deaths():
            counts[order.kind] = counts.get(order.kind, 0) + 1
        return counts

    # -- workers ----------------------------------------------------------------------------------
    @property
    def workers(self) -> tuple[FaultyWorker, ...]:
        """Return the workers that run now."""
        dead = self.ledger.dead_workers()
        return tuple(each for each in self._workers if each.process.is_alive and each.process.pid not in dead)

    def start_worker(self, skew_seconds: float = 0.0) -> FaultyWorker:
        """Start a worker, whose clock may be ahead, and wait until it consumes."""
        with self.starting_worker(skew_seconds) as worker:
            return worker

    @contextmanager
    def starting_worker(self, skew_seconds: float = 0.0) -> Iterator[FaultyWorker]:
        """Start a worker, and run a block while it boots."""
        self._names += 1
        proxy = Proxy(urlsplit(self.local.server.url).port or 0)
        options = replace(self._options, environment=self._environment(proxy, skew_seconds))
        guard, name = self.local.server.guard, f"faulty-{self._names}"
        with starting(guard, options, name, self._processes, self.local.queues, READY_SECONDS) as process:
            worker = FaultyWorker(process, proxy)
            self._workers.append(worker)
            yield worker

    def _environment(self, proxy: Proxy, skew_seconds: float) -> dict[str, str]:
        address = urlsplit(self.local.server.url)
        url = address._replace(netloc=f":{address.password}@127.0.0.1:{proxy.port}").geturl()
        plan = replace(self._plan, skew_seconds=skew_seconds)
        return {
            **self.local.environment,
            **self._options.environment,
            "DAGCELERY_BROKER_URL": url,
            "DAGCELERY_STORE_URL": url,
            VARIABLE: plan.encode(),
        }

    def end_worker(self, worker: FaultyWorker) -> None:
        """Kill a worker and its children, if they still live, and take its line away."""
        worker.process.kill()
        worker.proxy.close()

    def replenish(self, workers: int, skew_seconds: float = 0.0) -> int:
        """Start workers until there are this many again; return how many were started."""
        alive = self.workers
        for worker in [worker for worker in self._workers if worker not in alive]:
            self.end_worker(worker)
            self._workers.remove(worker)
        missing = max(0, workers - len(alive))
        with ExitStack() as booting:
            for _ in range(missing):
                booting.enter_context(self.starting_worker(skew_seconds))
        return missing

    def end(self) -> None:
        """Kill all workers."""
        for worker in self._workers:
            self.end_worker(worker)

    def _any(self) -> FaultyWorker | None:
        return self._choice.choice(self.workers) if self.workers else None

    # -- faults -----------------------------------------------------------------------------------
    def kill_child(self) -> bool:
        """Kill one process of a worker's pool, whatever it is doing."""
        worker = self._any()
        children = children_of(worker.process.pid) if worker else []
        if not children:
            return False
        with suppress(ProcessLookupError):
            os.kill(self._choice.choice(children), signal.SIGKILL)
            self.ledger.note("child killed")
            return True
        return False

    def kill_worker(self) -> bool:
        """Kill a worker with all its processes, as a lost machine; `replenish` starts another one in its place."""
        with self._lock:
            worker = self._any()
            if worker is None:
                return False
            self.end_worker(worker)
        self.ledger.note("worker killed")
        return True

    def freeze_worker(self, seconds: float) -> bool:
        """Stop a worker with all its processes, and let it go on as if nothing had happened: a zombie."""
        worker = self._any()
        if worker is None:
            return False
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.process.pid, signal.SIGSTOP)
            try:
                time.sleep(seconds)
            finally:
                os.killpg(worker.process.pid, signal.SIGCONT)
            self.ledger.note("worker frozen")
            return True
        return False

    def cut_connection(self, seconds: float) -> bool:
        """Hang up on a worker in the middle of whatever it says, and refuse its calls for some seconds."""
        worker = self._any()
        if worker is None or not worker.proxy.cut(seconds):
            return False
        self.ledger.note("connection cut")
        time.sleep(seconds)
        return True

    def restart_server(self) -> bool:
        """Stop the server in order, and start it with what it wrote down."""
        self.local.server.stop()
        self.local.server.start()
        self.ledger.note("server restarted")
        return True

    def crash_server(self) -> bool:
        """Kill the server, and start it with what it had written down."""
        self.local.server.kill()
        self.local.server.start()
        self.ledger.note("server crashed")
        return True

    def fill_store(self, seconds: float) -> bool:
        """Let the server refuse what takes room for some seconds, as one at its limit of memory; broker and store."""
        with redis.Redis.from_url(self.local.server.url) as client:
            client.config_set("maxmemory", 1)
            self.ledger.note("store full")
            try:
                time.sleep(seconds)
            finally:
                client.config_set("maxmemory", 0)
        return True

    def order_death(self, order: Order | str) -> str:
        """Order the next process that comes to a place, such as ``before:finish:3``, to die there; see `Order`."""
        return self.ledger.order(Order.parse(order) if isinstance(order, str) else order)


@contextmanager
def faulty_cluster(
    workers: int = 2,
    processes: int = 2,
    *,
    seed: int = 0,
    messages: Messages | None = None,
    skews: Iterable[float] = (),
    taints: str | Iterable[str] = (),
    app: str = "dagcelery",
    modules: str | Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    log_level: str = "ERROR",
) -> Iterator[FaultyCluster]:
    """Run an embedded server and faulty `workers` with this many `processes` each; leave nothing behind.

    Workers tolerate `taints` and run `app`, a Celery app that dagcelery is attached to. The clock of worker n is ahead
    by ``skews[n]`` seconds. `environment` is seen by client and workers; unless it says otherwise a worker is taken for
    dead after a second.

    Raises NotConfigured without a server.
    """
    variables = QUICK | dict(environment or {})
    with ExitStack() as cleanup:
        local = cleanup.enter_context(cluster(workers=0, taints=taints, environment=variables))
        options = WorkerOptions(
            environment=variables,
            app="dagcelery.testing.fault_injector",
            modules=words("modules", modules),
            log_level=log_level,
        )
        ledger = local.server.guard.directory / "faults"
        plan = FaultPlan(str(ledger), seed, app, messages or Messages())
        faulty = FaultyCluster(local, options, plan, processes)
        cleanup.callback(faulty.end)
        ahead = [*skews, *[0.0] * workers][:workers]
        with ExitStack() as booting:
            for seconds in ahead:
                booting.enter_context(faulty.starting_worker(seconds))
        yield faulty


def children_of(pid: int) -> list[int]:
    """Return the child processes of a process that are alive."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = (line.split() for line in listed.stdout.splitlines())
    return [int(child) for child, parent, state in rows if int(parent) == pid and not state.startswith("Z")]


# -- the line between a worker and its server ----------------------------------------------------------------
class Proxy:
    """A TCP proxy before a server, in a thread of its own, whose connections can be cut and refused for a while."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._pairs: set[asyncio.StreamWriter] = set()
        self._carriers: set[asyncio.Task[None]] = set()
        self._cut_until = 0.0
        self._listening = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._serve, name="dagcelery-proxy", daemon=True)
        self._thread.start()
        self._listening.wait()

    def cut(self, seconds: float) -> int:
        """Cut all connections, whatever is under way, and refuse new ones for a while; return how many were cut."""
        self._cut_until = time.monotonic() + seconds
        return asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()

    def close(self) -> None:
        """Cut all connections for good."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._over.wait()
        server.close()
        await self._hang_up()
        await asyncio.gather(*self._carriers)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrier = asyncio.ensure_future(self._carry(reader, writer))
        self._carriers.add(carrier)
        carrier.add_done_callback(self._carriers.discard)

    async def _hang_up(self) -> int:
        """End every connection at once: a request may have been served, and its reply is lost."""
        cut, self._pairs = self._pairs, set()
        for writer in cut:
            writer.transport.abort()
        return len(cut) // 2

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = [writer]
        with suppress(OSError):
            if time.monotonic() >= self._cut_until:
                answers, requests = await asyncio.open_connection("127.0.0.1", self._target)
                pair.append(requests)
                self._pairs.update(pair)
                await asyncio.gather(_forward(reader, requests), _forward(answers, writer))
        self._pairs.difference_update(pair)
        for end in pair:
            end.transport.abort()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way until either end hangs up, then hang up the other one."""
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()
