"""The backend in examples/fastapi_backend, asked over HTTP: a process with uvicorn, and workers beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
import redis

from checkout import EXAMPLES
from dagcelery.local import Cluster, Process
from dagcelery.local import cluster as local_cluster
from dagcelery.local.server import free_ports
from examples.fastapi_backend.darts import pi

from .serving import SECONDS, eventually, serving

ENDLESS = {"parts": 10_000, "throws": 200_000}
"""What takes minutes, in pieces that are short."""
ROOT = EXAMPLES.parent
PATHS = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(EXAMPLES)))}


@pytest.fixture(scope="module")
def local() -> Iterator[Cluster]:
    """A server and a worker that finds the example."""
    with local_cluster(workers=2, environment=PATHS) as found:
        yield found


@contextmanager
def web(local: Cluster, **environment: str) -> Iterator[tuple[Process, httpx.Client]]:
    """A process of the app, and somebody who asks it."""
    (port,) = free_ports(1)
    command = [sys.executable, "-W", "error", "-m", "uvicorn", "fastapi_backend.web:app", "--port", str(port)]
    # A connection that is idle while a test does something else is not closed just when it is used again.
    times = ["--timeout-graceful-shutdown", "1", "--timeout-keep-alive", "600"]
    with (
        serving(local, [*command, *times], port, folder=EXAMPLES, environment=environment) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as http,
    ):
        yield process, http


@pytest.fixture(scope="module")
def http(local: Cluster) -> Iterator[httpx.Client]:
    """Somebody who asks a process of the app."""
    with web(local) as (_, asking):
        yield asking


def submit(http: httpx.Client, key: str, **wanted: int) -> httpx.Response:
    return http.post("/estimates", json=wanted, headers={"Idempotency-Key": key})


@pytest.fixture
def endless(http: httpx.Client, request: pytest.FixtureRequest) -> Iterator[str]:
    """The id of a run that goes on until the test is over."""
    run_id = submit(http, request.node.name, **ENDLESS).json()["id"]
    yield run_id
    http.post(f"/runs/{run_id}/cancel")


def told(http: httpx.Client, run_id: str, after: str = "", most: int | None = None) -> list[dict[str, Any]]:
    """Read server-sent events to the end of the stream, or until there are `most`, as a browser does."""
    found: list[dict[str, Any]] = []
    event: dict[str, Any] = {}
    with http.stream("GET", f"/runs/{run_id}/events", headers={"Last-Event-ID": after}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if name in ("id", "event", "data"):
                event[name] = value
            elif not line and event:
                found.append(event | {"data": json.loads(event["data"])})
                event = {}
                if len(found) == most:
                    break
    return found


def test_a_run_is_submitted_and_gives_its_result(http: httpx.Client) -> None:
    accepted = submit(http, "pi", parts=4, throws=500)
    assert accepted.status_code == 202
    found = http.get(f"{accepted.headers['Location']}/result", params={"wait": 30})
    assert found.json() == {"result": pi(parts=4, throws=500)}
    status = http.get(accepted.headers["Location"]).json()
    assert status["state"] == "done"
    done = {node["name"].rpartition("/")[2]: node["done"] for node in status["nodes"]}
    assert done == {"estimate": 1, "seeds": 1, "hits": 4, "ratio": 1}


def test_a_request_that_is_repeated_gets_the_same_run(http: httpx.Client) -> None:
    first = submit(http, "again", parts=2)
    assert submit(http, "again", parts=2).json() == first.json()
    assert submit(http, "another", parts=2).json() != first.json()


def test_a_key_is_not_reused_for_something_else(http: httpx.Client) -> None:
    first = submit(http, "taken", parts=2).json()
    refused = submit(http, "taken", parts=3)
    assert (refused.status_code, refused.json()["error"]) == (409, "KeyReused")
    assert first["id"] in refused.json()["detail"]


@pytest.mark.parametrize("wanted", [{"parts": 0}, {"parts": "many"}, {"pieces": 3}])
def test_parameters_that_do_not_fit_are_unprocessable(http: httpx.Client, wanted: dict[str, Any]) -> None:
    assert submit(http, "misfit", **wanted).status_code == 422


def test_a_submission_without_a_key_is_unprocessable(http: httpx.Client) -> None:
    assert http.post("/estimates", json={}).status_code == 422


@pytest.mark.parametrize("path", ["", "/result", "/result?wait=1", "/events", "/cancel"])
def test_a_run_that_is_not_there_is_not_found(http: httpx.Client, path: str) -> None:
    refused = http.request("POST" if path == "/cancel" else "GET", f"/runs/nobody{path}")
    assert (refused.status_code, refused.json()["error"]) == (404, "RunNotFound")


def test_events_are_told_to_the_end_and_from_any_position_on(http: httpx.Client) -> None:
    run_id = submit(http, "watched", parts=3, throws=10).json()["id"]
    whole = told(http, run_id)
    addresses = [event["data"]["address"].rpartition("/")[2] for event in whole]
    assert sorted(addresses[2:5]) == ["hits[0]", "hits[1]", "hits[2]"]
    assert addresses[:2] + addresses[5:] == ["", "seeds", "ratio", "estimate", ""]
    assert (whole[0]["event"], whole[-1]["event"], whole[-1]["data"]["state"]) == ("created", "ended", "done")
    begun = told(http, run_id, most=2)
    assert begun + told(http, run_id, after=begun[-1]["id"]) == whole


def test_a_browser_that_comes_back_after_the_end_is_kept_from_asking_again(http: httpx.Client) -> None:
    run_id = submit(http, "ended", parts=1, throws=10).json()["id"]
    last = told(http, run_id)[-1]["id"]
    assert http.get(f"/runs/{run_id}/events", headers={"Last-Event-ID": last}).status_code == 204


@pytest.mark.parametrize("position", ["yesterday", "18446744073709551616-0"])
def test_a_position_that_is_none_is_unprocessable(http: httpx.Client, endless: str, position: str) -> None:
    refused = http.get(f"/runs/{endless}/events", headers={"Last-Event-ID": position})
    assert refused.status_code == 422


def test_a_run_is_cancelled_and_has_no_result_then(http: httpx.Client, endless: str) -> None:
    assert http.get(f"/runs/{endless}/result").status_code == 202
    assert http.post(f"/runs/{endless}/cancel").json() == {"state": "cancelled"}
    gone = http.get(f"/runs/{endless}/result", params={"wait": 30})
    assert (gone.status_code, gone.json()["error"]) == (410, "RunCancelled")


def test_whoever_stops_watching_leaves_no_connection_behind(local: Cluster, http: httpx.Client, endless: str) -> None:
    with redis.Redis.from_url(local.store_url) as store:

        def watching() -> int:
            return sum(each["cmd"] == "xread" for each in store.client_list())

        eventually(watching, 0)  # what tests before this one have left
        with http.stream("GET", f"/runs/{endless}/events") as stream:
            lines = stream.iter_lines()  # whoever drops them drops the connection
            next(lines)
            eventually(watching, 1)
        eventually(watching, 0)


def test_runs_and_who_watches_them_outlive_a_process_of_the_app(local: Cluster) -> None:
    with ExitStack() as cleanup:
        first, asking = cleanup.enter_context(web(local))
        run_id = submit(asking, "outlives", parts=300, throws=5_000).json()["id"]
        begun = told(asking, run_id, most=5)
        with asking.stream("GET", f"/runs/{run_id}/events") as stream:
            lines = stream.iter_lines()  # whoever drops them drops the connection
            next(lines)
            first.stop(SECONDS)
        assert first.exit_code == -signal.SIGTERM  # it ended in order, although somebody watched
        _, elsewhere = cleanup.enter_context(web(local))
        rest = told(elsewhere, run_id, after=begun[-1]["id"])
        told_of = [event["data"]["address"] for event in begun + rest]
        assert len(set(told_of)) == len(told_of) - 1 == 304  # 300 hits, 3 other nodes, and the run's begin and end
        assert rest[-1]["data"]["state"] == "done"


def test_without_a_store_the_answer_is_503_and_hides_addresses(local: Cluster) -> None:
    (nobody,) = free_ports(1)
    with web(local, DAGCELERY_STORE_URL=f"redis://:secret@127.0.0.1:{nobody}/0") as (_, http):
        for refused in (http.get("/health"), submit(http, "no store"), http.get("/runs/any")):
            assert (refused.status_code, refused.json()) == (503, {"error": "StoreUnavailable"})
            assert refused.headers["Retry-After"]


def test_what_the_broker_did_not_take_is_submitted_again_with_the_same_key(local: Cluster, http: httpx.Client) -> None:
    (nobody,) = free_ports(1)
    with web(local, DAGCELERY_BROKER_URL=f"redis://127.0.0.1:{nobody}/0") as (_, cut_off):
        refused = submit(cut_off, "no broker", parts=1)
        assert (refused.status_code, refused.json()) == (503, {"error": "BrokerUnavailable"})
    run_id = submit(http, "no broker", parts=1).json()["id"]
    assert http.get(f"/runs/{run_id}/result", params={"wait": 30}).status_code == 200


def test_the_process_that_submits_does_not_import_the_pipeline(local: Cluster) -> None:
    program = (
        "import asyncio, sys\n"
        "from fastapi_backend.web import Response, Wanted, submit\n"
        "asyncio.run(submit(Wanted(parts=1), Response(), 'light'))\n"
        "print('fastapi_backend.estimates' in sys.modules, 'fastapi_backend.darts' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=EXAMPLES,
        env=os.environ | local.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "True False\n", done.stderr


def test_under_load_nothing_is_lost(http: httpx.Client) -> None:
    sizes = ["--runs", "30", "--clients", "10"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "fastapi_backend.load", str(http.base_url), *sizes],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert "0 lost, 30 results alike" in done.stdout
