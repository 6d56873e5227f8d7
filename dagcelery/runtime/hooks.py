"""What users want to be called with when something has happened: a DAG's end, or a task's success, failure or retry."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dagcelery.runtime.reading import RunView

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """What a hook is told: `state` is the run's, or of a piece "done", "failed" or "retried".

    `address` is the piece's, or of a failed run that of the node which failed it; `error` is its type and message, as
    text. `epoch` counts from 1 and rises when a run is resumed.
    """

    run_id: str
    name: str
    state: str
    address: str = ""
    error: str = ""
    attempt: int = 0
    epoch: int = 1


def call_hook(view: RunView) -> None:
    """Call what a DAG wants to be called at its end. An error of it is logged, and changes nothing."""
    record = view.store.record(view.run_id)
    if record is None:
        return
    options = view.program.plan.options
    hook = view.program.hook(options, "success" if record.state == "done" else "failure")
    if hook is None:
        return
    address = view.piece_address(record.failed) if record.failed else ""
    error = "" if record.failed else record.reason
    quietly(hook, Notice(view.run_id, record.name, record.state, address, error, epoch=record.epoch))


def quietly(hook: Callable[..., Any], notice: Notice) -> None:
    """Call a hook; its own failure is logged and harmless."""
    try:
        hook(notice)
    except Exception:
        about = {"action": "hook_failed", "run": notice.run_id}
        log.exception("a hook of run %s failed (%s)", notice.run_id, notice.state, extra=about)
