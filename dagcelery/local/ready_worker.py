"""Runs one Celery worker and reports when it is ready; in a file of its own, since it is a program.

``python -m dagcelery.local.ready_worker READY_FD APP ARGUMENT...`` is ``celery -q -A APP worker ARGUMENT...``, and
writes a byte to the file descriptor once the worker consumes. The roads not taken: a ping through the broker costs a
control connection and its time-outs; the log reports it on the level INFO only, which also costs a line a message; the
`celery` command imports all other commands, which takes a third of the time that a worker needs to start.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import warnings
from contextlib import suppress
from typing import Any

from billiard import pool
from celery import signals
from celery.app.utils import find_app
from celery.bin.base import CLIContext
from celery.bin.worker import worker

from dagcelery.worker import heartbeat as heartbeat  # so that its receivers come before those below

Child: Any = pool.Worker
end_as_usual = Child._do_exit


def main() -> None:
    """Run Celery's own command for workers with all but the first two of this program's arguments."""
    ready, name, *arguments = sys.argv[1:]

    def report(sender: Any, **_: object) -> None:
        shut_down = sender.shutdown

        def unblock_first() -> None:
            unblock(sender.connection)
            shut_down()

        sender.shutdown = unblock_first
        os.write(int(ready), b"+")
        os.close(int(ready))

    def report_last(**_: object) -> None:
        signals.worker_ready.connect(report, weak=False)

    # Receivers are called in order: the app is loaded by now, so its own receivers come first.
    signals.worker_init.connect(report_last, weak=False)
    # Celery warns of workers that run as root; these run as the user that started the cluster.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    Child._do_exit = end_child
    try:
        app = find_app(name)
        worker.params.extend(app.user_options.get("worker", []))
        context = CLIContext(app=app, no_color=False, workdir=None, quiet=True)
        worker.main(arguments, prog_name="celery worker", obj=context)
    except SystemExit as ended:
        if isinstance(ended.code, int):
            end(ended.code)
        raise


def unblock(connection: Any) -> None:
    """Let the server answer what waits on a worker's connection for a message: Celery reads that answer, which may
    take a second, before it closes the connection.
    """
    with suppress(Exception):  # of a server that is gone, or forbids it: then it takes that second
        channel = connection.default_channel
        host, port = channel._in_poll._sock.getsockname()
        with channel.conn_or_acquire() as client:
            for each in client.client_list():
                if each["addr"] == f"{host}:{port}":
                    client.client_unblock(int(each["id"]))


def end_child(child: Any, pid: int, exit_code: int | None, error: Exception | None = None) -> None:
    """End a child of the pool; one that was told to stop ends at once.

    billiard lets it sleep for a second unless the main process reads that it has ended, and a main process that stops
    without a task in its pool does not read it.
    """
    if exit_code is not None or error is not None:
        end_as_usual(child, pid, exit_code, error)
    if child.on_exit is not None:
        child.on_exit(pid, 0)
    os._exit(0)


def end(exit_code: int) -> None:
    """End this process as the interpreter does, but leave its objects to the system: to free them takes longer."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    main()
