"""A store, workers and a post office in this process: a test says when which message is delivered, and how often."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery, chord
from celery.canvas import Signature, _chain, group

from dagcelery.client import following, new_run, plan_of
from dagcelery.engine.hooks import Listener
from dagcelery.engine.run_view import RunView
from dagcelery.engine.worker_loop import Engine
from dagcelery.payload.signing import Keyring
from dagcelery.planner.plan import Plan
from dagcelery.settings import Settings
from dagcelery.store.in_process import store_in_process
from dagcelery.store.protocol import Store
from dagcelery.store.records import Event, ReadyStep
from dagcelery.worker.process import CeleryProcess
from dagcelery.worker.sender import LINK, WORK, Canvas

KEY = "a key for tests"


def celery_app(backend: str = "redis://127.0.0.1:1/0") -> Celery:
    """An app that knows our tasks by name and is never connected."""
    return Celery("tests", broker="memory://", backend=backend, set_as_current=False)


@dataclass(frozen=True)
class Message:
    """One of our Celery messages, with the links that Celery sends when it is done."""

    task: str
    kwargs: Mapping[str, Any]
    chain: tuple[Signature, ...] = ()

    @classmethod
    def of(cls, signatures: Sequence[Signature]) -> Message:
        """The first link of a chain."""
        first, *rest = signatures
        return cls(first.task, dict(first.kwargs), tuple(rest))


def messages(signature: Signature) -> Iterator[Message]:
    """What Celery would put on the wire for a piece of canvas."""
    if isinstance(signature, chord):
        yield from messages(signature.tasks if isinstance(signature.tasks, group) else group(signature.tasks))
        yield from messages(signature.body)
    elif isinstance(signature, group):
        for member in signature.tasks:
            yield from messages(member)
    elif isinstance(signature, _chain):
        yield Message.of(signature.tasks)
    else:
        yield Message.of([signature])


class Post:
    """A `Sender` whose messages wait until the test delivers them."""

    def __init__(self, slots: int) -> None:
        self.waiting: list[Message] = []
        self.sent: list[Message] = []
        self._slots = slots
        self._app = celery_app()

    def check(self, plan: Plan) -> None:
        """Every queue can be sent to."""

    def start(self, view: RunView, opened: Sequence[ReadyStep], *, is_new: bool = False) -> None:
        """Take the messages of the canvas that workers would send."""
        program = view.program
        for signature in Canvas(self._app, view.run_id, program.home, self.slots).build(opened):
            self.put(*messages(signature))

    def wake_up(self, run_id: str, queue: str, count: int, delay_seconds: float = 0.0) -> None:
        """Take plain messages, at once."""
        self.put(*[Message(WORK, {"run": run_id, "queue": queue})] * count)

    def revoke(self, messages: Sequence[str], *, terminate: bool) -> None:
        """Nothing is revoked that a test delivers by hand."""

    def slots(self, queue: str) -> int:
        """As many processes as the world was made with."""
        return self._slots

    def put(self, *arriving: Message) -> None:
        """Keep messages."""
        self.waiting += arriving
        self.sent += arriving


class World:
    """Workers that share a store; each has a worker id of its own, and works when a message is delivered to it."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        key: str | None = KEY,
        workers: int = 2,
        slots: int = 2,
        listener: Listener | None = None,
        **settings: Any,
    ) -> None:
        self.store = store or store_in_process()
        self.settings = Settings(signing_key=key or "", **settings)
        self.post = Post(slots)
        self.client = self.engine("client")
        self.workers = [self.engine(f"worker{number}", listener=listener) for number in range(workers)]
        self._turn = 0

    def engine(self, worker_id: str, *, key: str | None = None, listener: Listener | None = None) -> Engine:
        """One more process; with another key, if one is given."""
        keyring = Keyring.parse(self.settings.signing_key if key is None else key)
        return Engine(
            self.store,
            keyring,
            self.settings,
            self.post,
            process=CeleryProcess(),
            worker_id=worker_id,
            listener=listener,
        )

    def submit(self, node: Any, **params: Any) -> str:
        """Remember a run and post its first messages; its id."""
        run = new_run(self.client, plan_of(node, settings=self.settings), params, self.settings)
        reply = self.store.machine.create(run)
        self.post.start(self.client.view(run.id), reply.opened)
        return run.id

    def deliver(self, message: Message, worker: Engine | None = None) -> None:
        """Let a worker do a message, the next in turn; then Celery sends the next link, if there is one."""
        if worker is None:
            worker = self.workers[self._turn % len(self.workers)]
            self._turn += 1
        if message.task == LINK:
            worker.work_link(**{("run_id" if name == "run" else name): v for name, v in message.kwargs.items()})
        else:
            worker.work(message.kwargs["run"], message.kwargs["queue"], message.kwargs.get("focus", ""))
        if message.chain:
            self.post.put(Message.of(message.chain))

    def settle(self, pick: Callable[[int], int] = lambda waiting: 0, *, copies: int = 1) -> None:
        """Deliver each message `copies` times until there are none; `pick` says which of those waiting is next."""
        while self.post.waiting:
            message = self.post.waiting.pop(pick(len(self.post.waiting)))
            for _ in range(copies):
                self.deliver(message)

    def ended(self, node: Any, **params: Any) -> str:
        """Submit, deliver everything in order, and return the run's id."""
        run_id = self.submit(node, **params)
        self.settle()
        return run_id

    def run(self, node: Any, **params: Any) -> Any:
        """Submit, deliver everything in order, and return the result."""
        return self.result(self.ended(node, **params))

    def result(self, run_id: str) -> Any:
        """What a run gave back, as a process sees it that has only the store."""
        return following.result(self.engine("reader"), run_id, 0)

    def events(self, run_id: str) -> Sequence[Event]:
        """All that the run's stream tells."""
        return self.store.reader.events(run_id, "", 1_000_000)

    def committed(self, run_id: str) -> list[str]:
        """The pieces that were committed, as often as they were."""
        return sorted(event.piece for event in self.events(run_id) if event.kind == "done" and event.piece)


def shuffled(seed: int) -> Callable[[int], int]:
    """Pick messages in an order that only the seed knows."""
    return random.Random(seed).randrange


def latest(waiting: int) -> int:
    """Pick the message that was sent last."""
    return waiting - 1
