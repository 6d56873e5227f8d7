"""Pieces that are executed together, and how they are committed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from dagcelery.store.records import CHUNK_BYTES, Claim, Response, TaskResult
from dagcelery.store.wire import FEW

Executed = tuple[Claim, TaskResult]


MOST_BEHIND: Final = 32
"""Steps of a straight run that are executed one right behind the other before all are committed."""


class Batch:
    """What was claimed together: what waits, the piece in hand, and what is executed and not committed.

    The worker's thread works on it. The watch's thread may hand on what waits and what is executed, while a piece takes
    longer than expected.
    """

    def __init__(self, claims: Sequence[Claim]) -> None:
        self.lock = threading.Lock()
        self.waiting = deque(claims)
        self.executed: list[Executed] = []
        self.in_hand: Claim | None = None
        self.told: list[tuple[list[Executed], Response]] = []
        """What the watch's thread has committed: hooks and listeners hear of it from the worker's thread."""

    def begin(self, following: Claim | None = None) -> Claim | None:
        """Take a piece in hand: the next one, if none follows the last; None if there is none."""
        with self.lock:
            self.in_hand = following or (self.waiting.popleft() if self.waiting else None)
            return self.in_hand

    def end(self, result: TaskResult) -> Executed:
        """Lay the piece in hand down, as it is claimed by now."""
        with self.lock:
            assert self.in_hand is not None
            self.executed.append((self.in_hand, result))
            self.in_hand = None
            return self.executed[-1]


def is_plain(portion: Sequence[Executed]) -> bool:
    """Return whether pieces are done, and have nothing more to say."""
    return all(result.failure is None and not result.is_refused and result.children is None for _, result in portion)


def portions(executed: Sequence[Executed]) -> Iterator[list[Executed]]:
    """Yield what is committed together: what failed, was refused or has children is told alone.

    A large result behind others is, too: it is staged under the number of an attempt, which has to be its own by then.
    """
    portion = list[Executed]()
    left = CHUNK_BYTES
    for each in executed:
        claim, result = each
        size = sum(map(len, result.values.values())) + len(result.log)
        is_staged = bool(result.lists) or len(result.values) > FEW
        is_alone = not is_plain([each]) or (claim.follows and is_staged)
        if portion and (is_alone or size > left or not is_plain(portion)):
            yield portion
            portion, left = [], CHUNK_BYTES
        portion.append(each)
        left -= size
    if portion:
        yield portion


def without_result(executed: Executed) -> Executed:
    """Return what says nothing but that a piece was executed without a claim that could be had: it commits nothing."""
    claim, result = executed
    return claim, TaskResult(started=result.started, seconds=result.seconds)
