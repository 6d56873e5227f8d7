"""The fault injector of a worker: the worker dies at a given call, mistreats its messages and misreads the clock.

Celery loads it as the worker's app: ``celery -A dagcelery.testing.fault_injector``. That app is dagcelery's own, unless
``DAGCELERY_FAULTS`` names another one, with faults injected between it and the world. No other worker loads this.

The harness and its workers tell each other about faults in a folder that outlives them all. A worker that kills itself
can write nothing afterwards, so whatever happens is written down before it does. Each fact costs one system call that
is atomic on every file system: a byte appended, a file created, a file renamed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from celery import Celery
from celery.app.utils import find_app

from dagcelery.engine.batches import Batch, Executed
from dagcelery.errors import NotConfigured
from dagcelery.store.protocol import Store
from dagcelery.store.records import Claim, Response, TaskResult
from dagcelery.store.redis import store_on_redis
from dagcelery.worker.app import app_context_of

VARIABLE = "DAGCELERY_FAULTS"
"""The environment variable in which a harness describes its workers' faults, as JSON."""

Moment = Literal["before", "after"]
Place = Literal["child", "main"]


@dataclass(frozen=True, slots=True)
class Order:
    """An order to die: `moment` the `count`-th call of `operation` in one process.

    That is a verb of the store, or "send"; or, in the middle of a batch, "batched_piece", a call of one that is not the
    first, or "portion", a commit of what is not the rest. A process of the pool ("child") dies alone; the "main"
    process takes its children along, as a lost machine does.
    """

    moment: Moment
    operation: str
    count: int = 1
    place: Place = "child"

    def __str__(self) -> str:
        return f"{self.moment}-{self.operation}-{self.count}-{self.place}"

    @property
    def kind(self) -> str:
        """The fault that it is when it was followed, as `FaultyCluster.counts` names it."""
        return f"death {self.moment} {self.operation}"

    @classmethod
    def parse(cls, text: str) -> Order:
        """Read ``before:finish:3``, with ``:main`` behind it for a main process."""
        moment, operation, count, place, *_ = [*text.replace("-", ":").split(":"), "", "", "", ""]
        when: dict[str, Moment] = {"before": "before", "after": "after"}
        where: dict[str, Place] = {"": "child", "child": "child", "main": "main"}
        try:
            return cls(when[moment], operation, int(count or 1), where[place])
        except (KeyError, ValueError):
            raise ValueError(f"{text!r} is not an order to die: write before:finish:3 or after:send:1:main") from None


class Ledger:
    """A folder of facts about the faults of one installation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._orders = folder / "orders"
        self._deaths = folder / "deaths"
        for path in (self._orders, self._deaths):
            path.mkdir(parents=True, exist_ok=True)

    def note(self, kind: str) -> int:
        """Write down that a fault of this kind happened; return how many did before."""
        descriptor = os.open(self.folder / kind, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, b"+")
            return os.lseek(descriptor, 0, os.SEEK_CUR) - 1
        finally:
            os.close(descriptor)

    def counts(self) -> dict[str, int]:
        """Return how often each kind of fault happened."""
        return {path.name: path.stat().st_size for path in self.folder.iterdir() if path.is_file()}

    # -- orders to die ----------------------------------------------------------------------------
    def order(self, order: Order) -> str:
        """Order one process to die; return the order's name, for `has_died`."""
        name = f"{order}-{uuid.uuid4().hex[:8]}"
        (self._orders / name).touch()
        return name

    def pending(self) -> Iterator[tuple[str, Order]]:
        """Yield the orders that no process has followed yet."""
        for entry in os.scandir(self._orders):
            yield entry.name, Order.parse(entry.name)

    def accept(self, name: str, pid: int) -> bool:
        """Take an order for a process; False where another one took it."""
        try:
            os.rename(self._orders / name, self._deaths / f"{name}-{pid}")
        except FileNotFoundError:
            return False
        return True

    def has_died(self, name: str) -> bool:
        """Return whether a process followed this order."""
        return any(path.name.startswith(name) for path in self._deaths.iterdir())

    def dead_workers(self) -> set[int]:
        """Return the ids of main processes that followed an order, although some may still live for a moment."""
        paths = [path.name for path in self._deaths.iterdir() if Order.parse(path.name).place == "main"]
        return {int(name.rpartition("-")[2]) for name in paths}

    def withdraw(self, place: Place | None = None) -> None:
        """Take back the orders that no process has followed."""
        for name, order in self.pending():
            if place in (None, order.place):
                (self._orders / name).unlink(missing_ok=True)

    def deaths(self) -> list[Order]:
        """Return the orders that were followed."""
        return [Order.parse(path.name) for path in self._deaths.iterdir()]


@dataclass(frozen=True, slots=True)
class Messages:
    """Shares of the workers' messages that are lost, sent twice, sent late, and overtaken by the next one."""

    dropped: float = 0.0
    doubled: float = 0.0
    delayed: float = 0.0
    reordered: float = 0.0
    delay_seconds: float = 0.5


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """A worker's faults; `skew_seconds` is how far its clock is ahead."""

    ledger: str
    seed: int
    app: str
    messages: Messages
    skew_seconds: float = 0.0

    def encode(self) -> str:
        """Return the value of the environment variable."""
        return json.dumps(asdict(self))

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> FaultPlan | None:
        """Read what the harness asked for; None where no harness started this process."""
        text = environ.get(VARIABLE)
        if not text:
            return None
        plan = json.loads(text)
        return cls(**plan | {"messages": Messages(**plan["messages"])})


class DeathOrders:
    """The orders to die, as one worker's processes follow them: each order once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._main = os.getpid()
        self._seen: Counter[tuple[int, str, str]] = Counter()

    def at(self, moment: str, operation: str) -> None:
        """Die if an order says so for this moment of this call."""
        me = os.getpid()
        place = "main" if me == self._main else "child"
        for name, order in self._ledger.pending():
            if (order.operation, order.moment, order.place) == (operation, moment, place):
                self._seen[me, name, moment] += 1
                if self._seen[me, name, moment] >= order.count and self._ledger.accept(name, me):
                    die(place)


def die(place: str) -> None:
    """End this process as a crash does; a main process takes its children along."""
    if place == "main":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


class FaultySide:
    """One side of a store whose caller may die before or after any of its verbs."""

    def __init__(self, inner: object, deaths: DeathOrders) -> None:
        self._inner = inner
        self._deaths = deaths

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._inner, name)
        if not callable(verb):
            return verb

        def call(*args: Any, **options: Any) -> Any:
            self._deaths.at("before", name)
            answer = verb(*args, **options)
            self._deaths.at("after", name)
            return answer

        return call


@dataclass
class FaultySender:
    """Stands between Celery and the broker: messages are dropped, doubled, delayed and reordered as chance has it."""

    app: Celery
    plan: FaultPlan
    ledger: Ledger
    deaths: DeathOrders
    send: Callable[..., Any]
    _held: list[tuple[Any, ...]] = field(default_factory=list)
    _choices: tuple[int, random.Random] = (0, random.Random())

    def __call__(self, producer: Any, name: str, message: Any, **options: Any) -> Any:
        """Send a message, or do worse to it."""
        self.deaths.at("before", "send")
        treatment = self._treatment()
        if treatment:
            self.ledger.note(treatment)
        if treatment == "message delayed":
            self._later((name, message, options), self.plan.messages.delay_seconds * self._choice.random())
        elif treatment == "message reordered":
            self._hold((name, message, options))
        elif treatment != "message dropped":
            self.send(producer, name, message, **options)
            if treatment == "message doubled":
                self.send(producer, name, message, **options)
            while self._held:  # those go out after one that was sent later than they
                held, message, options = self._held.pop()
                self.send(producer, held, message, **options)
        self.deaths.at("after", "send")

    @property
    def _choice(self) -> random.Random:
        """A process's own luck: it follows from the seed and from how many processes there were before."""
        if self._choices[0] != os.getpid():
            number = self.ledger.note("processes that sent")
            self._choices = (os.getpid(), random.Random(f"{self.plan.seed}/{number}"))
        return self._choices[1]

    def _treatment(self) -> str:
        luck = self._choice.random()
        for kind in ("dropped", "doubled", "delayed", "reordered"):
            luck -= getattr(self.plan.messages, kind)
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

        timer = threading.Timer(self.plan.messages.delay_seconds, give_up)
        timer.daemon = True
        timer.start()

    def _send_alone(self, letter: tuple[Any, ...]) -> None:
        name, message, options = letter
        try:
            with self.app.producer_or_acquire(None) as producer:
                self.send(producer, name, message, **options)
        except Exception:  # the broker is away, and its client raises what its transport raises: the message is lost
            self.ledger.note("message dropped")


def inject(app: Celery, plan: FaultPlan) -> DeathOrders:
    """Put faults between an app and its broker; return the orders to die, which its store needs too."""
    ledger = Ledger(Path(plan.ledger))
    deaths = DeathOrders(ledger)
    amqp: Any = app.amqp
    amqp.send_task_message = FaultySender(app, plan, ledger, deaths, amqp.send_task_message)
    if plan.skew_seconds:
        skew_clock(plan.skew_seconds)
        ledger.note("clock skewed")
    return deaths


def divide_batches(deaths: DeathOrders) -> None:
    """Let processes die in the middle of a batch: with pieces executed and not committed, or between two commits."""
    batch: Any = Batch
    begin, end, committed = Batch.begin, Batch.end, Batch.committed

    def begun(self: Batch, following: Claim | None = None) -> Claim | None:
        if self.executed and (following or self.waiting):
            deaths.at("before", "batched_piece")
        return begin(self, following)

    def ended(self: Batch, result: TaskResult) -> Executed:
        if self.executed:
            deaths.at("after", "batched_piece")
        return end(self, result)

    def noted(self: Batch, portion: Sequence[Executed], response: Response) -> None:
        committed(self, portion, response)
        if self.executed:
            deaths.at("after", "portion")

    batch.begin, batch.end, batch.committed = begun, ended, noted


def faulty_store(inner: Store, deaths: DeathOrders) -> Store:
    """Wrap a store for a caller that may die at any of its verbs."""
    sides = {name: cast(Any, FaultySide(getattr(inner, name), deaths)) for name in ("machine", "reader", "fleet")}
    return replace(inner, **sides)


def skew_clock(seconds: float) -> None:
    """Let ``time.time`` of this process and its children be ahead; clocks that only measure go on as they did."""
    true_time, true_time_ns = time.time, time.time_ns
    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: true_time_ns() + int(seconds * 1e9)


def faulty_app() -> Celery:
    """Find the app, and inject the faults that the environment asks for into its store and its messages."""
    plan = FaultPlan.from_environment(os.environ)
    if plan is None:
        raise NotConfigured(
            f"{VARIABLE} is not set, and this app is only for workers into which faults are injected",
            "start workers with dagcelery.testing.faults, or use another app",
        )
    app: Celery = find_app(plan.app)
    deaths = inject(app, plan)
    divide_batches(deaths)

    def opened(url: str, prefix: str) -> Store:
        return faulty_store(store_on_redis(url, prefix), deaths)

    app_context_of(app).open_store = opened
    return app


def __getattr__(name: str) -> Celery:
    """Make the app when Celery asks for it: the harness imports this module too, and wants no faults."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = app = faulty_app()
    return app
