"""Ends the processes of a local cluster when the process that started them is gone, however it went.

It runs as a program of its own (``python -I -S guardian.py PARENT_PID DIRECTORY``) and imports nothing of
ours, so that it starts in about 10 ms. Its standard input says what to look after, a line each: ``+PID``
and ``-PID`` of session leaders, and at last ``done``. When the input ends without ``done``, or the parent's
pid is not its parent any more, it ends the sessions and removes the directory.

The road not taken is Linux's PR_SET_PDEATHSIG: it exists on Linux only, and it fires when the *thread* that
started the child ends.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable

GRACE_SECONDS = 2.0
# A forked child of the parent holds the pipe open too; the parent's pid gives the truth away all the same.
PARENT_CHECK_SECONDS = 0.5


def watch(parent: int, directory: str, commands: int = 0) -> None:
    """Follow what the file descriptor `commands` says until it ends, then clean up unless the parent did."""
    leaders: set[int] = set()
    pending = b""
    while os.getppid() == parent:
        if not select.select([commands], [], [], PARENT_CHECK_SECONDS)[0]:
            continue
        chunk = os.read(commands, 4096)
        if not chunk:
            break
        *lines, pending = (pending + chunk).split(b"\n")
        if b"done" in lines:
            return
        for line in lines:
            (leaders.add if line[:1] == b"+" else leaders.discard)(int(line[1:]))
    end(leaders)
    shutil.rmtree(directory, ignore_errors=True)


def end(leaders: Iterable[int]) -> None:
    """Ask every leader to terminate; after the grace kill what is left, their children included."""
    deadline = time.monotonic() + GRACE_SECONDS
    living = [leader for leader in leaders if send(os.kill, leader, signal.SIGTERM)]
    while living and time.monotonic() < deadline:
        time.sleep(0.05)
        living = [leader for leader in living if send(os.kill, leader, 0)]
    for leader in leaders:
        send(os.killpg, leader, signal.SIGKILL)


def send(how: Callable[[int, int], None], target: int, number: int) -> bool:
    """Send a signal; say whether there was anybody to receive it."""
    try:
        how(target, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2])
