"""Each fault that users may inject happens, is counted, and does no harm."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from chaos.graphs import linger, map_reduce
from chaos.recovery import executing
from dagcelery.testing import faults
from dagcelery.testing.faults import FaultyCluster, Messages, Order

SECONDS = 30.0

FAULTS: dict[str, Callable[[FaultyCluster], bool]] = {
    "child killed": lambda faulty: faulty.kill_child(),
    "worker killed": lambda faulty: faulty.kill_worker(),
    "worker frozen": lambda faulty: faulty.freeze_worker(seconds=1.2),
    "connection cut": lambda faulty: faulty.cut_connection(seconds=0.2),
    "server restarted": lambda faulty: faulty.restart_server(),
    "server crashed": lambda faulty: faulty.crash_server(),
    "store full": lambda faulty: faulty.fill_store(seconds=1.2),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_happens_and_does_no_harm(faulty: FaultyCluster, kind: str) -> None:
    before = faulty.counts().get(kind, 0)
    runs = [faulty.client.submit(map_reduce, {"n": n}) for n in (50, 100)]
    assert FAULTS[kind](faulty)
    assert faulty.counts()[kind] == before + 1
    faulty.replenish(2)
    assert [run.result(timeout=SECONDS) for run in runs] == [map_reduce(n=50), map_reduce(n=100)]


def test_the_death_of_the_eldest_child_is_noticed_by_its_worker() -> None:
    """Its siblings hold the pipe open that would tell of it; and nobody is taken for dead while this test lasts."""
    never = {"DAGCELERY_DEAD_SECONDS": "600"}
    with faults.faulty_cluster(1, 2, environment=never, modules=[linger.__module__]) as faulty:
        run = faulty.client.submit(linger, {"seconds": 0.5})
        os.kill(executing(faulty, run.id), signal.SIGKILL)
        assert run.result(timeout=SECONDS) == 0.5


def test_a_worker_that_follows_an_order_to_die_is_replaced_though_it_may_still_live(faulty: FaultyCluster) -> None:
    """On a busy machine its last moment may be long."""
    order, worker = faulty.order_death("before:nothing:1:main"), faulty.workers[0]
    assert faulty.ledger.accept(order, worker.process.pid)
    assert worker.process.is_alive
    assert worker not in faulty.workers
    assert faulty.replenish(2) == 1
    assert faulty.ledger.has_died(order)


def test_messages_are_mistreated_and_clocks_differ() -> None:
    rates = Messages(dropped=0.2, doubled=0.2, delayed=0.2, reordered=0.2)
    with faults.faulty_cluster(1, 2, messages=rates, skews=[3600.0], modules=[map_reduce.__module__]) as faulty:
        kinds = ("message dropped", "message doubled", "message delayed", "message reordered", "clock skewed")
        while not all(faulty.counts().get(kind) for kind in kinds):
            assert faulty.client.submit(map_reduce, {"n": 100}).result(timeout=SECONDS) == map_reduce(n=100)


@pytest.mark.parametrize("text", ["before:finish:3", "after:send", "before:sweep:1:main"])
def test_an_order_to_die_reads_as_it_is_written(text: str) -> None:
    order = Order.parse(text)
    assert Order.parse(str(order)) == order
    assert str(order).startswith(text.replace(":", "-"))


@pytest.mark.parametrize("text", ["", "finish", "during:finish:1", "before:finish:x", "before:finish:1:moon"])
def test_a_strange_order_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an order to die: write before:finish:3"):
        Order.parse(text)
