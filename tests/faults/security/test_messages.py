"""Who can send messages, but lacks the key, makes workers do nothing but look, and look in vain."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import guarded
import pytest
import redis
from kombu import Connection, Producer

from dagcelery.local import Cluster
from dagcelery.worker.sender import LINK, WORK

SECONDS = 60.0

FORGED: list[tuple[str, dict[str, Any]]] = [
    (WORK, {"run": "no-such-run", "queue": "celery"}),
    (WORK, {"run": "x}:y", "queue": "celery"}),
    (WORK, {"run": "*", "queue": "*"}),
    (WORK, {"run": "a'b\"c\n\0", "queue": "celery"}),
    (WORK, {"run": "r" * 1_000_000, "queue": "q" * 1_000_000}),
    (WORK, {"run": {"a": [1]}, "queue": ["celery"]}),
    (WORK, {"run": None, "queue": None, "focus": 3}),
    (WORK, {"run": "x", "queue": "celery", "focus": "0/0:-1:999999999999"}),
    (WORK, {"module": "os", "function": "abort"}),
    (WORK, {}),
    (LINK, {"run": "x", "queue": "celery", "steps": ["0/0", 7, None], "then": "gpu"}),
    (LINK, {"run": "x", "queue": "celery", "steps": {"a": 1}, "then": []}),
]


@pytest.fixture
def raw(talkative: Cluster) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(talkative.store_url, decode_responses=True) as client:
        yield client


def of_runs(raw: redis.Redis) -> set[str]:
    """The keys that belong to runs, and to nothing else of ours."""
    return {name for name in raw.scan_iter(count=1000) if name.startswith("dagcelery:{")}


def test_a_forged_message_changes_nothing_and_the_worker_goes_on(talkative: Cluster, raw: redis.Redis) -> None:
    before, (pid,) = of_runs(raw), talkative.pids
    for name, kwargs in FORGED:
        talkative.client.app_context.app.send_task(name, kwargs=kwargs, queue="celery")
    run = guarded.doubles.submit(xs=[1, 2])
    assert run.result(timeout=SECONDS) == [2, 4]
    assert raw.llen("celery") == 0
    run.delete()
    assert of_runs(raw) == before
    assert talkative.pids == (pid,)


def test_a_forged_message_for_a_real_run_calls_what_the_plan_says_only(talkative: Cluster) -> None:
    run = guarded.doubles.submit(xs=[1, 2])
    for focus in ("0/0", "0/0:1", "7/7:7", "guarded:raises", "os:abort"):
        talkative.client.app_context.app.send_task(WORK, kwargs={"run": run.id, "queue": "celery", "focus": focus})
    assert run.result(timeout=SECONDS) == [2, 4]
    assert {node.name: node.done for node in run.status().nodes} == {"double": 2}


class Bomb:
    """What makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.open, (self.path, os.O_CREAT)


def test_a_message_that_is_a_pickle_is_not_read(talkative: Cluster, tmp_path: Path) -> None:
    body = pickle.dumps(((), {"run": Bomb(tmp_path / "exploded"), "queue": "celery"}, {}))
    headers = {"task": WORK, "id": "forged", "lang": "py", "root_id": "forged", "parent_id": None, "group": None}
    with Connection(talkative.broker_url) as connection:
        producer = Producer(connection)
        producer.publish(
            body,
            routing_key="celery",
            headers=headers,
            content_type="application/x-python-serialize",
            content_encoding="binary",
        )
    assert guarded.doubles.submit(xs=[1]).result(timeout=SECONDS) == [2]
    assert not (tmp_path / "exploded").exists()


def test_a_bomb_makes_its_file_where_it_is_unpickled(tmp_path: Path) -> None:
    os.close(pickle.loads(pickle.dumps(Bomb(tmp_path / "exploded"))))
    assert (tmp_path / "exploded").exists()
