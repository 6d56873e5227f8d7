"""A storm of faults on a faulty cluster: one after another, as a seed has it, until it is told to cease."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from dagcelery.errors import DagceleryError
from dagcelery.testing.fault_injector import Moment, Place
from dagcelery.testing.faults import FaultyCluster, Messages, Order

log = logging.getLogger(__name__)

OF_CHILDREN = (
    *("claim", "finish", "delegate", "number", "child_plans", "wake_ups"),
    *("values", "blocks", "plan", "workers", "send"),
    *("batched_piece", "portion"),
)
OF_MAINS = ("heartbeat", "workers", "due", "sweep", "send")
"""Calls at which processes of a pool and main processes of workers are made to die, before and after."""
ONLY_AFTER = "portion"
"""What is committed after one is the next one."""

OUTSIDE = (
    "child killed",
    "worker killed",
    "worker frozen",
    "connection cut",
    "server restarted",
    "server crashed",
    "store full",
    "message dropped",
    "message doubled",
    "message delayed",
    "message reordered",
    "clock skewed",
)
SLOW_PAUSE_SECONDS, QUICK_PAUSE_SECONDS = 2.0, 1.0
"""Between faults, on average; without pauses nothing but recovery would happen."""
CUT_SECONDS = (0.05, 0.05, 0.5, 2.5)
NOTICE_SECONDS = 0.3
"""How long a worker may be gone before another one is started: so long do its orders to die take."""
SKEWS = (0.0, 5.0, -5.0, 3600.0, -86400.0)


def orders(names: Sequence[str], place: Place) -> list[Order]:
    """An order for each moment of each call."""
    moments: tuple[Moment, ...] = ("before", "after")
    chosen = [(moment, name) for name in names for moment in moments if (moment, name) != ("before", ONLY_AFTER)]
    return [Order(moment, name, place=place) for moment, name in chosen]


def kinds() -> set[str]:
    """All kinds of faults that a full storm must have brought."""
    found = orders(OF_CHILDREN, "child") + orders(OF_MAINS, "main")
    return {*OUTSIDE, *(order.kind for order in found)}


@dataclass(frozen=True, slots=True)
class Weather:
    """Which faults come together. Some weathers bring one kind only: one fault may heal what another one broke."""

    name: str
    slow: tuple[str, ...] = ()
    quick: bool = False
    messages: Messages = field(default_factory=Messages)
    has_unfit_workers: bool = False
    """Whether there are workers that lack what runs need."""


_ALL = ("kill", *["order"] * 2, "freeze", "cut", "restart", "crash", "fill")
STORM = Weather("everything", _ALL, True, Messages(0.05, 0.05, 0.05, 0.05), has_unfit_workers=True)
WEATHERS = (
    *[STORM] * 5,
    Weather("deaths", ("kill", "order", "order"), True),
    Weather("zombies", ("freeze",)),
    Weather("cuts", ("cut",)),
    Weather("outages", ("restart", "crash")),
    Weather("full stores", ("fill",)),
    Weather("messages", messages=Messages(0.2, 0.2, 0.2, 0.2), has_unfit_workers=True),
)
"""Run n has weather n modulo their number."""


class Storm:
    """Two threads that do faults: one those which take seconds, one those which are over at once."""

    def __init__(self, faulty: FaultyCluster, weather: Weather, seed: int, workers: int) -> None:
        self._faulty = faulty
        self._weather = weather
        self._workers = workers
        self._over = threading.Event()
        slow, quick = random.Random(f"{seed}/slow"), random.Random(f"{seed}/quick")
        self._of_children: list[Order] = []
        self._of_mains: list[Order] = []
        blowing = [(slow, self._slowly, SLOW_PAUSE_SECONDS)] if weather.slow else []
        blowing += [(quick, self._quickly, QUICK_PAUSE_SECONDS)] if weather.quick else []
        self._threads = [threading.Thread(target=self._blow, args=each, name="storm") for each in blowing]

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
        self._faulty.ledger.withdraw()
        self._faulty.replenish(self._workers)

    def _blow(self, choice: random.Random, fault: Callable[[random.Random], object], pause: float) -> None:
        while not self._over.wait(choice.uniform(0, 2 * pause)):
            try:
                fault(choice)
            except DagceleryError:
                # A worker that was made to die while it booted; the next fault starts another one.
                log.info("a fault met another one", exc_info=True)

    def _slowly(self, choice: random.Random) -> None:
        faulty = self._faulty
        kind = choice.choice(self._weather.slow)
        if kind == "kill":
            faulty.kill_worker()
        elif kind == "order":
            faulty.order_death(self._next(self._of_mains, OF_MAINS, choice, "main"))
        elif kind == "freeze":
            faulty.freeze_worker(choice.uniform(1.2, 2.5))
        elif kind == "cut":
            faulty.cut_connection(choice.choice(CUT_SECONDS))
        elif kind == "fill":
            faulty.fill_store(choice.uniform(0.5, 2.5))
        elif kind == "restart":
            faulty.restart_server()
        else:
            faulty.crash_server()
        self._over.wait(NOTICE_SECONDS)
        faulty.replenish(self._workers, choice.choice(SKEWS))

    def _quickly(self, choice: random.Random) -> None:
        if choice.random() < 0.3:
            self._faulty.kill_child()
        else:
            order = self._next(self._of_children, OF_CHILDREN, choice, "child")
            has_happened = order.kind in self._faulty.counts()
            self._faulty.order_death(replace(order, count=choice.choice([1, 2, 5] if has_happened else [1])))

    def _next(self, waiting: list[Order], names: Sequence[str], choice: random.Random, place: Place) -> Order:
        """Each order in turn, in an order of chance, but what is rare first; take back what no process followed by the
        next round.
        """
        if not waiting:
            self._faulty.ledger.withdraw(place)
            waiting += orders(names, place)
            choice.shuffle(waiting)
            counts = self._faulty.counts()
            waiting.sort(key=lambda order: counts.get(order.kind, 0), reverse=True)
        return waiting.pop()
