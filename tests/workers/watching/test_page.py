"""The page follows a run on real workers: what it has been told at the end is the run's own status."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from dagcelery import dag, task
from dagcelery.local import Cluster
from dagcelery.web import app

from .conftest import SECONDS


@task
def parts(n: int) -> list[int]:
    return list(range(n))


@task
def part(x: int) -> int:
    if x < 0:
        raise ValueError("negative")
    return x


@task
def whole(xs: list[int]) -> int:
    return sum(xs)


@dag
def summed(n: int, last: int) -> int:
    return whole([part(last), *[part(x) for x in parts(n)]])


@pytest.fixture
def browser(cluster: Cluster) -> Iterator[httpx.Client]:
    """Somebody who asks a page that a server of its own serves."""
    listening = socket.create_server(("127.0.0.1", 0))
    page = app(cluster.client, actions=True)
    server = uvicorn.Server(uvicorn.Config(page, log_level="error", timeout_graceful_shutdown=1, lifespan="off"))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    serving.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=SECONDS) as client:
        yield client
    server.should_exit = True
    serving.join()


def told(browser: httpx.Client, run_id: str) -> dict[str, Any]:
    """Follow a run to its end as the page does."""
    known: dict[str, Any] = {}
    kind = ""
    with browser.stream("GET", f"/api/runs/{run_id}/live") as stream:
        for line in stream.iter_lines():
            name, _, text = line.partition(": ")
            if name == "event":
                kind = text
            elif name == "data" and kind == "status":
                known = json.loads(text)
                known["nodes"] = [known["usual"] | node for node in known["nodes"]]
            elif name == "data" and kind == "change":
                change = json.loads(text)
                known["run"] |= change["run"]
                for index, fields in change["nodes"].items():
                    known["nodes"][int(index)] |= fields
    return known


def test_a_run_is_followed_fails_and_goes_on_where_the_page_retries_it(browser: httpx.Client) -> None:
    run = summed.submit(n=50, last=-1)
    known = told(browser, run.id)
    assert known["run"]["news"] == "part: ValueError: negative"
    csrf = {"X-CSRF-Token": browser.get("/api/session").json()["csrf"]}
    said = browser.post(f"/api/runs/{run.id}/retry?preview=1", json={"address": "part"}, headers=csrf).json()
    assert "part" in said["will"]
    assert browser.post(f"/api/runs/{run.id}/retry", json={"address": "part"}, headers=csrf).status_code == 200
    assert told(browser, run.id)["run"]["epoch"] == 2


def test_a_run_that_is_done_has_been_told_as_it_is(browser: httpx.Client) -> None:
    run = summed.submit(n=300, last=7)
    known = told(browser, run.id)
    status = json.loads(json.dumps(run.status().to_dict()))
    assert known["nodes"] == status.pop("nodes")
    assert known["run"] == status | {"news": ""}
