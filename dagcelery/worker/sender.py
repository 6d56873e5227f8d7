"""Steps that may start become Celery canvas: fan-outs chords, straight runs across queues chains, others messages.

Messages carry addresses only. None of them decides anything: the store does, when the message asks it for work.

An error at sending says whether the broker is unavailable or the app is configured wrongly.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from celery import Celery, chain, chord, group
from celery.canvas import Signature
from celery.exceptions import OperationalError, QueueNotFound

from dagcelery.errors import BrokerUnavailable, DagceleryError, NotSent
from dagcelery.planner.plan import Plan
from dagcelery.planner.topology import join_of, straight_run
from dagcelery.store.records import PieceId, ReadyStep
from dagcelery.text import masked
from dagcelery.worker.messages import LINK, UNSENT, WORK, counts_chords

_ANY: Final = "messages are sent by send_task of the app, which calls what a team has put there"


@contextmanager
def sending_errors(app: Celery) -> Iterator[None]:
    """Raise BrokerUnavailable or NotSent where Celery, its transport or the app's own code raises at sending."""
    try:
        yield
    except DagceleryError:
        raise
    except Exception as error:  # a transport, and an app's own class of tasks, raise what they like
        raise cause_of(app, error) from error


def cause_of(app: Celery, error: Exception) -> BrokerUnavailable | NotSent:
    """Return what an error at sending, or connecting, stands for."""
    url = shown_broker(app)
    if isinstance(error, _of_brokers(app)) or is_torn(error):
        return BrokerUnavailable(str(error), url)
    return NotSent(f"{type(error).__name__}: {error}", _remedy(app, error, url))


def shown_broker(app: Celery) -> str:
    """Return the address, or the addresses, of an app's broker with secrets hidden."""
    url: Any = app.conf.broker_url or ""
    return masked(url if isinstance(url, str) else ";".join(map(str, url)))


def _of_brokers(app: Celery) -> tuple[type[BaseException], ...]:
    """Return the errors by which a broker is unavailable, or refuses; none for an unknown transport."""
    try:
        connection: Any = app.connection_for_write()
        errors = (*connection.connection_errors, *connection.channel_errors)
    except Exception:  # the transport's module raises what it likes
        return ()
    return (OperationalError, OSError, *errors)


def is_torn(error: Exception) -> bool:
    """Return whether kombu met a connection that it had closed: when a broker goes, its channels lose theirs."""
    raised = traceback.extract_tb(error.__traceback__)[-1:]
    is_of_transport = bool(raised) and "/kombu/transport/" in raised[0].filename.replace("\\", "/")
    return is_of_transport and isinstance(error, AttributeError) and error.obj is None


def _remedy(app: Celery, error: Exception, url: str) -> str:
    raised = traceback.extract_tb(error.__traceback__)[-1:]
    place = raised[0].filename.replace("\\", "/") if raised else ""
    conf: Any = app.conf
    if isinstance(error, ImportError):
        return f"install what provides the module {error.name!r}; the broker's address {url} may need it"
    if place.endswith("kombu/compression.py"):
        return f"task_compression is {conf.task_compression!r}: install the package that does it, or choose another"
    if place.endswith("kombu/transport/__init__.py"):
        return f"write DAGCELERY_BROKER_URL, or broker_url of the app, which is {url}, as Celery knows it"
    if isinstance(error, QueueNotFound):
        return UNSENT
    return f"it was raised in {place}, line {raised[0].lineno}; {_ANY}" if raised else _ANY


MOST_HEADERS = 256

MOST_LINKS = 4


class Canvas:
    """Builds canvas for one run. For a queue, `slots` says how many processes consume it, and `priority` which priority
    its messages have. `home` answers the plan that a body belongs to, and its number there.
    """

    def __init__(
        self,
        app: Celery,
        run_id: str,
        home: Callable[[int], tuple[Plan, int] | None],
        slots: Callable[[str], int],
        priority: Callable[[str], int | None] | None = None,
    ) -> None:
        self._app = app
        self._home = home
        self._run = run_id
        self._slots = slots
        self._priority = priority

    def build(self, opened: Sequence[ReadyStep]) -> list[Signature]:
        """Return the canvas that brings workers to these steps."""
        signatures: list[Signature] = []
        singles: dict[str, int] = {}
        for step in opened:
            if step.items > 0:
                signatures.append(self.fan_out(step))
            elif step.step >= 0 and len(runs := self._straight(step)) > 1:
                signatures.append(self.straight(step, runs))
            else:
                singles[step.queue] = singles.get(step.queue, 0) + 1
        for queue, count in singles.items():
            signatures += [self.message(queue) for _ in range(min(count, max(1, self._slots(queue)), MOST_HEADERS))]
        return signatures

    def lone(self, opened: Sequence[ReadyStep]) -> str | None:
        """Return the queue of the message that is enough for these steps; None where they become more than that."""
        if len(opened) != 1 or opened[0].items > 0 or (opened[0].step >= 0 and len(self._straight(opened[0])) > 1):
            return None
        return opened[0].queue

    def message(self, queue: str, focus: str = "") -> Signature:
        """Make one message: there is ready work of this run on `queue`, first of all `focus`."""
        kwargs = {"run": self._run, "queue": queue} | ({"focus": focus} if focus else {})
        options = {"priority": self._priority(queue)} if self._priority else {}
        return self._app.signature(WORK, kwargs=kwargs, immutable=True, queue=queue, **options)

    def fan_out(self, step: ReadyStep) -> Signature:
        """Make a chord: header messages claim items, the body is the step that follows the join.

        A group where no single step follows, or where the result backend cannot count chords cheaply.
        """
        size = min(step.items, max(1, self._slots(step.queue)), MOST_HEADERS)
        header = [self.message(step.queue, PieceId(step.scope, step.step).name) for _ in range(size)]
        plan, number = self._home(step.body) or (None, 0)
        join = join_of(plan, number, step.step) if plan else None
        if plan is None or join is None or not counts_chords(self._app):
            return group(header, app=self._app)
        body = self.message(plan.bodies[number].steps[join].queue, PieceId(step.scope, join).name)
        return chord(header, body, app=self._app)

    def straight(self, step: ReadyStep, runs: Sequence[Sequence[int]]) -> Signature:
        """Make a chain: one message for neighbours on one queue, the next queue's message linked to it."""
        runs = runs[:MOST_LINKS]
        links = self._links(step, runs)
        while len(links) > 2 and _size(links) > MOST_BYTES:
            runs = runs[:-1]
            links = self._links(step, runs)
        return chain(*links, app=self._app)

    def _links(self, step: ReadyStep, runs: Sequence[Sequence[int]]) -> list[Signature]:
        links: list[Signature] = []
        plan, number = self._home(step.body) or (None, 0)
        if plan is None:
            return links
        steps = plan.bodies[number].steps
        for members, following in zip(runs, [*runs[1:], None], strict=True):
            names = [PieceId(step.scope, member).name for member in members]
            queue = steps[members[0]].queue
            if following is None:
                links.append(self.message(queue, names[0]))
            else:
                then = PieceId(step.scope, following[0]).name
                kwargs: dict[str, Any] = {"run": self._run, "queue": queue, "steps": names, "then": then}
                links.append(self._app.signature(LINK, kwargs=kwargs, immutable=True, queue=queue))
        return links

    def _straight(self, step: ReadyStep) -> list[list[int]]:
        plan, number = self._home(step.body) or (None, 0)
        return straight_run(plan, number, step.step, groups=MOST_LINKS, steps=MOST_STEPS) if plan else []


MOST_STEPS = 16
"""Steps that one chain names, so that the message stays small."""

MOST_BYTES = 2_900
"""What a chain's message may take; one whose queues have long names gets fewer links."""


def _size(links: Sequence[Signature]) -> float:
    """What a chain's first message will take: its own arguments twice, the other links in base64 with two ids each."""
    first, rest = links[0], links[1:]
    return 1_000 + 7 / 3 * len(json.dumps(first.kwargs)) + 4 / 3 * (len(json.dumps(rest)) + 105 * len(rest))


def describe(plan: Plan, slots: int = 2) -> Iterator[str]:
    """Return the canvas that a plan becomes, a line each: chains, chords, joins and queues, for people."""
    for number, body in enumerate(plan.bodies):
        if number:
            yield f"scope of body {number}: opened on queue {body.queue_open}, closed on queue {body.queue_close}"
        for index in range(len(body.steps)):
            yield "  " * bool(number) + _line(plan, number, index, slots)


def _line(plan: Plan, body: int, index: int, slots: int) -> str:
    step = plan.bodies[body].steps[index]
    if "branch" in step.options:
        return f"{step.name}, if it is taken, on {step.queue}"
    if step.over is not None:
        join = join_of(plan, body, index)
        header = f"[{step.name}[*] × min(items, {slots} slots, {MOST_HEADERS})] on {step.queue}"
        if join is None:
            return f"group({header})"
        following = plan.bodies[body].steps[join]
        return f"chord({header}, {following.name} on {following.queue})"
    runs = straight_run(plan, body, index, groups=MOST_LINKS, steps=MOST_STEPS)
    if len(runs) > 1:
        steps = plan.bodies[body].steps
        links = (f"{'+'.join(steps[i].name for i in members)} on {steps[members[0]].queue}" for members in runs)
        return f"chain({', '.join(links)})"
    return f"{step.name} on {step.queue}"
