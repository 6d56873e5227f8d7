"""What the files for containers promise, read without Docker; tests/deploy/docker tries it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from checkout import ROOT

COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
SECRETS = ("REDIS_PASSWORD", "DAGCELERY_SIGNING_KEY", "FLOWER_BASIC_AUTH")


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_has_no_default(name: str) -> None:
    found = re.findall(rf"\$\{{{name}([^}}]*)\}}", COMPOSE)
    assert found
    assert all(rest.startswith(":?") for rest in found)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened_checked_and_heard_on_the_loopback_only(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["healthcheck"]["test"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_tasks_have_more_time_to_end_than_celery_gives_them() -> None:
    from worker_config import celeryconfig

    for name in ("worker", "gpu-worker"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > celeryconfig.worker_soft_shutdown_timeout


def test_images_can_be_replaced_and_are_not_for_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "ARG BASE_IMAGE=python:3.13-slim" in dockerfile
    assert re.findall(r"^USER (.*)$", dockerfile, re.M) == ["10001:10001"]
    assert SERVICES["redis"]["image"] == "${REDIS_IMAGE:-redis:7-alpine}"
    assert SERVICES["redis"]["user"] == "redis"


def test_gpus_are_reserved_in_a_file_of_their_own() -> None:
    assert "devices:" not in COMPOSE
    own = (ROOT / "docker-compose.gpu.yml").read_text()
    assert "capabilities: [gpu]" in own
    assert "CUDA_VISIBLE_DEVICES: !reset null" in own


def test_nothing_else_than_what_the_image_is_made_of_is_sent_to_docker() -> None:
    ignored, *kept = (line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#")
    assert ignored == "*"
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    assert {word for line in copied for word in line.split()} == {line[1:] for line in kept if line[:1] == "!"}
