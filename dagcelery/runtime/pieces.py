"""Inside a task, `current()` says which piece is being executed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagcelery.runtime.reading import RunView
    from dagcelery.store.base import Grant


@dataclass(frozen=True, slots=True)
class Piece:
    """One execution of one step. ``run_id + address`` is the idempotency token for effects outside.

    `index` is the item's number in a fan-out, None elsewhere; `attempt` counts from 1; `deadline` is in seconds since
    the epoch, None where the run has none.
    """

    run_id: str
    address: str
    index: int | None
    attempt: int
    deadline: float | None = None


class Cursor:
    """The piece that this thread executes; moved from item to item without making a Piece that nobody asks for."""

    __slots__ = ("_grant", "_view", "index")

    def __init__(self, view: RunView, grant: Grant) -> None:
        self._view = view
        self._grant = grant
        self.index = -1

    def piece(self) -> Piece:
        """The piece as users see it."""
        view, grant = self._view, self._grant
        address = view.address(grant.scope, grant.step, self.index)
        index = None if self.index < 0 else self.index
        return Piece(view.run_id, address, index, grant.attempt, view.deadline())


_cursor: ContextVar[Cursor | None] = ContextVar("dagcelery_piece", default=None)


def current() -> Piece:
    """The piece that is being executed. Raises LookupError outside of a task that runs as part of a run."""
    found = executing_piece()
    if found is None:
        raise LookupError("current() was called outside of a running piece; call it inside a task that a run executes")
    return found


def executing_piece() -> Piece | None:
    """The piece that is being executed, or None."""
    cursor = _cursor.get()
    return None if cursor is None else cursor.piece()


def is_executing() -> bool:
    """Whether this thread executes a piece."""
    return _cursor.get() is not None


@contextmanager
def executing(cursor: Cursor) -> Iterator[Cursor]:
    """Make `cursor` the piece of this thread for the time of the block."""
    token = _cursor.set(cursor)
    try:
        yield cursor
    finally:
        _cursor.reset(token)
