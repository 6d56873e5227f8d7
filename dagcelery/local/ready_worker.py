"""Runs one Celery worker and reports when it is ready; in a file of its own, since it is a program.

``python -m dagcelery.local.ready_worker READY_FD ARGUMENT...`` is ``python -m celery ARGUMENT...``, and writes a byte
to the file descriptor once the worker consumes. The roads not taken: a ping through the broker costs a control
connection and its time-outs; the log reports it on the level INFO only, which also costs a line a message.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from typing import Final

from celery import signals
from celery.__main__ import main as celery

from dagcelery.worker import heartbeat as heartbeat  # so that its receivers come before those below

EX_OK: Final = 0
LAST_WORD_SECONDS: Final = 0.05
"""How long a child that ends has to tell its parent."""


def main() -> None:
    """Run Celery's own command line with all but the first of this program's arguments."""
    ready = int(sys.argv.pop(1))

    def report(**_: object) -> None:
        os.write(ready, b"+")
        os.close(ready)

    def report_last(**_: object) -> None:
        signals.worker_ready.connect(report, weak=False)

    # Receivers are called in order: the app is loaded by now, so its own receivers come first.
    signals.worker_init.connect(report_last, weak=False)
    signals.worker_process_init.connect(end_at_once, weak=False)
    # Celery warns of workers that run as root; these run as the user that started the cluster.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    celery()


def end_at_once(**_: object) -> None:
    """Let this child end as soon as its pool is closed: billiard's sleep a second, for a parent that replaces them."""

    def leave(exitcode: int, **_: object) -> None:
        if exitcode == EX_OK:  # no number of tasks or bytes was reached: the pool is being closed
            threading.Timer(LAST_WORD_SECONDS, os._exit, (exitcode,)).start()

    signals.worker_process_shutdown.connect(leave, weak=False)  # behind the app's own receivers


if __name__ == "__main__":
    main()
