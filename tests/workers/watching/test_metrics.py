"""What Prometheus is shown of runs on real workers, also after one of their processes was killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dagcelery import Retry, RunState, dag, errors, task
from dagcelery.client import default_client
from dagcelery.local import cluster
from dagcelery.telemetry.exposition import registry_of

from .conftest import SECONDS
from .vocabulary import breaks, squares, stranded

Samples = dict[tuple[str, ...], float]


@pytest.fixture(autouse=True)
def on_workers() -> Iterator[None]:
    """Two worker processes that count, and the default client, which does so, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGCELERY_METRICS", "on")
        environment = {"DAGCELERY_HEARTBEAT_SECONDS": "0.2", "DAGCELERY_DEAD_SECONDS": "1"}
        with cluster(workers=2, environment=environment):
            yield


@task(retry=Retry(max_attempts=2, wait=0))
def second_time(path: str) -> int:
    if not Path(path).exists():
        Path(path).touch()
        raise OSError
    return 1


@task
def dies_once(path: str) -> int:
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1


@dag
def retried(path: str) -> int:
    return second_time(path)


@dag
def killed(path: str) -> int:
    return dies_once(path)


def scraped() -> Samples:
    """Samples without ``dagcelery_``, by the last parts of their DAGs' names and other labels."""
    client = default_client()
    text = generate_latest(registry_of(lambda: client.store, client.settings.dead_seconds)).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        (s.name.removeprefix("dagcelery_"), *(each.rpartition(":")[2] for each in s.labels.values())): s.value
        for s in samples
    }


def scraped_with(expected: Samples) -> Samples:
    """Samples, as soon as all these are among them: processes send once a second."""
    until = time.monotonic() + SECONDS
    while True:
        found = scraped()
        if expected.items() <= found.items():
            return found
        assert time.monotonic() < until, {name: found.get(name) for name in expected}
        time.sleep(0.05)


def test_runs_pieces_and_queues_are_counted_whatever_dies(tmp_path: Path) -> None:
    assert squares.submit(n=3).wait(SECONDS) is RunState.DONE
    with pytest.raises(errors.NodeFailed):
        breaks.submit(n=3).result(SECONDS)
    assert retried.submit(path=str(tmp_path / "retried")).wait(SECONDS) is RunState.DONE
    waiting = stranded.submit(n=3)
    before = scraped_with(
        {
            ("runs_total", "squares", "done"): 1,
            ("runs_total", "breaks", "failed"): 1,
            ("pieces_total", "squares", "square", "done"): 3,
            ("pieces_total", "retried", "second_time", "retried"): 1,
            ("pieces_total", "retried", "second_time", "done"): 1,
            ("piece_duration_seconds_count", "retried", "second_time"): 2,
            ("active_runs", "stranded"): 1,
            ("queue_without_worker", "celery"): 0,
            ("worker_processes", "celery"): 2,
        }
    )
    unserved = {name[1]: n for name, n in before.items() if name[0] == "queue_without_worker" and n}
    assert list(unserved.values()) == [1]
    (queue,) = unserved
    assert before["ready_pieces", queue] == 1
    assert before["piece_wait_seconds_count", "celery"] >= 6
    assert before["store_bytes",] > 0

    assert killed.submit(path=str(tmp_path / "killed")).wait(SECONDS) is RunState.DONE
    after = scraped_with({("runs_total", "killed", "done"): 1, ("pieces_total", "killed", "dies_once", "done"): 1})
    assert after["oldest_ready_seconds", queue] > before["oldest_ready_seconds", queue]
    falling = [name for name, n in before.items() if name[0].endswith(("_total", "_count")) and after[name] < n]
    assert falling == []
    waiting.cancel()
    scraped_with({("runs_total", "stranded", "cancelled"): 1})
