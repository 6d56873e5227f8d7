"""What a process counts reaches the store once, whatever is lost, and no program can make any number of series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import pytest
from celery import signals

from dagcelery import Retry, dag, errors, task
from dagcelery.store.in_process import store_in_process
from dagcelery.store.protocol import Store
from dagcelery.telemetry import metrics
from dagcelery.telemetry.metrics import OTHER, PIECES, WAIT_SECONDS, Counters, Counting, sample_of

from ..engine.worlds import World


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task(retry=Retry(max_attempts=2, wait=0))
def even(n: int) -> int:
    if n % 2:
        raise ValueError(n)
    return n


@task
def one(n: int) -> int:
    return n


@task(dynamic=True)
def grows(n: int) -> list[int]:
    return [one(x) for x in range(n)]


@dag
def mapped(n: int) -> list[int]:
    return [one(x) for x in numbers(n)]


@dag
def failing(n: int) -> int:
    return even(n)


@dag
def grown(n: int) -> list[int]:
    return grows(n)


@dag
def grown_by_item(n: int) -> list[list[int]]:
    return [grows(x) for x in numbers(n)]


class Counted:
    """A world whose workers count."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or store_in_process()
        self.counters = Counters(self.store.fleet)
        self.world = World(self.store, listener=Counting(self.counters))

    def samples(self, name: str) -> Mapping[tuple[str, ...], int]:
        """Numbers by labels, and by part of a histogram."""
        self.counters.flush()
        found = ((sample_of(field), number) for field, number in self.store.fleet.counted().items())
        return {(*labels, *filter(None, [part])): n for (family, labels, part), n in found if family == name}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """No thread sends meanwhile."""
    monkeypatch.setattr(Counters, "_send_soon", lambda self: None)
    return Counted()


def test_pieces_are_counted_by_dag_node_and_state_and_runs_by_their_end(counted: Counted) -> None:
    counted.world.run(mapped, n=4)
    counted.world.ended(failing, n=1)
    by_state = {(name.partition(":")[2], *rest): n for (name, *rest), n in counted.samples("pieces").items()}
    assert by_state == {
        ("mapped", "numbers", "done"): 1,
        ("mapped", "one", "done"): 4,
        ("failing", "even", "retried"): 1,
        ("failing", "even", "failed"): 1,
    }
    assert sorted(counted.samples("runs").values()) == [1, 1]
    waits = counted.samples("piece_wait_seconds")
    assert sum(n for (_, part), n in waits.items() if part != "sum") == 7


def test_nodes_of_a_graph_that_grew_have_the_names_of_their_calls(counted: Counted) -> None:
    counted.world.run(grown, n=5)
    names = {node: n for (_, node, _), n in counted.samples("pieces").items()}
    assert names["one"] == 5


def test_each_item_that_grew_a_graph_is_counted_once(counted: Counted) -> None:
    counted.world.run(grown_by_item, n=4)
    assert {node: n for (_, node, _), n in counted.samples("pieces").items()} == {"numbers": 1, "grows": 4, "one": 6}
    assert min(counted.samples("piece_duration_seconds").values()) >= 0


def test_what_was_counted_before_its_answer_was_lost_is_not_counted_again(counted: Counted) -> None:
    count = counted.store.fleet.count

    def losing(*sent: Any) -> Sequence[str]:
        counted.store.fleet.count = count  # type: ignore[method-assign]
        count(*sent)
        raise errors.StoreUnavailable("memory", "the answer is lost")

    counted.store.fleet.count = losing  # type: ignore[method-assign]
    counted.world.run(mapped, n=2)
    counted.counters.flush()
    counted.world.run(mapped, n=2)
    counted.counters.flush()
    assert sorted(counted.samples("pieces").values()) == [2, 4]


def test_what_comes_when_there_are_very_many_counters_is_counted_together(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_MOST_COUNTERS", 0)
    for sent in (3, 6):
        counted.world.run(mapped, n=2)
        assert sum(counted.samples(PIECES.name).values()) == sent
    assert {labels[:2] for labels in counted.samples(PIECES.name)} == {(OTHER, OTHER)}
    assert {labels for labels, _ in counted.samples(WAIT_SECONDS.name)} == {OTHER}


def test_a_forked_child_leaves_what_its_parent_has_counted_to_that(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted.world.run(mapped, n=2)
    with monkeypatch.context() as child:
        child.setattr("dagcelery.telemetry.metrics.os.getpid", lambda: -1)
        counted.counters.flush()
    assert not counted.store.fleet.counted()
    assert counted.samples("pieces")


def test_a_child_of_a_pool_that_ends_sends_what_it_has_counted(counted: Counted) -> None:
    import_module("dagcelery.worker.app")
    counted.world.run(mapped, n=2)
    signals.worker_process_shutdown.send(sender=None)
    assert counted.store.fleet.counted()
