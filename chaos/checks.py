"""What must hold of a run that is over, whatever was done to its workers."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import redis

from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import Event, PieceId, Progress

PORTION = 1000


def events_of(store: Store, run_id: str) -> list[Event]:
    """All events of a run's stream."""
    found: list[Event] = []
    while portion := store.reader.events(run_id, found[-1].id if found else "", PORTION):
        found += portion
    return found


def committed_wrongly(events: list[Event], progress: Progress, most: int = 1) -> Iterator[str]:
    """Tell of pieces of a run that is done which were not committed exactly once; `most` times if parts of it were
    taken back.
    """
    done: Counter[PieceId] = Counter()
    by_step: Counter[tuple[int, int]] = Counter()
    for event in events:
        if event.kind != "done" or not event.piece:
            continue
        piece = PieceId.parse(event.piece)
        for item in range(piece.lo, event.hi) if piece.lo >= 0 else (-1,):
            done[piece._replace(lo=item)] += 1
            by_step[event.body, piece.step] += 1
    yield from (f"piece {piece.name} was committed {times} times" for piece, times in done.items() if times > most)
    for at, counts in progress.counts.items():
        told = by_step[at] if most == 1 else min(by_step[at], counts.done)
        if counts.total != counts.done + counts.skipped or counts.done != told:
            yield (
                f"step {at[0]}.{at[1]} has {counts.total} pieces, "
                f"{counts.done} were counted as done and {counts.skipped} as skipped, and {by_step[at]} told as done"
            )


def claimed_still(raw: Any, run_id: str) -> list[str]:
    """The claims that a run has."""
    return [piece.decode() for piece in raw.hkeys(Keys().run(run_id, "c")) if piece]


def immortal_keys(raw: Any, pattern: str) -> Iterator[str]:
    """Tell of keys that would stay for ever."""
    for name in raw.scan_iter(match=pattern, count=PORTION):
        if raw.pttl(name) == -1:
            yield f"the key {re.sub('[0-9a-f]{32}', '…', name.decode())} has no TTL"


def standstill_seconds(events: list[Event], created: float, ended: float) -> float:
    """The longest time in which no piece of a run was committed: an upper bound of how long a recovery took."""
    moments = sorted([created, ended, *(int(event.id.partition("-")[0]) / 1000 for event in events)])
    return max((later - earlier for earlier, later in itertools.pairwise(moments)), default=0.0)


def raw_client(url: str) -> Any:
    """A plain client of the server."""
    return redis.Redis.from_url(url)
