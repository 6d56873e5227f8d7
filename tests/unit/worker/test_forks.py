"""A child is not forked while a thread of its parent's holds a lock that the child would then find locked for ever."""

from __future__ import annotations

import os
import threading
import time

import pytest

from dagcelery.worker.heartbeat import Repeated


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_waits_until_no_thread_is_in_the_middle_of_a_beat() -> None:
    lock, is_held, is_forking = threading.Lock(), threading.Event(), threading.Event()

    def beat() -> None:
        with lock:
            is_held.set()
            is_forking.wait(10)
            time.sleep(0.3)  # far longer than a fork takes that does not wait

    repeated = Repeated("beats", 0.0, beat)
    repeated.start()
    is_held.wait(10)
    os.register_at_fork(before=is_forking.set)  # of these the last that was registered is the first to be called
    child = os.fork()
    if not child:
        os._exit(0 if lock.acquire(blocking=False) else 1)
    repeated.stop()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
