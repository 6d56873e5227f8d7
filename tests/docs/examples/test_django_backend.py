"""The shop in examples/django_backend: Django's server and its own Celery app's workers, as processes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from checkout import EXAMPLES
from dagcelery.local import Cluster
from dagcelery.local import cluster as local_cluster
from dagcelery.local.server import free_ports

from .serving import SECONDS, eventually, serving

PROJECT = EXAMPLES / "django_backend"
MANAGE = (sys.executable, "-W", "error", "manage.py")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server and a worker of the shop's own app, with an empty database."""
    environment = {
        "PYTHONPATH": os.pathsep.join((str(EXAMPLES.parent), str(PROJECT))),
        "SHOP_DATABASE": str(tmp_path_factory.mktemp("shop") / "shop.sqlite3"),
    }
    with local_cluster(workers=0, app="shop", environment=environment) as found:
        manage(found, "migrate")
        found.start_worker(2)
        yield found


@contextmanager
def web(local: Cluster, **environment: str) -> Iterator[httpx.Client]:
    """Django's own server, and somebody who asks it."""
    (port,) = free_ports(1)
    command = [*MANAGE, "runserver", "--noreload", f"127.0.0.1:{port}"]
    with (
        serving(local, command, port, folder=PROJECT, environment=environment),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as http,
    ):
        yield http


@pytest.fixture(scope="module")
def http(local: Cluster) -> Iterator[httpx.Client]:
    """Somebody who asks the shop."""
    with web(local) as asking:
        yield asking


def manage(local: Cluster, *words: str) -> str:
    done = subprocess.run(
        [*MANAGE, *words],
        cwd=PROJECT,
        env=os.environ | local.environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def asked(local: Cluster, question: str, *values: Any) -> list[Any]:
    """What the shop's database answers."""
    with closing(sqlite3.connect(Path(local.environment["SHOP_DATABASE"]), timeout=SECONDS)) as database, database:
        return database.execute(question, values).fetchall()


def order(http: httpx.Client, month: str, customer: str, cents: int) -> int:
    taken = http.post("/orders", data={"month": month, "customer": customer, "cents": str(cents)})
    assert taken.status_code == 201, taken.text
    return int(taken.json()["id"])


def test_the_shops_own_tasks_run_as_ever(local: Cluster, http: httpx.Client) -> None:
    made = order(http, "2026-01", "Ada", 700)
    eventually(lambda: asked(local, "select is_confirmed from billing_order where id = ?", made), [(1,)])


def test_an_order_that_is_not_valid_is_refused(http: httpx.Client) -> None:
    refused = http.post("/orders", data={"customer": "Ada", "cents": "a lot"})
    assert (refused.status_code, refused.json()) == (400, {"error": "ValidationError"})


def test_a_bill_is_a_dag_whose_tasks_use_models(http: httpx.Client) -> None:
    for customer, cents in (("Ada", 700), ("Grace", 800), ("Ada", 50)):
        order(http, "2026-02", customer, cents)
    run = http.post("/bills/2026-02").json()["run"]
    eventually(lambda: http.get("/bills/2026-02").json()["state"], "done")
    assert http.get("/bills/2026-02").json() == {"run": run, "state": "done", "total": 1550}


def test_a_month_has_one_bill_however_often_it_is_asked_for(local: Cluster, http: httpx.Client) -> None:
    first = http.post("/bills/2026-03").json()["run"]
    assert http.post("/bills/2026-03").json()["run"] == first
    assert manage(local, "bill", "2026-03") == "2026-03: 0 cents\n"
    assert http.get("/bills/2026-03").json()["run"] == first


def test_a_bill_that_nobody_asked_for_is_not_found(http: httpx.Client) -> None:
    assert http.get("/bills/1999-01").status_code == 404


def test_what_was_committed_but_not_started_is_started_by_the_command(local: Cluster, http: httpx.Client) -> None:
    order(http, "2026-04", "Grace", 900)
    (nobody,) = free_ports(1)
    with web(local, DAGCELERY_STORE_URL=f"redis://127.0.0.1:{nobody}/0") as cut_off:
        refused = cut_off.post("/bills/2026-04")
        assert (refused.status_code, refused.json()) == (503, {"error": "StoreUnavailable"})
    assert http.get("/bills/2026-04").json() == {"run": "", "state": "not started", "total": None}
    assert manage(local, "bill") == "2026-04: 900 cents\n"
    assert http.get("/bills/2026-04").json()["total"] == 900
    assert manage(local, "bill") == ""


def test_the_migrations_are_complete(local: Cluster) -> None:
    assert "No changes detected" in manage(local, "makemigrations", "--check", "--dry-run")
