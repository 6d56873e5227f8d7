"""A worker for GPUs has a child for each, which sees no other; a list of names stands for the devices."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import ImproperlyConfigured
from celery.signals import worker_process_init

from checkout import ROOT
from dagcelery.local import Cluster, cluster

from .installation import await_ready, worker

SECONDS = 60.0
TASKS = """
import os
import time

from dagcelery import current, dag, task


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task(taint="gpu")
def look(x: int) -> list[str]:
    time.sleep(0.2)
    return [os.environ["CUDA_VISIBLE_DEVICES"], str(os.getpid())]


@task(taint="gpu")
def look_after_a_death(x: int) -> list[str]:
    if current().attempt == 1:
        os._exit(1)
    return look(x)


@dag
def everywhere(n: int) -> list[list[str]]:
    return [look(x) for x in numbers(n)]


@dag
def after_deaths(n: int) -> list[list[str]]:
    return [look_after_a_death(x) for x in numbers(n)]
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A user's module."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "gpu_tasks.py").write_text(TASKS)
    sys.path.insert(0, str(folder))
    import gpu_tasks

    yield gpu_tasks
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def local(tasks: Any) -> Iterator[Cluster]:
    """A server and a worker for what is not tainted, which finds the module where this process does."""
    with cluster(workers=1) as made:
        yield made


@contextmanager
def gpu_worker(local: Cluster, tasks: Any, devices: str) -> Iterator[None]:
    environment = {**local.environment, "CUDA_VISIBLE_DEVICES": devices}
    folder = Path(tasks.__file__).parent
    process, log = worker(local.server.guard, "worker_config.gpu", "-Q", "gpu", environment=environment, modules=folder)
    try:
        await_ready(process, log)
        yield
    finally:
        process.stop()


def seen(found: list[list[str]]) -> dict[str, set[str]]:
    """Which processes saw which devices."""
    by_device: dict[str, set[str]] = {}
    for device, pid in found:
        by_device.setdefault(device, set()).add(pid)
    return by_device


def test_each_child_sees_one_gpu_and_no_two_see_the_same(local: Cluster, tasks: Any) -> None:
    with gpu_worker(local, tasks, "GPU-a,GPU-b"):
        by_device = seen(tasks.everywhere.submit(n=8).result(timeout=SECONDS))
        assert set(by_device) == {"GPU-a", "GPU-b"}
        assert [len(pids) for pids in by_device.values()] == [1, 1]
        again = seen(tasks.after_deaths.submit(n=2).result(timeout=SECONDS))
        assert set(again) <= {"GPU-a", "GPU-b"}


Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Read the settings as a worker does that has this list of devices and these programs."""
    read: list[dict[str, Any]] = []

    def make(devices: str = "", path: str = "") -> dict[str, Any]:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
        monkeypatch.setenv("PATH", path)
        read.append(runpy.run_path(str(ROOT / "worker_config" / "gpu.py")))
        return read[-1]

    yield make
    for each in read:
        worker_process_init.disconnect(each["_take_one"])


def test_without_a_list_they_are_what_nvidia_smi_lists(settings: Settings, tmp_path: Path) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho GPU-a\necho GPU-b\n")
    smi.chmod(0o755)
    assert settings(path=str(tmp_path))["worker_concurrency"] == 2
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"


def test_children_are_spawned_one_for_each_gpu_and_take_no_message_ahead(settings: Settings) -> None:
    told = settings("0,1,3")
    assert (told["worker_pool_start_method"], told["worker_concurrency"]) == ("spawn", 3)
    assert (told["worker_prefetch_multiplier"], told["worker_disable_prefetch"]) == (1, True)
    assert told["task_acks_late"] is True


def test_a_machine_without_a_gpu_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="no GPU: set CUDA_VISIBLE_DEVICES, or make nvidia-smi work here"):
        settings(path=str(tmp_path))
