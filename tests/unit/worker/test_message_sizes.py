"""What is really put on the wire is small whatever the graph, and holds no value: it is read from a broker's list."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from dagcelery import dag, task
from dagcelery.client import Client
from dagcelery.local import Server
from dagcelery.settings import Settings
from dagcelery.store.records import ReadyStep, scope_id
from dagcelery.worker.sender import LINK, MOST_STEPS, WORK, Canvas
from unit.engine import flows

PIECE_BYTES = 1_500
MESSAGE_BYTES = 3_000


@dataclass
class Wire:
    """A broker without workers, and a client that sends to it."""

    raw: redis.Redis
    client: Client

    def submit(self, node: Any, **params: Any) -> str:
        return self.client.submit(node, params).id

    def read(self, *queues: str) -> list[bytes]:
        """What lies in queues; kombu keeps messages of a lower priority in lists of their own."""
        lists = [name for queue in queues for name in (queue, f"{queue}\x06\x166")]
        return [message for name in lists for message in self.raw.lrange(name, 0, -1)]


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    client = Client(Settings(broker_url=server.url, store_url=server.url, signing_key="key"))
    with redis.Redis.from_url(server.url) as raw:
        yield Wire(raw, client)


def task_of(message: bytes) -> str:
    found: str = json.loads(message)["headers"]["task"]
    return found


def text_of(message: bytes) -> str:
    """A message with its body as text."""
    envelope = json.loads(message)
    return json.dumps(envelope) + base64.b64decode(envelope["body"]).decode()


def deep_scope(levels: int) -> str:
    """The id of a scope so many mapped DAGs deep."""
    scope = "0"
    for level in range(levels):
        scope = scope_id("run", scope, level, 99_999)
    return scope


def test_a_plain_visit_takes_less_than_one_and_a_half_kilobytes(wire: Wire) -> None:
    wire.submit(flows.map_reduce, n=10)
    (message,) = wire.read("celery")
    assert task_of(message) == WORK
    assert len(message) <= PIECE_BYTES


def test_a_chords_header_message_carries_its_body_and_stays_small(wire: Wire) -> None:
    wire.client.store.fleet.heartbeat("worker", ["celery"], 8)
    wire.submit(flows.gpu_sum_of_squares, xs=list(range(100)))
    sent = wire.read("celery")
    assert len(sent) == 8
    assert all('"chord": {"task"' in text_of(message) for message in sent)
    assert max(map(len, sent)) <= MESSAGE_BYTES


def test_a_chain_of_four_links_stays_small(wire: Wire) -> None:
    wire.submit(flows.long_zigzag, x=1)
    (message,) = wire.read("celery")
    assert task_of(message) == LINK
    assert len(json.loads(base64.b64decode(json.loads(message)["body"]))[2]["chain"]) == 3
    assert len(message) <= MESSAGE_BYTES


@task(queue="a-queue-with-a-long-name-for-large-machines", name="a_step_with_quite_a_long_name_" + "x" * 30)
def large(x: int) -> int:
    return x


@task(taint=("high-memory", "local-ssd", "nvidia-a100"), name="another_step_with_a_long_name_" + "y" * 30)
def tainted(x: int) -> int:
    return x


@dag
def wordy(x: int) -> int:
    for _ in range(4):
        for _ in range(4):
            x = large(x)
        for _ in range(4):
            x = tainted(x)
    return x


def test_long_names_of_steps_and_queues_do_not_make_a_chain_large(wire: Wire) -> None:
    wire.submit(wordy, x=1)
    (message,) = wire.read("a-queue-with-a-long-name-for-large-machines")
    assert task_of(message) == LINK
    assert len(message) <= MESSAGE_BYTES


def test_a_chord_a_thousand_scopes_deep_is_as_small_as_one_at_the_top(wire: Wire) -> None:
    app_context = wire.client.app_context
    plan = app_context.engine.view(wire.submit(flows.gpu_sum_of_squares, xs=[1])).program.plan
    wire.raw.delete(*wire.raw.keys("celery*"))
    step = ReadyStep(deep_scope(1_000), 0, 0, "celery", 1_000_000)
    (chord,) = Canvas(app_context.app, "f" * 32, lambda body: (plan, body), lambda queue: 10_000).build([step])
    chord.apply_async()
    sent = wire.read("celery")
    assert len(sent) == 256
    assert max(map(len, sent)) <= MESSAGE_BYTES


def test_a_link_names_no_more_steps_than_fit_into_it() -> None:
    @dag
    def straight(x: int) -> int:
        for _ in range(100):
            x = flows.echo(x)
        return flows.gpu_echo(x)

    from dagcelery.client import plan_of
    from dagcelery.planner.topology import straight_run

    runs = straight_run(plan_of(straight), 0, 0, groups=4, steps=MOST_STEPS)
    assert sum(map(len, runs)) <= MOST_STEPS


SECRET = "a-value-that-nobody-else-has"


@pytest.mark.parametrize(
    ("node", "params"),
    [
        (flows.echo, {"x": SECRET}),
        (flows.zigzag, {"x": SECRET}),
        (flows.gpu_sum_of_squares, {"xs": [SECRET] * 300}),
        (flows.squares_of, {"xs": [SECRET] * 300}),
    ],
    ids=["visit", "chain", "chord", "group"],
)
def test_no_parameters_value_is_in_any_message(wire: Wire, node: Any, params: dict[str, Any]) -> None:
    wire.client.store.fleet.heartbeat("worker", ["celery"], 4)
    wire.submit(node, **params)
    sent = wire.read("celery", "gpu")
    assert sent
    assert not any(SECRET in text_of(message) for message in sent)
