"""What a disturbed worker does to itself: it dies at a given call, mistreats its messages, and misreads the clock.

Nothing of this is reached by a worker whose app is not `testing.worker`'s.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from celery import Celery

from dagcelery.store.protocol import Store
from dagcelery.testing.ledger import Ledger

VARIABLE = "DAGCELERY_FAULTS"
"""Environment variable by which a harness tells its workers of faults, as JSON."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """How a worker disturbs itself. Rates are shares of its messages; `skew_seconds` is how far its clock is ahead."""

    ledger: str
    seed: int = 0
    app: str = "dagcelery"
    dropped: float = 0.0
    doubled: float = 0.0
    delayed: float = 0.0
    reordered: float = 0.0
    delay_seconds: float = 0.5
    skew_seconds: float = 0.0

    def encode(self) -> str:
        """As it stands in the environment variable."""
        return json.dumps(asdict(self))

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Disturbance | None:
        """What the harness asked for; None where no harness started this process."""
        text = environ.get(VARIABLE)
        return cls(**json.loads(text)) if text else None


class Mortal:
    """A process that follows orders to die, and does so at most once for each order."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._main = os.getpid()
        self._seen: Counter[tuple[int, str, str]] = Counter()

    def at(self, moment: str, operation: str) -> None:
        """Be at a moment of a call; whoever is to die there dies."""
        me = os.getpid()
        place = "main" if me == self._main else "child"
        for name, order in self._ledger.pending():
            if (order.operation, order.moment, order.place) == (operation, moment, place):
                self._seen[me, name, moment] += 1
                if self._seen[me, name, moment] >= order.count and self._ledger.accept(name):
                    die(place)


def die(place: str) -> None:
    """End this process as a crash does; a main process takes its children along."""
    if place == "main":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


class MortalSide:
    """One side of a store whose caller may die before or after any of its verbs."""

    def __init__(self, inner: object, mortal: Mortal) -> None:
        self._inner = inner
        self._mortal = mortal

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._inner, name)
        if not callable(verb):
            return verb

        def call(*args: Any, **options: Any) -> Any:
            self._mortal.at("before", name)
            answer = verb(*args, **options)
            self._mortal.at("after", name)
            return answer

        return call


@dataclass
class Post:
    """Stands between Celery and the broker: messages are dropped, doubled, delayed and reordered as chance has it."""

    app: Celery
    wanted: Disturbance
    ledger: Ledger
    mortal: Mortal
    send: Callable[..., Any]
    _held: list[tuple[Any, ...]] = field(default_factory=list)
    _choices: tuple[int, random.Random] = (0, random.Random())
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, producer: Any, name: str, message: Any, **options: Any) -> Any:
        """Send a message, or do worse to it."""
        self.mortal.at("before", "send")
        treatment = self._treatment()
        if treatment:
            self.ledger.note(treatment)
        if treatment == "message delayed":
            self._later((name, message, options), self.wanted.delay_seconds * self._choice.random())
        elif treatment == "message reordered":
            self._hold((name, message, options))
        elif treatment != "message dropped":
            self.send(producer, name, message, **options)
            if treatment == "message doubled":
                self.send(producer, name, message, **options)
            while self._held:  # those go out after one that was sent later than they
                held, message, options = self._held.pop()
                self.send(producer, held, message, **options)
        self.mortal.at("after", "send")

    @property
    def _choice(self) -> random.Random:
        """A process's own luck: it follows from the seed and from how many processes there were before."""
        if self._choices[0] != os.getpid():
            number = self.ledger.note("processes that sent")
            self._choices = (os.getpid(), random.Random(f"{self.wanted.seed}/{number}"))
        return self._choices[1]

    def _treatment(self) -> str:
        luck = self._choice.random()
        for kind in ("dropped", "doubled", "delayed", "reordered"):
            luck -= getattr(self.wanted, kind)
            if luck < 0:
                return f"message {kind}"
        return ""

    def _later(self, letter: tuple[Any, ...], seconds: float) -> None:
        timer = threading.Timer(seconds, self._send_alone, [letter])
        timer.daemon = True  # a process that ends before loses the message: one more fault
        timer.start()

    def _hold(self, letter: tuple[Any, ...]) -> None:
        """Keep a message back until the next one has been sent, or for the delay if there is none."""
        self._held.append(letter)

        def give_up() -> None:
            if letter in self._held:
                self._held.remove(letter)
                self._send_alone(letter)

        timer = threading.Timer(self.wanted.delay_seconds, give_up)
        timer.daemon = True
        timer.start()

    def _send_alone(self, letter: tuple[Any, ...]) -> None:
        name, message, options = letter
        try:
            with self.app.producer_or_acquire(None) as producer:
                self.send(producer, name, message, **options)
        except Exception:  # the broker is away, and its client raises what its transport raises: the message is lost
            self.ledger.note("message dropped")


def disturb(app: Celery, wanted: Disturbance) -> Mortal:
    """Put a post between an app and its broker; answer what its store is to be wrapped in."""
    ledger = Ledger(Path(wanted.ledger))
    mortal = Mortal(ledger)
    amqp: Any = app.amqp
    amqp.send_task_message = Post(app, wanted, ledger, mortal, amqp.send_task_message)
    if wanted.skew_seconds:
        skew_clock(wanted.skew_seconds)
        ledger.note("clock skewed")
    return mortal


def mortal_store(inner: Store, mortal: Mortal) -> Store:
    """The same store, for a caller that may die at any of its verbs."""
    sides = {name: cast(Any, MortalSide(getattr(inner, name), mortal)) for name in ("machine", "reader", "fleet")}
    return replace(inner, **sides)


def skew_clock(seconds: float) -> None:
    """Let ``time.time`` of this process and its children be ahead; clocks that only measure go on as they did."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + int(seconds * 1e9)
