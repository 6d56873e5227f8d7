"""Servers that stand in for each other, on this machine's loopback: a master, a replica and Sentinels; a cluster."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import redis

from dagcelery.local import Process
from dagcelery.local.guard import Guard, tail
from dagcelery.local.server import find_binary, free_ports
from dagcelery.store.redis_clients import client_of, masters_of

SECONDS = 30.0
SLOTS = 16_384
SERVICE = "dags"
DOWN_MILLISECONDS = 1000


@contextmanager
def store_client(url: str, **options: Any) -> Iterator[Any]:
    """A client of what stands at an address of any kind."""
    with closing(client_of(url, **options)) as client:
        yield client


def limit_memory(url: str, most: int) -> None:
    """Set how much memory each master may take."""
    for each in masters_of(url):
        with store_client(each) as client:
            client.config_set("maxmemory", most)


class Several:
    """Servers by their ports, and the address of what they make together."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.password = secrets.token_hex(8)
        self.url = ""
        self._processes: dict[int, Process] = {}

    def start(self, binary: str, name: str, *options: str, **config: str) -> None:
        """Start a server, whose configuration it may write itself."""
        folder = self.guard.directory / name
        folder.mkdir()
        path = folder / "server.conf"
        path.touch(mode=0o600)
        common = {"bind": "127.0.0.1", "dir": str(folder)}
        lines = (f"{option.replace('_', '-')} {value}\n" for option, value in (common | config).items())
        path.write_text("".join(lines))
        process = self.guard.start([binary, str(path), *options], log=folder / "log")
        self._processes[int(config["port"])] = process
        client = redis.Redis(port=int(config["port"]), password=self.password)
        self._await(client.ping, process, folder / "log")

    def client(self, port: int) -> redis.Redis:
        """A plain client of one of them."""
        return redis.Redis(port=port, password=self.password)

    def kill(self, port: int) -> None:
        """Kill one of them, as a machine that loses power does."""
        self._processes[port].kill()

    def _await(self, ask: Callable[[], object], process: Process | None = None, log: Path | None = None) -> None:
        until = time.monotonic() + SECONDS
        while True:
            try:
                if ask():
                    return
            except redis.exceptions.RedisError:
                pass
            assert process is None or process.is_alive, tail(log) if log else ""
            assert time.monotonic() < until, "they never agreed"
            time.sleep(0.05)


class Sentinels(Several):
    """A master, a replica, and three Sentinels that take the replica for the master when that is gone."""

    def begin(self, binary: str) -> None:
        """Start them; the address is known when they know each other."""
        self.master, self.replica, *sentinels = free_ports(5)
        data = {"save": '""', "requirepass": self.password, "masterauth": self.password}
        self.start(binary, "master", port=str(self.master), **data)
        self.start(binary, "replica", port=str(self.replica), replicaof=f"127.0.0.1 {self.master}", **data)
        self._await(lambda: self._info(self.replica)["master_link_status"] == "up")
        for number, port in enumerate(sentinels):
            self.start(binary, f"sentinel-{number}", "--sentinel", port=str(port), **self._watching)
        for port in sentinels:
            self._await(lambda port=port: self._knows_all(port))
        self.url = f"redis+sentinel://:{self.password}@{','.join(f'127.0.0.1:{port}' for port in sentinels)}"
        self.url += f"/{SERVICE}/0?sentinel_password={self.password}"

    @property
    def _watching(self) -> dict[str, str]:
        return {
            "requirepass": self.password,
            "sentinel monitor": f"{SERVICE} 127.0.0.1 {self.master} 2",
            "sentinel auth_pass": f"{SERVICE} {self.password}",
            "sentinel sentinel_pass": self.password,
            "sentinel down_after_milliseconds": f"{SERVICE} {DOWN_MILLISECONDS}",
            "sentinel failover_timeout": f"{SERVICE} 5000",
        }

    def _info(self, port: int) -> Mapping[str, Any]:
        with self.client(port) as client:
            return dict(client.info("replication"))

    def _knows_all(self, port: int) -> bool:
        with self.client(port) as client:
            state: Any = client.sentinel_masters()[SERVICE]  # type: ignore[no-untyped-call]
        return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2)

    def kill_master(self, key: str) -> None:
        """Kill the master."""
        self.kill(self.master)

    def part(self, key: str) -> None:
        """Cut the replica off its master, which goes on: what is acknowledged from now on is not replicated."""
        with self.client(self.replica) as replica:
            replica.config_set("masterauth", "another")
            replica.execute_command("CLIENT", "KILL", "TYPE", "MASTER")  # type: ignore[no-untyped-call]


class Nodes(Several):
    """Three masters, each of which has a third of the slots, and a replica for each, if wanted."""

    def begin(self, binary: str, replicas: int = 0) -> None:
        """Start them; the address is known when they know each other."""
        ports = list(free_ports(2 * (3 + replicas)))
        self.ports = dict(zip(ports[::2], ports[1::2], strict=True))
        for port, bus in self.ports.items():
            own = {"requirepass": self.password, "masterauth": self.password, "save": '""'}
            timeout = str(DOWN_MILLISECONDS)
            own |= {"cluster_enabled": "yes", "cluster_port": str(bus), "cluster_node_timeout": timeout}
            self.start(binary, f"node-{port}", port=str(port), **own)
        masters, others = list(self.ports)[:3], list(self.ports)[3:]
        self._meet(masters)
        for port, master in zip(others, masters, strict=False):
            name = self._say(master, "MYID").decode()
            self._await(lambda port=port, name=name: self._say(port, "REPLICATE", name))
        self._await(lambda: all(self._is_well(port) for port in self.ports))
        for port in others:
            self._await(lambda port=port: b"master_link_status:up" in self._replication(port))
        self.url = f"redis+cluster://:{self.password}@{','.join(f'127.0.0.1:{port}' for port in masters)}"

    def _meet(self, masters: list[int]) -> None:
        first, bus = next(iter(self.ports.items()))
        for number, port in enumerate(masters):
            self._say(port, "ADDSLOTSRANGE", number * SLOTS // 3, (number + 1) * SLOTS // 3 - 1)
            self._say(port, "SET-CONFIG-EPOCH", number + 1)
        for port in list(self.ports)[1:]:
            self._say(port, "MEET", "127.0.0.1", first, bus)

    def _say(self, port: int, *words: Any) -> Any:
        with self.client(port) as client:
            client.response_callbacks.clear()
            return client.execute_command("CLUSTER", *words)  # type: ignore[no-untyped-call]

    def _replication(self, port: int) -> bytes:
        with self.client(port) as client:
            client.response_callbacks.clear()
            return bytes(client.execute_command("INFO", "replication"))  # type: ignore[no-untyped-call]

    def _is_well(self, port: int) -> bool:
        told = self._say(port, "INFO")
        return b"cluster_state:ok" in told and f"known_nodes:{len(self.ports)}".encode() in told

    def master_of(self, key: str) -> int:
        """The port of the node that has a key."""
        with store_client(self.url) as client:
            return int(client.get_node_from_key(key).port)

    def kill_master(self, key: str) -> None:
        """Kill the master that has a key."""
        self.kill(self.master_of(key))

    def part(self, key: str) -> None:
        """Cut a replica off the master that has a key, which goes on."""
        port = self.master_of(key)
        for replica in list(self.ports)[3:]:
            if f"master_port:{port}".encode() in self._replication(replica):
                with self.client(replica) as client:
                    client.config_set("masterauth", "another")
                    client.execute_command("CLIENT", "KILL", "TYPE", "MASTER")  # type: ignore[no-untyped-call]


@contextmanager
def sentinels() -> Iterator[Sentinels]:
    """Redis behind three Sentinels."""
    binary = shutil.which("redis-server")
    assert binary, "there is no redis-server"
    with ExitStack() as stack:
        made = Sentinels(stack.enter_context(Guard()))
        made.begin(binary)
        yield made


@contextmanager
def nodes(replicas: int = 0) -> Iterator[Nodes]:
    """A cluster of the embedded server."""
    with ExitStack() as stack:
        made = Nodes(stack.enter_context(Guard()))
        made.begin(str(find_binary()), replicas)
        yield made
