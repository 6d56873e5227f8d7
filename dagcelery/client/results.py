"""The end of a run: waiting for it, what the run gave back, and the errors of its pieces.

A process that waits for the end also ends a run that is past its deadline: perhaps no worker is there to do it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import Any

from dagcelery.engine.reading import Reader
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView
from dagcelery.errors import BadSignature, NodeFailed, ResultTimeout, RunCancelled, RunNotFound, RunTimedOut
from dagcelery.payload import addresses, failures, values
from dagcelery.store.records import ROOT, TERMINAL, Lost, PieceId, RunState, Scope

GLANCE_SECONDS = 5.0
"""How often a process that waits looks whether the deadline has passed."""


class Patience:
    """How long to wait for a run, in portions of `seconds` after which its deadline is looked at."""

    def __init__(self, control: RunControl, run_id: str, timeout: float | None = None) -> None:
        self._control = control
        self._run_id = run_id
        self._until = time.monotonic() + (threading.TIMEOUT_MAX if timeout is None else timeout)

    @property
    def seconds(self) -> float:
        """How long the next portion is."""
        return max(0.0, min(self._until - time.monotonic(), GLANCE_SECONDS))

    def is_over(self, state: str) -> bool:
        """Whether to wait no longer for a run in this state; end a run that is past its deadline.

        Raises RunNotFound.
        """
        if state == "gone":
            raise RunNotFound(self._run_id)
        if state in TERMINAL or time.monotonic() >= self._until:
            return True
        end_if_late(self._control, self._run_id)
        return False


def end_if_late(control: RunControl, run_id: str) -> None:
    """End a run that is past its deadline."""
    record = control.store.reader.record(run_id)
    if record is not None and record.deadline and not record.is_over:
        settings = control.settings
        swept = control.store.machine.sweep(run_id, Lost(), settings.dead_seconds, settings.max_deaths)
        if swept.lasted is not None:
            control.tell_end(run_id, swept.run, swept.lasted)


def wait_for_end(control: RunControl, run_id: str, timeout: float | None) -> RunState:
    """Wait up to `timeout` seconds (None: for ever) until a run is over; return its state then.

    Raises RunNotFound.
    """
    patience = Patience(control, run_id, timeout)
    with control.store.reader.listening(run_id) as listen:
        while not patience.is_over(state := listen(patience.seconds)):
            pass
    return RunState(state)


async def await_end(control: RunControl, run_id: str, timeout: float | None) -> RunState:
    """Do the same as `wait_for_end`, without a thread while it waits."""
    patience = Patience(control, run_id, timeout)
    async with control.store.reader.alistening(run_id) as listen:
        while not await asyncio.to_thread(patience.is_over, state := await listen(patience.seconds)):
            pass
    return RunState(state)


def result(control: RunControl, run_id: str, timeout: float | None) -> Any:
    """Wait for the end of a run, and return or raise what came of it."""
    return outcome(control, run_id, wait_for_end(control, run_id, timeout), timeout)


def outcome(
    control: RunControl, run_id: str, state: RunState, timeout: float | None = None, cause: BaseException | None = None
) -> Any:
    """Return or raise what came of a run that is in this state, after having waited for `timeout` seconds.

    `cause` is the error that failed it, where it ran in this process.
    """
    match state:
        case RunState.DONE:
            return _returned(control.view(run_id))
        case RunState.FAILED:
            raise _failure(control, run_id) from cause
        case RunState.CANCELLED:
            raise RunCancelled(run_id, control.record(run_id).reason)
        case RunState.TIMED_OUT:
            raise RunTimedOut(run_id, control.record(run_id).reason)
        case _:
            raise ResultTimeout(run_id, timeout or 0.0)


def _returned(view: RunView) -> Any:
    """Return the value that the body returned, or outputs by name."""
    view.enter(view.generation)  # this process may have read results of it before it was cleared
    body, reader = view.program.body(0), Reader(view, Scope(ROOT))
    if body.returns is not None:
        reader.read_ahead([body.returns])
        return reader.evaluate(body.returns)
    outputs = {name: reader.evaluate(expr) for name, expr, _ in body.outputs}
    if not outputs:
        return None
    return outputs["return_value"] if list(outputs) == ["return_value"] else outputs


def _failure(control: RunControl, run_id: str) -> NodeFailed:
    """Return the error that failed a run, verified; no class is imported because stored data names it."""
    record, stored = control.record(run_id), control.store.reader.failures(run_id)
    if record.failed not in stored:
        raise RunNotFound(run_id)
    address = addresses.failure(run_id, record.failed)
    _, body = values.open_bytes(control.keyring, address, stored[record.failed])
    view = control.view(run_id)
    view.look(record.epoch)
    return failures.as_error(view.piece_address(record.failed), failures.decode(bytes(body)))


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that failed: `stands` if nothing was tried after it. `traceback` is the remote one, as text."""

    address: str
    attempt: int
    type_name: str
    message: str
    traceback: str
    stands: bool


def errors(control: RunControl, run_id: str) -> list[Failure]:
    """Return every attempt that failed, as far as they are kept, repeated ones too; oldest attempts first."""
    record, view = control.record(run_id), control.view(run_id)
    view.look(record.epoch)
    kept = (_attempt(view, name, stored) for name, stored in control.store.reader.failures(run_id).items())
    return sorted(kept, key=lambda failure: (failure.address, failure.attempt))


def _attempt(view: RunView, name: str, stored: bytes) -> Failure:
    piece = PieceId.parse(name).name
    attempt, body = values.open_bytes(view.keyring, addresses.failure(view.run_id, piece), stored)
    error = failures.decode(bytes(body))
    try:
        address = view.piece_address(piece)
    except (BadSignature, IndexError):  # its scope was cleared, and there may be another graph now
        address = "(taken back)"
    return Failure(address, attempt, error["type"], error["message"], error["traceback"], "@" not in name)
