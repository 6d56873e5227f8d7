"""A storm of faults on an arena: one after another, as a seed has it, until it is told to cease."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Self

from dagcelery.errors import DagceleryError
from dagcelery.testing.faults import Arena, Order
from dagcelery.testing.ledger import Moment

log = logging.getLogger(__name__)

OF_CHILDREN = ("claim", "finish", "delegate", "hint", "values", "blocks", "plan", "workers", "send")
OF_MAINS = ("announce", "workers", "due", "sweep", "send")
"""Calls at which processes of a pool and main processes of workers are made to die, before and after."""

OUTSIDE = (
    "child killed",
    "worker killed",
    "worker frozen",
    "connection cut",
    "server restarted",
    "server crashed",
    "message dropped",
    "message doubled",
    "message delayed",
    "message reordered",
    "clock skewed",
)
SLOW_PAUSE_SECONDS, QUICK_PAUSE_SECONDS = 2.0, 0.8
"""Between faults, on average; without pauses nothing but recovery would happen."""
_MOMENTS: tuple[Moment, ...] = ("before", "after")
SKEWS = (0.0, 5.0, -5.0, 3600.0, -86400.0)


def orders() -> list[Order]:
    """An order for each moment of each call."""
    found = [Order(moment, name) for name in OF_CHILDREN for moment in _MOMENTS]
    return found + [Order(moment, name, place="main") for name in OF_MAINS for moment in _MOMENTS]


def kinds() -> set[str]:
    """All kinds of faults that a full storm must have brought."""
    return {*OUTSIDE, *(f"death {order.moment} {order.operation}" for order in orders())}


class Storm:
    """Two threads that do faults: one those which take seconds, one those which are over at once."""

    def __init__(self, arena: Arena, seed: int, workers: int) -> None:
        self._arena = arena
        self._workers = workers
        self._over = threading.Event()
        slow, quick = random.Random(f"{seed}/slow"), random.Random(f"{seed}/quick")
        self._orders: list[Order] = []
        self._threads = [
            threading.Thread(target=self._blow, args=[slow, self._slowly, SLOW_PAUSE_SECONDS], name="storm-slow"),
            threading.Thread(target=self._blow, args=[quick, self._quickly, QUICK_PAUSE_SECONDS], name="storm-quick"),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cease()

    def cease(self) -> None:
        """Do nothing more, and leave as many workers as there were."""
        self._over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._arena.ledger.withdraw()
        self._arena.replenish(self._workers)

    def _blow(self, choice: random.Random, fault: Callable[[random.Random], object], pause: float) -> None:
        while not self._over.wait(choice.uniform(0, 2 * pause)):
            try:
                fault(choice)
            except DagceleryError:
                # A worker that was made to die while it booted; the next fault starts another one.
                log.info("a fault met another one", exc_info=True)

    def _slowly(self, choice: random.Random) -> None:
        arena = self._arena
        arena.replenish(self._workers, choice.choice(SKEWS))
        kind = choice.randrange(10)
        if kind < 3:
            arena.kill_worker()
        elif kind < 5:
            arena.freeze_worker(choice.uniform(1.2, 2.5))
        elif kind < 8:
            arena.cut_connection(choice.choice([0.05, 0.5, 2.5]))
        elif kind == 8:
            arena.restart_server()
        else:
            arena.crash_server()

    def _quickly(self, choice: random.Random) -> None:
        if choice.random() < 0.3:
            self._arena.kill_child()
            return
        if not self._orders:
            self._arena.ledger.withdraw()
            self._orders = orders()
            choice.shuffle(self._orders)
        order = self._orders.pop()
        count = choice.choice([1, 2, 5]) if order.place == "child" else 1
        self._arena.order_death(Order(order.moment, order.operation, count, order.place))
