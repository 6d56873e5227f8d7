"""The same parts as in processes.py, in containers: Redis, and workers of the image that the Dockerfile makes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pytest_celery import CeleryWorkerContainer, RedisContainer
from pytest_docker_tools import container, fxtr, volume
from pytest_docker_tools.wrappers import container as wrapper

from checkout import ROOT
from dagcelery.local.server import free_ports

USERLAND = str(Path(__file__).parent / "userland")
BUILD_SECONDS = 540
BOOT_SECONDS = 120
BASE_IMAGE = os.environ.get("BASE_IMAGE")
REDIS_IMAGE = os.environ.get("REDIS_IMAGE", "redis:7-alpine")

if os.environ.get("TESTS_ON_HOST") == "1":
    # A machine whose root was made from an image has /.dockerenv, and is taken for a container.
    wrapper.tests_inside_container = lambda: False


@pytest.fixture(scope="session")
def dagcelery_image() -> str:
    """The image, built from this checkout."""
    base = ["--build-arg", f"BASE_IMAGE={BASE_IMAGE}"] if BASE_IMAGE else []
    command = ["docker", "build", "--quiet", "--tag", "dagcelery-smoke", *base, str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert built.returncode == 0, built.stderr[-3000:]
    return built.stdout.strip()


@pytest.fixture
def server_ports() -> dict[str, tuple[str, int]]:
    """One port on the loopback, which stays the same when the container is restarted."""
    (port,) = free_ports(1)
    return {"6379/tcp": ("127.0.0.1", port)}


server_data = volume()

server = container(
    image=REDIS_IMAGE,
    command=RedisContainer.command("--appendonly", "yes", "--dir", "/data"),
    ports=fxtr("server_ports"),
    network="{default_pytest_celery_network.name}",
    volumes={"{server_data.name}": {"bind": "/data", "mode": "rw"}},
    wrapper_class=RedisContainer,
    timeout=BOOT_SECONDS,
)


@pytest.fixture
def worker_environment(server: RedisContainer, quick: dict[str, str], signing_key: str) -> dict[str, str]:
    """What workers are told: addresses as they are inside the network."""
    return quick | {
        "DAGCELERY_BROKER_URL": server.url,
        "DAGCELERY_STORE_URL": server.url,
        "DAGCELERY_SIGNING_KEY": signing_key,
        "PYTHONPATH": "/app:/app/tasks",
    }


def consumer_of(queue: str) -> Any:
    """A fixture that is a worker of one process which consumes a queue."""
    config = ["--config", "hasty", "worker", "-n", f"{queue}@%h", "-Q", queue]
    return container(
        image="{dagcelery_image}",
        command=[*config, "-c", "1", "-l", "INFO", "--without-mingle", "--without-gossip"],
        environment=fxtr("worker_environment"),
        network="{default_pytest_celery_network.name}",
        volumes={USERLAND: {"bind": "/app/tasks", "mode": "ro"}},
        wrapper_class=CeleryWorkerContainer,
        timeout=BOOT_SECONDS,
    )


default_queue_worker = consumer_of("celery")
gpu_worker = consumer_of("gpu")


@pytest.fixture
def workers(
    default_queue_worker: CeleryWorkerContainer, gpu_worker: CeleryWorkerContainer
) -> list[CeleryWorkerContainer]:
    """A worker for untainted work, and one for what is tainted gpu."""
    return [default_queue_worker, gpu_worker]
