"""Inside a task, `current()` says which piece is being executed."""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from decimal import setcontext
from typing import TYPE_CHECKING, Any

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


class PieceRef:
    """A piece that is being executed, and stays it; it makes the `Piece` only where somebody asks."""

    __slots__ = ("_grant", "_index", "view")

    def __init__(self, view: RunView, grant: Grant, index: int) -> None:
        self.view = view
        self._grant = grant
        self._index = index

    def piece(self) -> Piece:
        """The piece as users see it."""
        view, grant = self.view, self._grant
        address = view.address(grant.scope, grant.step, self._index)
        index = None if self._index < 0 else self._index
        return Piece(view.run_id, address, index, grant.attempt, view.deadline())


_piece: ContextVar[PieceRef | None] = ContextVar("dagcelery_piece", default=None)


def current() -> Piece:
    """The piece that is being executed. Raises LookupError outside of a task that runs as part of a run."""
    found = executing_piece()
    if found is None:
        raise LookupError("current() was called outside of a running piece; call it inside a task that a run executes")
    return found


def executing_piece() -> Piece | None:
    """The piece that is being executed, or None."""
    found = _piece.get()
    return None if found is None else found.piece()


def executing_view() -> RunView | None:
    """What this process knows of the run that the executing piece belongs to, or None."""
    found = _piece.get()
    return None if found is None else found.view


def is_executing() -> bool:
    """Whether this thread executes a piece."""
    return _piece.get() is not None


class Contexts:
    """Makes a context for each call: a copy of the one in which this was made, where `current()` is the call's piece.

    Whatever a call sets in it is gone with it; what it leaves running, a thread or an asyncio task, keeps it.
    """

    __slots__ = ("_base", "_decimal")

    def __init__(self) -> None:
        self._base = copy_context()
        # A context of decimal numbers is one object, which is changed and not set anew: each call needs its own. Where
        # there is none yet, each call makes its own by itself.
        self._decimal: Any = next((value for var, value in self._base.items() if var.name == "decimal_context"), None)

    def around(self) -> Context:
        """Return a context for what is done before and after calls."""
        context = self._base.copy()
        if self._decimal is not None:
            context.run(setcontext, self._decimal.copy())
        return context

    def of(self, view: RunView, grant: Grant, index: int = -1) -> Context:
        """Return the context of one call."""
        context = self.around()
        context.run(_piece.set, PieceRef(view, grant, index))
        return context
