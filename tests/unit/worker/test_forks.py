"""A child is not forked while a thread of its parent's holds a lock that the child would then find locked for ever."""

from __future__ import annotations

import os
import threading
import time

import pytest

from dagcelery.worker.forks import let_fork, undisturbed
from dagcelery.worker.heartbeat import Repeated

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def is_free_in_a_child(lock: threading.Lock) -> bool:
    child = os.fork()
    if not child:
        os._exit(0 if lock.acquire(blocking=False) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


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
    assert is_free_in_a_child(lock)
    repeated.stop()


def test_a_fork_takes_place_between_two_steps_of_a_long_beat() -> None:
    lock, is_held, is_over = threading.Lock(), threading.Event(), threading.Event()

    def beat() -> None:
        with undisturbed():
            while not is_over.is_set():
                with lock:
                    is_held.set()
                    time.sleep(0.01)
                let_fork()

    thread = threading.Thread(target=beat)
    thread.start()
    is_held.wait(10)
    try:
        assert is_free_in_a_child(lock)
    finally:
        is_over.set()
        thread.join()
