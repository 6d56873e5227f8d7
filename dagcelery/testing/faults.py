"""Faults for your own DAGs: real workers on this machine, and the means to let go wrong what goes wrong in production.

::

    with faults.arena(workers=2, messages=Messages(dropped=0.1)) as arena:
        run = arena.client.submit(my_dag, {"n": 100})
        arena.kill_child()
        arena.cut_connection(seconds=2)
        assert run.result(timeout=60) == expected

Each fault answers whether it happened: a child cannot be killed where none is left. `Arena.counts` says how often each
kind did, faults that workers do to themselves among them.
"""

from __future__ import annotations

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

from dagcelery.local import Cluster, Process, cluster
from dagcelery.local.cluster import WorkerOptions, starting
from dagcelery.model.options import words
from dagcelery.testing.disturbed import VARIABLE, Disturbance
from dagcelery.testing.ledger import Ledger, Order
from dagcelery.testing.proxy import Proxy

if TYPE_CHECKING:
    from dagcelery.client import Client

__all__ = ["Arena", "Messages", "Order", "arena"]

QUICK = {"DAGCELERY_HEARTBEAT_SECONDS": "0.2", "DAGCELERY_DEAD_SECONDS": "1"}
"""Settings under which a death is noticed within a second or so; a harness has no time to wait for more."""
READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Messages:
    """Shares of the workers' messages that are lost, sent twice, sent late, and overtaken by the next one."""

    dropped: float = 0.0
    doubled: float = 0.0
    delayed: float = 0.0
    reordered: float = 0.0
    delay_seconds: float = 0.5


@dataclass(frozen=True, slots=True)
class Member:
    """A worker of an arena, with a line of its own to the server."""

    process: Process
    proxy: Proxy


class Arena:
    """A server and workers that faults can be done to. Faults may be done from several threads."""

    def __init__(self, local: Cluster, options: WorkerOptions, disturbance: Disturbance, processes: int) -> None:
        self.local = local
        self.ledger = Ledger(Path(disturbance.ledger))
        self._options = options
        self._disturbance = disturbance
        self._processes = processes
        self._members: list[Member] = []
        self._names = 0
        self._choice = random.Random(disturbance.seed)
        self._lock = threading.Lock()

    @property
    def client(self) -> Client:
        """A client bound to the arena; no fault touches its connections, but the server's crash."""
        return self.local.client

    def counts(self) -> dict[str, int]:
        """How often each kind of fault happened."""
        found = self.ledger.counts()
        for order in self.ledger.deaths():
            name = f"death {order.moment} {order.operation}"
            found[name] = found.get(name, 0) + 1
        return found

    # -- workers ----------------------------------------------------------------------------------
    @property
    def members(self) -> tuple[Member, ...]:
        """The workers that run now."""
        return tuple(member for member in self._members if member.process.is_alive)

    def start_worker(self, skew_seconds: float = 0.0) -> Member:
        """Start a worker, whose clock may be ahead, and wait until it consumes."""
        with self.starting_worker(skew_seconds) as member:
            return member

    @contextmanager
    def starting_worker(self, skew_seconds: float = 0.0) -> Iterator[Member]:
        """`start_worker` as a block that runs while the worker boots."""
        self._names += 1
        proxy = Proxy(urlsplit(self.local.server.url).port or 0)
        options = replace(self._options, environment=self._environment(proxy, skew_seconds))
        guard, name = self.local.server.guard, f"disturbed-{self._names}"
        with starting(guard, options, name, self._processes, self.local.queues, READY_SECONDS) as process:
            member = Member(process, proxy)
            self._members.append(member)
            yield member

    def _environment(self, proxy: Proxy, skew_seconds: float) -> dict[str, str]:
        address = urlsplit(self.local.server.url)
        url = address._replace(netloc=f":{address.password}@127.0.0.1:{proxy.port}").geturl()
        disturbance = replace(self._disturbance, skew_seconds=skew_seconds)
        return {
            **self.local.environment,
            **self._options.environment,
            "DAGCELERY_BROKER_URL": url,
            "DAGCELERY_STORE_URL": url,
            VARIABLE: disturbance.encode(),
        }

    def end_worker(self, member: Member) -> None:
        """Kill a worker and its children, unless somebody else did, and take its line away."""
        member.process.kill()
        member.proxy.close()

    def replenish(self, workers: int, skew_seconds: float = 0.0) -> int:
        """Start workers until there are so many again; answer how many were started."""
        gone = [member for member in self._members if not member.process.is_alive]
        for member in gone:
            self.end_worker(member)
            self._members.remove(member)
        missing = max(0, workers - len(self._members))
        with ExitStack() as booting:
            for _ in range(missing):
                booting.enter_context(self.starting_worker(skew_seconds))
        return missing

    def end(self) -> None:
        """Kill all workers."""
        for member in self._members:
            self.end_worker(member)

    def _any(self) -> Member | None:
        return self._choice.choice(self.members) if self.members else None

    # -- faults -----------------------------------------------------------------------------------
    def kill_child(self) -> bool:
        """Kill one process of a worker's pool, whatever it is doing."""
        member = self._any()
        children = children_of(member.process.pid) if member else []
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
            member = self._any()
            if member is None:
                return False
            self.end_worker(member)
        self.ledger.note("worker killed")
        return True

    def freeze_worker(self, seconds: float) -> bool:
        """Stop a worker with all its processes, and let it go on as if nothing had happened: a zombie."""
        member = self._any()
        if member is None:
            return False
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(member.process.pid, signal.SIGSTOP)
            try:
                time.sleep(seconds)
            finally:
                os.killpg(member.process.pid, signal.SIGCONT)
            self.ledger.note("worker frozen")
            return True
        return False

    def cut_connection(self, seconds: float) -> bool:
        """Hang up on a worker in the middle of whatever it says, and refuse its calls for some seconds."""
        member = self._any()
        if member is None or not member.proxy.cut(seconds):
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

    def order_death(self, order: Order | str) -> str:
        """Order the next process that comes to a place, such as ``before:finish:3``, to die there; see `Order`."""
        return self.ledger.order(Order.parse(order) if isinstance(order, str) else order)


@contextmanager
def arena(
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
) -> Iterator[Arena]:
    """Run an embedded server and disturbed `workers` of so many `processes`; nothing is left behind at the end.

    Workers tolerate `taints` and run `app`, a Celery app that dagcelery is attached to. The clock of worker n is ahead
    by ``skews[n]`` seconds. `environment` is seen by client and workers; unless it says otherwise a worker is taken for
    dead after a second. Raises NotConfigured where there is no server.
    """
    treatment = messages or Messages()
    given = QUICK | dict(environment or {})
    with ExitStack() as cleanup:
        local = cleanup.enter_context(cluster(workers=0, taints=taints, environment=given))
        options = WorkerOptions(
            environment=given, app="dagcelery.testing.worker", modules=words("modules", modules), log_level=log_level
        )
        ledger = local.server.guard.directory / "faults"
        rates = {name: getattr(treatment, name) for name in Messages.__slots__}
        made = Arena(local, options, Disturbance(str(ledger), seed=seed, app=app, **rates), processes)
        cleanup.callback(made.end)
        ahead = [*skews, *[0.0] * workers][:workers]
        with ExitStack() as booting:
            for seconds in ahead:
                booting.enter_context(made.starting_worker(seconds))
        yield made


def children_of(pid: int) -> list[int]:
    """The child processes of a process, as far as they are alive."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = (line.split() for line in listed.stdout.splitlines())
    return [int(child) for child, parent, state in rows if int(parent) == pid and not state.startswith("Z")]
