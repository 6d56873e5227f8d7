"""dagcelery on a team's own Celery app: their tasks and ours side by side, their settings untouched."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pipelines
import pytest
from celery import Celery

from dagcelery import attach, submit
from dagcelery.client import set_default
from dagcelery.errors import NotConfigured

from .site import Site

SECONDS = 60.0


@pytest.fixture
def team(at: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The team's module, as their web process imports it; a worker of their app runs."""
    for name, value in at.team.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGCELERY_SIGNING_KEY", at.cluster.signing_key)
    worker = at.hire("team", "-c", "1", app="team", env=at.team)
    sys.modules.pop("team", None)
    import team

    worker.await_ready()
    yield team
    worker.process.stop()
    set_default(at.client)


def test_a_teams_app_runs_its_own_tasks_and_ours_on_its_default_queue(team: ModuleType, at: Site) -> None:
    assert team.own.delay(1).get(timeout=SECONDS) == 101
    run = pipelines.place.submit()
    assert run.result(timeout=SECONDS)[0] == at.workers["team"].pid
    assert {node.queue for node in run.status().nodes} == {"team"}
    assert submit(pipelines.map_reduce, {"n": 50}).result(timeout=SECONDS) == sum(x * x for x in range(50))


def test_attach_changes_no_setting_of_the_app() -> None:
    app = Celery("plain", broker="redis://localhost/3", set_as_current=False)
    before = app.conf.table(with_defaults=True, censored=False)
    replaced = set_default(None)
    attach(app)
    set_default(replaced)
    assert app.conf.table(with_defaults=True, censored=False) == before
    assert [name for name in app.tasks if name.startswith("dagcelery.")] == ["dagcelery.work", "dagcelery.link"]


@pytest.mark.parametrize(
    ("conf", "argument", "expected"),
    [
        ({"result_backend": "redis://backend/1"}, None, "redis://backend/1"),
        ({"result_backend": "rpc://"}, None, "redis://broker/0"),
        ({"result_backend": "redis+socket:///run/s?virtual_host=2"}, None, "unix:///run/s?db=2"),
        ({"dagcelery_store_url": "redis://conf/4", "result_backend": "redis://backend/1"}, None, "redis://conf/4"),
        ({"result_backend": "redis://backend/1"}, "redis://argument/5", "redis://argument/5"),
    ],
)
def test_the_store_is_the_argument_then_the_configuration_then_the_backend_then_the_broker(
    conf: dict[str, Any], argument: str | None, expected: str
) -> None:
    app = Celery("plain", broker="redis://broker/0", set_as_current=False)
    app.conf.update(conf)
    replaced = set_default(None)
    try:
        assert attach(app, store_url=argument).settings.store_url == expected
    finally:
        set_default(replaced)


def test_an_app_without_any_redis_is_refused_with_the_remedies() -> None:
    app = Celery("plain", broker="amqp://localhost", backend="rpc://", set_as_current=False)
    with pytest.raises(NotConfigured, match=r"'plain' has no Redis.*store_url=.*DAGCELERY_STORE_URL"):
        attach(app)


def test_large_graphs_run_eagerly(eager: Celery) -> None:
    from dagcelery import dag

    @dag
    def chain(x: int) -> int:
        for _ in range(2_000):
            x = pipelines.stage(x)
        return x

    assert chain.submit(x=0).result() == 2_000
    assert pipelines.map_reduce.submit(n=10_000).result() == sum(x * x for x in range(10_000))
