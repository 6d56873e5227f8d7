"""One run amid faults: submitted until it is remembered, awaited to its end, compared with plain Python, examined."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import redis

from chaos import checks
from chaos.graphs import Case
from dagcelery.client import Client, Run
from dagcelery.errors import (
    BadSignature,
    BrokerUnavailable,
    InvalidParameters,
    NodeFailed,
    NotResumable,
    ResultTimeout,
    RunCancelled,
    StoreUnavailable,
)

T = TypeVar("T")
SETTLE_SECONDS = 5.0
STATUS_LENGTH = 2000
"""How much is printed of the status of a run that did not end: some have a thousand nodes."""


@dataclass(slots=True)
class Trial:
    """What came of a case."""

    case: Case
    run_id: str = ""
    seconds: float = 0.0
    standstill_seconds: float = 0.0
    pieces: int = 0
    violations: list[str] = field(default_factory=list)


def patiently(ask: Callable[[], T], until: float) -> T:
    """Ask again while the store is away, as users' programs do."""
    while True:
        try:
            return ask()
        except (StoreUnavailable, redis.exceptions.ConnectionError):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def submitted(client: Client, case: Case, key: str, until: float) -> Run[Any]:
    """Submit until it is known to be remembered; the key keeps a second try from being a second run, and lets it take
    the place of one that was cancelled because the broker was away.
    """
    while True:
        try:
            return patiently(partial(client.submit, case.node, case.params, key=key), until)
        except BrokerUnavailable:
            if time.monotonic() > until:
                raise


def tried(client: Client, raw: Any, case: Case, name: str, timeout: float) -> Trial:
    """Run a case, and examine it."""
    trial, started = Trial(case), time.monotonic()
    until = started + timeout
    run = submitted(client, case, name, until)
    trial.run_id = run.id
    choice = random.Random(f"{name}/back")
    for _ in range(case.taken_back):
        _take_back(client, run, choice, until)
    wrong = _outcome(run, case, until)
    trial.seconds = time.monotonic() - started
    if wrong:
        trial.violations.append(wrong)
    else:
        trial.violations += patiently(lambda: list(_examined(client, raw, trial)), time.monotonic() + timeout)
    if not trial.violations:
        patiently(run.delete, time.monotonic() + timeout)
    return trial


def _take_back(client: Client, run: Run[Any], choice: random.Random, until: float) -> None:
    """End a run in the middle, and execute something that it has done again, with all that depends on it."""
    time.sleep(choice.uniform(0, 1.5))
    patiently(partial(run.cancel, "a part of it is taken back"), until)
    events = patiently(lambda: checks.events_of(client.store, run.id), until)
    pieces = [event.piece for event in events if event.kind == "done" and event.piece]
    address = ""
    if pieces:
        with suppress(BadSignature):  # its scope was taken back before
            address = patiently(partial(client.control.view(run.id).piece_address, choice.choice(pieces)), until)
    with suppress(
        NotResumable, BrokerUnavailable
    ):  # a reply was lost: it goes on already; or a sweep sends the messages
        try:
            patiently(partial(run.retry_from, address), until)
        except InvalidParameters:  # there is no such place, or not any more
            patiently(run.resume, until)


def _outcome(run: Run[Any], case: Case, until: float) -> str:
    """Wait for the end; say what is wrong with it, if anything is."""
    try:
        result = patiently(lambda: run.result(timeout=max(0.1, until - time.monotonic())), until)
    except ResultTimeout:
        return f"it did not end: {str(run.status())[:STATUS_LENGTH]}"
    except NodeFailed as error:
        return "" if case.fails and case.fails in str(error) else f"it failed: {error}"
    except RunCancelled as error:
        return f"it was cancelled: {error}"
    if case.fails:
        return f"it should have failed, and gave {result!r}"
    expected = case.expected()
    return "" if result == expected else f"it gave {result!r} instead of {expected!r}"


def _examined(client: Client, raw: Any, trial: Trial) -> Iterator[str]:
    store, run_id = client.store, trial.run_id
    events, progress = checks.events_of(store, run_id), store.reader.progress(run_id)
    assert progress is not None
    record = progress.record
    trial.pieces = sum(event.kind == "done" for event in events) - (record.state == "done")
    trial.standstill_seconds = checks.standstill_seconds(events, record.created, record.ended)
    if record.state == "done":
        yield from checks.committed_wrongly(events, progress, 1 + trial.case.taken_back)
    yield from checks.immortal_keys(raw, f"dagcelery:{{{run_id}}}*")
    # Live pieces of a run that failed may still be committed, so their claims may outlast its end for a while.
    until = time.monotonic() + SETTLE_SECONDS
    while (left := checks.claimed_still(raw, run_id)) and time.monotonic() < until:
        time.sleep(0.1)
    if left:
        yield f"still claimed after its end as {record.state}: {', '.join(left)}"
