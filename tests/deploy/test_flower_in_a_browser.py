"""Who opens Flower in a browser finds a run by its id, and of the run the nodes, but no value.

Needs Debian's package chromium, or another Chromium on PATH; without one the test says so and is skipped.
``FLOWER_SCREENSHOT=docs/flower.png`` keeps what is seen.
"""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import pytest

from dagcelery import dag, task
from dagcelery.local import Cluster, cluster
from dagcelery.local.cluster import default_client
from dagcelery.local.guard import Guard, tail
from dagcelery.local.server import free_ports

from .browsing import CHROMIUM, NO_CHROMIUM
from .installation import BOOT_SECONDS
from .test_flower import COMMAND, environment

LOGIN = ("ops", "secret")
SECONDS = 30.0
SECRET = 424_242
FILTERED = """run => {
    const rows = [...document.querySelectorAll("#tasks-table tbody tr")].map(row => row.innerText);
    const nodes = rows.filter(text => text.startsWith("ranking."));
    return nodes.length >= 5 && rows.every(text => text.includes(run));
}"""
"""Whether the table shows all nodes of a run, and nothing else."""

pytestmark = NO_CHROMIUM
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@task
def fetch(n: int) -> list[int]:
    return [SECRET + i for i in range(n)]


@task
def score(x: int) -> int:
    return x % 7


@task
def best(xs: list[int]) -> int:
    return max(xs)


@dag(name="ranking")
def ranking(n: int) -> int:
    return best([score(x) for x in fetch(n)])


@pytest.fixture(scope="module")
def watched() -> Iterator[Cluster]:
    """A worker that tells what it does, the default."""
    with cluster(workers=1, events=True) as local, default_client(local.client):
        yield local


@pytest.fixture(scope="module")
def flower(watched: Cluster) -> Iterator[str]:
    """The address of a Flower that has seen a run."""
    (port,) = free_ports(1)
    given = environment(watched.server, FLOWER_BASIC_AUTH=":".join(LOGIN), FLOWER_PORT=str(port))
    with Guard() as guard:
        log = guard.directory / "flower.log"
        process = guard.start(COMMAND, log=log, environment=given | watched.environment)
        until = time.monotonic() + BOOT_SECONDS
        while not has_seen_a_run(port):
            assert process.is_alive, tail(log)
            assert time.monotonic() < until, tail(log)
        yield f"http://127.0.0.1:{port}"
        process.stop()


def has_seen_a_run(port: int) -> bool:
    """Let something happen, and ask Flower for it: it knows only what happens while it listens."""
    run = ranking.submit(n=1)
    run.wait(SECONDS)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/tasks?search=kwargs:run={run.id}")
    request.add_header("Authorization", "Basic " + base64.b64encode(":".join(LOGIN).encode()).decode())
    with suppress(urllib.error.URLError), urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return bool(json.load(answer))
    return False


def test_a_search_for_a_run_shows_its_nodes_and_no_value(flower: str) -> None:
    run, other = ranking.submit(n=3), ranking.submit(n=2)
    assert (run.result(SECONDS), other.result(SECONDS)) == (2, 1)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        login = {"username": LOGIN[0], "password": LOGIN[1]}
        page = browser.new_page(http_credentials=login, viewport={"width": 1280, "height": 560})
        page.set_default_timeout(1000 * SECONDS)
        page.goto(f"{flower}/tasks")
        page.get_by_role("searchbox").fill(f"kwargs:run={run.id}")
        page.wait_for_function(FILTERED, arg=run.id)
        shown = page.locator("#tasks-table tbody tr").all_inner_texts()  # messages that carried nodes are shown as well
        assert sorted(text.split()[0] for text in shown if text.startswith("ranking.")) == [
            "ranking.best",
            "ranking.fetch",
            *["ranking.score"] * 3,
        ]
        assert other.id not in page.content()
        assert str(SECRET)[:5] not in page.content()
        if os.environ.get("FLOWER_SCREENSHOT"):
            page.screenshot(path=os.environ["FLOWER_SCREENSHOT"])
        browser.close()
