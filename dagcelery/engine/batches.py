"""Pieces that are executed together, and how they are committed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from dagcelery.engine.durations import BATCH_SECONDS
from dagcelery.engine.program import Program
from dagcelery.payload import failures
from dagcelery.planner.topology import Follower
from dagcelery.store.records import CHUNK_BYTES, Claim, PieceId, Response, Scope, TaskResult
from dagcelery.store.wire import FEW

Executed = tuple[Claim, TaskResult]


MOST_BEHIND: Final = 32
"""Steps that are executed right behind those of a batch before all are committed."""

_TOGETHER: Final = 64
"""Pieces that one call commits at most."""

_TINY_SECONDS: Final = BATCH_SECONDS / 10
"""What is not the only one to follow a piece is executed behind it if it takes no longer: a call to the store takes as
long, and others would have to come for it."""


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
        self.kept: set[str] = set()
        """Pieces that this worker has committed: only what was executed behind these may be committed as well."""
        self.told: deque[tuple[Sequence[Executed], Response]] = deque()
        """What is committed: hooks and listeners hear of it from the worker's thread."""

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

    def parts(self) -> list[list[Executed]]:
        """Put what is executed in the order of its commits, and return it by call."""
        parts = list(portions(self.executed))
        self.executed = list(chain.from_iterable(parts))
        return parts

    def committed(self, portion: Sequence[Executed], response: Response) -> None:
        """Note what came of the first of what is executed, and who has to be told."""
        del self.executed[: len(portion)]
        self.kept.update(
            claim.piece for (claim, _), state in zip(portion, response.states, strict=False) if state == "committed"
        )
        self.told.append((portion, response))


class Behind:
    """What may be executed right behind pieces that are executed and not committed: it has no claim, and needs none.

    Before the commit of what it waits for, nobody else can have it; so it waits for nothing but such pieces.
    """

    def __init__(self, program: Program, usual: Callable[[str], float | None]) -> None:
        self._program = program
        self._usual = usual
        self._until = time.perf_counter() + BATCH_SECONDS
        self._known: dict[str, dict[str, bytes | None]] = {}
        self._done: dict[str, set[int]] = {}
        self._next = deque[tuple[float, Claim]]()
        self._left = MOST_BEHIND

    def note(self, executed: Executed) -> None:
        """Take note of a piece that was executed, and of what may be executed behind it now."""
        claim, result = executed
        scope, body = claim.scope, claim.scope.body
        if claim.lo >= 0 or claim.attempt != 1 or claim.poisoned or not self._program.knows(body):
            return
        if not is_plain([executed]) or result.lists:
            return
        known, done = self._known.setdefault(scope.id, {}), self._done.setdefault(scope.id, set())
        known.update(claim.values)
        known.update(result.values)
        done.add(claim.step)
        for follower in self._program.followers(body, claim.step):
            if follower.needs <= done:
                self._offer(scope, follower, known)

    def _offer(self, scope: Scope, follower: Follower, known: Mapping[str, bytes | None]) -> None:
        seconds = self._usual(self._program.clock_key(scope.body, follower.step))
        values = {token: known[token] for token in follower.tokens if known.get(token) is not None}
        if seconds is None or len(values) < len(follower.tokens):
            return
        if follower.is_only or seconds <= _TINY_SECONDS:
            needs = frozenset(PieceId(scope.id, step).name for step in follower.needs)
            claim = Claim(scope, follower.step, -1, -1, 1, -1, values, waited=0.0, follows=needs)
            self._next.append((seconds, claim))

    def following(self) -> Claim | None:
        """Return the next piece; None if there is none, or if it would take too long."""
        while self._next and self._left:
            seconds, claim = self._next.popleft()
            if time.perf_counter() + seconds <= self._until:
                self._left -= 1
                return claim
        return None


def is_plain(portion: Sequence[Executed]) -> bool:
    """Return whether pieces are done, and have nothing more to say."""
    return all(result.failure is None and not result.is_refused and result.children is None for _, result in portion)


def portions(executed: Sequence[Executed]) -> Iterator[list[Executed]]:
    """Yield what is committed together: what failed, was refused or has children is told alone, after all others.

    A large result behind others is told alone, too: it is staged under the number of an attempt, which has to be its
    own by then. What was executed behind pieces of another portion begins one: the call in front of it claims it.
    """
    portion, names = list[Executed](), set[str]()
    left = CHUNK_BYTES
    for each in sorted(executed, key=lambda one: not is_plain([one])):
        claim, result = each
        size = sum(map(len, result.values.values())) + len(result.log)
        if claim.is_beside:
            size += sum(len(block.data) for block in result.blocks)
        is_staged = bool(result.lists) or len(result.values) > FEW
        is_first = not is_plain([each]) or not claim.follows <= names or (claim.follows and is_staged)
        if portion and (is_first or size > left or len(portion) == _TOGETHER or not is_plain(portion)):
            yield portion
            portion, names, left = [], set(), CHUNK_BYTES
        portion.append(each)
        names.add(claim.piece)
        left -= size
    if portion:
        yield portion


def without_result(executed: Executed) -> Executed:
    """Return what says nothing but that a piece was executed without a claim that could be had: it commits nothing."""
    claim, result = executed
    if result.error is not None:
        failures.release(result.error)
    return claim, TaskResult(started=result.started, seconds=result.seconds)
