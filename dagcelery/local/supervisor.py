"""Ends the processes of a local cluster when the process that started them is gone, however it ended.

A program of its own (``python -I -S supervisor.py PARENT_PID DIRECTORY``), in a file of its own: it imports little, so
that it starts in about 10 ms. Each line on its standard input is ``+PID`` or ``-PID`` of a session leader; the last one
is ``done``. When the input ends without ``done``, or its parent has another pid, it ends the sessions and removes the
directory.

The road not taken is PR_SET_PDEATHSIG: only Linux has it, and it fires when the *thread* that started the child ends.
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
# A forked child of the parent holds the pipe open too, so the end of the pipe is not enough.
PARENT_CHECK_SECONDS = 0.5


def watch(parent: int, directory: str, commands: int = 0) -> None:
    """Read commands from a file descriptor until it ends, then clean up unless the parent did."""
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
    """Ask every leader to terminate; after a grace period kill the rest, with their children."""
    deadline = time.monotonic() + GRACE_SECONDS
    living = [leader for leader in leaders if send(os.kill, leader, signal.SIGTERM)]
    while living and time.monotonic() < deadline:
        time.sleep(0.05)
        living = [leader for leader in living if send(os.kill, leader, 0)]
    for leader in leaders:
        send(os.killpg, leader, signal.SIGKILL)


def send(kill: Callable[[int, int], None], target: int, number: int) -> bool:
    """Send a signal; return whether there was a process to receive it."""
    try:
        kill(target, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2])
