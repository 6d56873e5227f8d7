"""Our messages and tasks beside a team's: whatever its app says of its own, ours are those of a plain app."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, Task, group
from celery.worker.consumer import Consumer
from kombu import Exchange, Queue
from kombu.utils.limits import TokenBucket

from dagcelery import attach, dag, task
from dagcelery.client import Client, plan_of, set_default
from dagcelery.errors import NodeFailed, NotSent
from dagcelery.local import Server
from dagcelery.settings import Settings
from dagcelery.worker.app import app_context_of, make_app
from dagcelery.worker.messages import LINK, WORK, check_queues
from unit.engine import flows
from unit.engine.worlds import World

DECIDED = ("rate_limit", "time_limit", "soft_time_limit", "acks_late", "reject_on_worker_lost", "acks_on_failure")
DECIDED += ("acks_on_timeout", "ignore_result", "store_errors_even_if_ignored", "track_started", "max_retries")
DECIDED += ("autoretry_for", "retry_on_worker_lost", "__call__", "before_start", "on_failure", "on_success")
Wire = list[tuple[str, dict[str, Any], Any, dict[str, Any]]]


@task
def one(x: int) -> int:
    return x


@task(taint="gpu")
def on_gpu(x: int) -> int:
    return x


@dag
def back_and_forth(x: int) -> int:
    return one(on_gpu(one(x)))


class Hostile(Task):  # type: ignore[type-arg]
    """A team's base class that does what it must not around a message of ours."""

    rate_limit, time_limit, acks_late, typing, max_retries = "1/h", 1, False, True, 5
    autoretry_for, Request, priority = (Exception,), "no.such:Request", 9

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no tenant")

    before_start = on_failure = on_success = apply_async = delay = __call__


def refuses(*args: Any, **options: Any) -> Any:
    """A team's router that fails."""
    raise RuntimeError("no route")


LIMITS = {"time_limit": 1, "soft_time_limit": 1, "rate_limit": "1/h", "expires": 1, "priority": 9, "queue": "x"}
ROUTE = {"queue": "x", "exchange": "y", "routing_key": "z", "expires": 1, "countdown": 9, "serializer": "pickle"}
SETTINGS: dict[str, dict[str, Any]] = {
    "annotations": {
        "task_annotations": {"*": LIMITS | {"ignore_result": False, "@__call__": lambda call: refuses}, WORK: LIMITS}
    },
    "limits": {"task_time_limit": 1, "task_soft_time_limit": 1, "task_default_rate_limit": "1/h"},
    "base class": {"task_cls": Hostile},
    "a route for all": {"task_routes": {"*": ROUTE}},
    "a router that fails": {"task_routes": (refuses,)},
    "a route to a queue": {"task_routes": [{"dagcelery.*": {"queue": Queue("x", Exchange("y"), routing_key="z")}}]},
    "results": {"task_ignore_result": False, "task_store_errors_even_if_ignored": True, "task_track_started": True},
    "acknowledgements": {
        "task_acks_late": False,
        "task_acks_on_failure_or_timeout": False,
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": True,
    },
}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    replaced = set_default(None)
    yield
    set_default(replaced)


def made(task_cls: Any = Task, **conf: Any) -> Client:
    app = Celery("team", broker="memory://", task_cls=task_cls, set_as_current=False)
    app.conf.update(conf)
    return attach(app, store_url="redis://127.0.0.1:1/0", signing_key="0123456789abcdef")


def noting(app: Celery) -> Wire:
    """Note what an app would send from now on."""
    sent: Wire = []

    def note(producer: object, name: str, message: Any, **options: Any) -> None:
        sent.append((name, message.headers, message.body, options))

    app.amqp.__dict__["send_task_message"] = note
    return sent


def wire(app: Celery) -> list[object]:
    """What distinguishes our messages on their way: a plain one, one that waits, and those of canvas."""
    sent = noting(app)
    plain = app.signature(WORK, kwargs={"run": "r", "queue": "q"}, immutable=True, queue="q")
    app.tasks[WORK].apply_async(kwargs={"run": "r", "queue": "q"}, queue="q", countdown=60)
    app.tasks[WORK].apply_async(kwargs={"run": "r", "queue": "q"}, queue="q", priority=6)
    (plain | plain.clone()).apply_async()
    group([plain, plain.clone()], app=app).apply_async()
    return [
        (
            (name, headers["timelimit"], headers["expires"], headers["ignore_result"], bool(headers["eta"])),
            {**options, "queue": options["queue"].name},
        )
        for name, headers, _, options in sent
    ]


def attribute(of: Any, name: str) -> object:
    """An attribute of a task; of a method, its function."""
    found = getattr(of, name, None)
    return getattr(found, "__func__", found)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_message_is_the_same_whatever_the_app_says_of_its_tasks(settings: dict[str, Any]) -> None:
    plain, theirs = made().app_context.app, made(**settings).app_context.app
    expected, found = wire(plain), wire(theirs)
    assert found == expected
    for name in (WORK, LINK):
        mine, other = ([attribute(app.tasks[name], each) for each in DECIDED] for app in (plain, theirs))
        assert mine == other
        assert theirs.tasks[name].Request == "dagcelery.worker.heartbeat:Reported"


def test_a_message_has_the_apps_default_priority_and_not_that_of_the_message_before() -> None:
    app = made(task_default_priority=5, task_inherit_parent_priority=True).app_context.app
    sent = noting(app)
    work: Any = app.tasks[WORK]
    work.push_request(delivery_info={"priority": 9}, id="1", called_directly=False)
    app.tasks[WORK].apply_async(kwargs={"run": "r", "queue": "q"}, queue="q")
    assert [options["priority"] for *_, options in sent] == [5]


@pytest.mark.parametrize(
    ("accepted", "own", "expected"),
    [
        (["json"], "pickle", "json"),
        (["pickle", "json"], "pickle", "json"),
        (["pickle"], "pickle", "pickle"),
        (["application/x-yaml"], "yaml", "yaml"),
        (["msgpack"], "json", "msgpack"),
    ],
)
def test_a_message_is_json_unless_the_apps_workers_accept_none(accepted: list[str], own: str, expected: str) -> None:
    app = made(accept_content=accepted, task_serializer=own).app_context.app
    sent = noting(app)
    chain = app.signature(LINK, kwargs={"run": "r"}, queue="q") | app.signature(WORK, kwargs={"run": "r"}, queue="q")
    chain.apply_async()
    ((_, _, body, options),) = sent
    assert options["serializer"] == expected
    assert type(body[2]["chain"][0]) is dict or expected == "json"  # YAML knows no signatures


def test_an_app_that_accepts_nothing_is_told_so() -> None:
    app = made(accept_content=[]).app_context.app
    with pytest.raises(NotSent, match=r"accept_content of the app is \[\]; let it have 'json'"):
        app.tasks[WORK].apply_async(kwargs={}, queue="q")


def test_limits_by_remote_control_do_not_hold_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    work: Any = made().app_context.app.tasks[WORK]
    work.rate_limit, work.time_limit, work.soft_time_limit = "1/h", 2, 1
    assert (work.rate_limit, work.time_limit, work.soft_time_limit) == (None, None, None)
    assert not isinstance(Consumer.bucket_for_task(None, work), TokenBucket)  # type: ignore[arg-type]
    assert "no rate_limit holds for dagcelery.work; give max_concurrent= to the tasks of your DAGs" in caplog.text
    work.rate_limit = 0
    assert len(caplog.records) == 3


# -- queues that may not be made -------------------------------------------------------------------
def strict(*queues: str) -> Client:
    return made(task_create_missing_queues=False, task_queues=[Queue(name) for name in ("celery", *queues)])


def test_a_run_that_needs_a_queue_which_cannot_be_sent_to_is_refused_before_anything_is_written() -> None:
    with pytest.raises(NotSent, match=r"node 'on_gpu' needs the queue 'gpu'.*; name the queue in task_queues"):
        strict().submit(back_and_forth, {"x": 1})  # there is no store, which nobody notices
    check_queues(strict("gpu").app_context.app, plan_of(back_and_forth))
    check_queues(made().app_context.app, plan_of(back_and_forth))


def test_a_task_that_makes_a_graph_with_such_a_queue_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def check(plan: Any) -> None:
        raise NotSent("node 'x' needs the queue 'gpu'", "name it")

    run_id = world.submit(flows.halves_of, n=6)
    monkeypatch.setattr(world.post, "check", check)
    world.settle()
    with pytest.raises(NodeFailed, match="NotSent: a message cannot be sent: node 'x' needs the queue 'gpu'; name it"):
        world.result(run_id)


# -- priorities ------------------------------------------------------------------------------------
@pytest.fixture
def sender(server: Server) -> Callable[[], tuple[Any, Wire]]:
    """A process with dagcelery's own app."""

    def make() -> tuple[Any, Wire]:
        app = make_app(Settings(broker_url=server.url, store_url=server.url))
        return app_context_of(app), noting(app)

    return make


def test_new_runs_wait_behind_earlier_ones_only_where_all_workers_of_their_queue_let_them(
    sender: Callable[[], tuple[Any, Wire]],
) -> None:
    context, _ = sender()
    for name, queues, yields in (("own", ["mine", "both"], True), ("team", ["theirs", "both"], False)):
        context.store.fleet.heartbeat(name, queues, 1, yields=yields)
    context, sent = sender()
    for queue in ("mine", "theirs", "both", "nobody"):
        context.sender.wake_up("r", queue, 1)
    assert [options["priority"] for *_, options in sent] == [6, None, None, 6]
