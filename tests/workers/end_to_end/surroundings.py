"""Brokers and stores other than the embedded server: RabbitMQ, a Redis with TLS or behind Sentinels, a cluster.

DAGCELERY_TEST_SURROUNDINGS chooses. Their servers listen on this machine's loopback only, on ports and in
folders of their own, and end with the block.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import redis
from kombu import Connection

from dagcelery.local import Process, Server
from dagcelery.local.guard import Guard, tail
from dagcelery.local.server import free_ports

from .several_servers import nodes, sentinels

CHOSEN = os.environ.get("DAGCELERY_TEST_SURROUNDINGS", "embedded")
START_SECONDS = 90.0
STOP_SECONDS = 20.0
# Debian's /usr/sbin/rabbitmq-server would change the user; what it calls runs for anybody.
SEARCHED = os.pathsep.join(("/usr/lib/rabbitmq/bin", os.environ.get("PATH", os.defpath), "/usr/sbin"))
PROGRAMS = {
    "rabbitmq": ("rabbitmq-server", "epmd"),
    "tls": ("redis-server", "openssl"),
    "sentinel": ("redis-server",),
}
PACKAGES = {"epmd": "erlang-base"}

Environment = dict[str, str]
"""Addresses, by the variables that tell them; none where the embedded server is both broker and store."""


def missing() -> str:
    """What the chosen surroundings need and this machine lacks, with the remedy; empty if there is nothing."""
    names = [name for name in PROGRAMS.get(CHOSEN, ()) if not shutil.which(name, path=SEARCHED)]
    packages = " ".join(PACKAGES.get(name, name) for name in names)
    return f"{CHOSEN}: {' and '.join(names)} not installed; apt-get install {packages}" if names else ""


def nobody_at(port: int) -> str:
    """The address of a broker of the chosen kind that does not answer."""
    at = f"127.0.0.1:{port}"
    spelled = {"rabbitmq": f"amqp://guest:secret@{at}//", "tls": f"rediss://:secret@{at}/5?ssl_cert_reqs=none"}
    spelled["sentinel"] = f"redis+sentinel://:secret@{at}/dags/0?sentinel_password=secret"
    return spelled.get(CHOSEN, f"redis://:secret@{at}/0")


@contextmanager
def embedded() -> Iterator[Environment]:
    """One embedded server for all."""
    yield {}


# -- RabbitMQ -------------------------------------------------------------------------------------
@contextmanager
def rabbitmq(*options: str) -> Iterator[Environment]:
    """RabbitMQ carries messages, the embedded server remembers; a team's results travel through RabbitMQ, too."""
    with Guard() as guard:
        amqp, distribution, mapper = free_ports(3)
        password = secrets.token_hex(16)
        url = f"amqp://tester:{password}@127.0.0.1:{amqp}//"
        environment = node(guard.directory, password, amqp, distribution, mapper, *options)
        names = ["epmd", "-port", str(mapper), "-address", "127.0.0.1"]  # else RabbitMQ leaves one behind for all
        guard.start(names, log=guard.directory / "epmd.log", environment=environment)
        log = guard.directory / "rabbitmq.log"
        broker = guard.start([found("rabbitmq-server")], log=log, environment=environment)
        await_answer(lambda: Connection(url, connect_timeout=2).connect().close(), broker, log)
        yield {"DAGCELERY_BROKER_URL": url, "TEAM_BACKEND": "rpc://"}
        broker.stop(STOP_SECONDS)


def node(folder: Path, password: str, amqp: int, distribution: int, mapper: int, *options: str) -> Environment:
    """Configure a node of its own, and say where its configuration is."""
    config = folder / "rabbitmq.conf"
    config.touch(mode=0o600)
    lines = [f"listeners.tcp.1 = 127.0.0.1:{amqp}", "default_user = tester", f"default_pass = {password}", *options]
    config.write_text("".join(f"{line}\n" for line in lines))
    (folder / "plugins").write_text("[].\n")
    (folder / "no-environment").touch()
    return {
        "PATH": SEARCHED,
        "HOME": str(folder),  # the Erlang cookie is made there
        "LANG": "C.UTF-8",
        "ERL_CRASH_DUMP_SECONDS": "0",  # else one that fails leaves a file in the working directory
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"dagcelery-{amqp}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "no-environment"),
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
    }


# -- Redis with TLS -------------------------------------------------------------------------------
CERTIFICATES = """
[req]
distinguished_name = name
prompt = no
[name]
CN = 127.0.0.1
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:false
subjectAltName = IP:127.0.0.1
authorityKeyIdentifier = keyid
[client]
basicConstraints = critical, CA:false
authorityKeyIdentifier = keyid
"""


@contextmanager
def tls() -> Iterator[Environment]:
    """A Redis with a password that knows clients by their certificates; messages in database 5, runs in 7."""
    with Guard() as guard:
        certify(guard.directory)
        password = f"p@ss/w:rd%{secrets.token_hex(8)}"
        (port,) = free_ports(1)
        log = guard.directory / "redis.log"
        server = guard.start([found("redis-server"), str(configured(guard.directory, port, password))], log=log)
        queries = [files(guard.directory) | {"ssl_cert_reqs": wanted} for wanted in ("required", "CERT_REQUIRED")]
        at = f"rediss://:{quote(password, safe='')}@127.0.0.1:{port}"
        # As redis-py says it, as Celery says it, and unsaid.
        store, celerys = (f"{at}/7?{urlencode(query)}" for query in queries)
        broker = f"{at}/5?{urlencode(files(guard.directory))}"
        await_answer(lambda: redis.Redis.from_url(store).ping(), server, log)
        yield {
            "DAGCELERY_BROKER_URL": broker,
            "DAGCELERY_STORE_URL": store,
            "TEAM_BACKEND": celerys,
        }


def files(folder: Path) -> dict[str, str]:
    """The files that a client needs, by the names that URLs have for them."""
    names = {"ssl_ca_certs": "authority.pem", "ssl_certfile": "client.pem", "ssl_keyfile": "client.key"}
    return {name: str(folder / file) for name, file in names.items()}


def certify(folder: Path) -> None:
    """Make an authority, and a certificate by it for the server and for its clients."""
    (folder / "openssl.cnf").write_text(CERTIFICATES)
    new = [found("openssl"), "req", "-x509", "-config", "openssl.cnf", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    for name in ("authority", "server", "client"):
        by = [] if name == "authority" else ["-CA", "authority.pem", "-CAkey", "authority.key"]
        made = [*new, "-extensions", name, "-subj", f"/CN={name}", *by, "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run(made, cwd=folder, check=True, capture_output=True)


def configured(folder: Path, port: int, password: str) -> Path:
    """Write the server's configuration."""
    config = folder / "redis.conf"
    config.touch(mode=0o600)
    config.write_text(
        f'bind 127.0.0.1\nport 0\ntls-port {port}\nrequirepass "{password}"\nsave ""\ndir {folder}\n'
        f"tls-cert-file {folder}/server.pem\ntls-key-file {folder}/server.key\n"
        f"tls-ca-cert-file {folder}/authority.pem\ntls-auth-clients yes\nmaxmemory-policy noeviction\n"
    )
    return config


# -- two servers ----------------------------------------------------------------------------------
@contextmanager
def two_servers() -> Iterator[Environment]:
    """The embedded server carries messages, a second one remembers, in a database that is not its first."""
    with Server() as second:
        url = second.url.removesuffix("/0") + "/3"
        yield {"DAGCELERY_STORE_URL": url, "TEAM_BACKEND": url}


# -- servers that stand in for each other ---------------------------------------------------------
@contextmanager
def sentinel() -> Iterator[Environment]:
    """A master with a replica and three Sentinels carries messages and remembers."""
    with sentinels() as servers:
        yield {"DAGCELERY_BROKER_URL": servers.url, "DAGCELERY_STORE_URL": servers.url}


@contextmanager
def of_nodes() -> Iterator[Environment]:
    """The embedded server carries messages, a cluster of three masters remembers."""
    with nodes() as servers:
        yield {"DAGCELERY_STORE_URL": servers.url}


# -- all ------------------------------------------------------------------------------------------
SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Environment]]] = {
    "embedded": embedded,
    "rabbitmq": rabbitmq,
    "tls": tls,
    "two-servers": two_servers,
    "sentinel": sentinel,
    "cluster": of_nodes,
}


def found(name: str) -> str:
    """Where a program is."""
    path = shutil.which(name, path=SEARCHED)
    assert path, f"there is no {name}"
    return path


def await_answer(ask: Callable[[], object], server: Process, log: Path) -> None:
    """Ask until a server answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ask()
        except (OSError, redis.exceptions.ConnectionError):
            if not server.is_alive or time.monotonic() > deadline:
                raise RuntimeError(f"{CHOSEN}: the server did not start, {tail(log)}") from None
            time.sleep(0.1)
        else:
            return
