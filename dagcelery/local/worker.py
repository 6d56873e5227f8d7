"""Runs one Celery worker and says when it is ready.

``python -m dagcelery.local.worker READY_FD ARGUMENT...`` is ``python -m celery ARGUMENT...``, but for the byte that
it writes to the file descriptor once the worker consumes. The roads not taken: a ping through the broker costs a
control connection and its time-outs, and the log says so on the level INFO only, which costs a line a message too.
"""

from __future__ import annotations

import os
import sys
import warnings

from celery import signals
from celery.__main__ import main as celery

from dagcelery.worker import heartbeat as heartbeat  # so that what it does when ready comes before what is done here


def main() -> None:
    """Run Celery's own command line with this program's arguments but the first."""
    ready = int(sys.argv.pop(1))

    def tell(**_: object) -> None:
        os.write(ready, b"+")
        os.close(ready)

    def tell_last(**_: object) -> None:
        signals.worker_ready.connect(tell, weak=False)

    # Receivers are called in order: by now the app is loaded, and whatever it does when ready is done first.
    signals.worker_init.connect(tell_last, weak=False)
    # Celery advises against workers of the superuser; these have the rights of who started the cluster.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    celery()


if __name__ == "__main__":
    main()
