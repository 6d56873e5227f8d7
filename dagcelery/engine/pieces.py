"""Inside a task, `current()` says which piece is being executed, and so do the records that it logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from decimal import setcontext
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dagcelery.engine.log_tails import LogTail
    from dagcelery.engine.run_view import RunView
    from dagcelery.store.records import Claim


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


Place = tuple["RunView", "Claim", int, "LogTail | None"]
"""The piece that a call executes: run, claim and the item's index, -1 where it runs once; and where its last lines are
kept, if they are. A `Piece` is made only when it is asked for; a tuple is the cheapest for the items of a fan-out."""

_place: ContextVar[Place | None] = ContextVar("dagcelery_piece", default=None)

enter: Final = _place.set
"""Make a place the piece of this context."""

_stated: ContextVar[Piece | None] = ContextVar("dagcelery_stated_piece", default=None)


@contextmanager
def executing_for(piece: Piece) -> Iterator[None]:
    """Let `current()` tell of a piece of another run, whose node a run in this block executes for it."""
    token = _stated.set(piece)
    try:
        yield
    finally:
        _stated.reset(token)


def current() -> Piece:
    """Return the piece that is being executed. Raises LookupError outside of a task that runs as part of a run."""
    piece = executing_piece()
    if piece is None:
        raise LookupError("current() was called outside of a running piece; call it inside a task that a run executes")
    return piece


def executing_piece() -> Piece | None:
    """Return the piece that is being executed, or None."""
    place = _place.get()
    if place is None:
        return None
    stated = _stated.get()
    if stated is not None:
        return stated
    view, claim, index, _ = place
    address = view.address(claim.scope, claim.step, index)
    return Piece(view.run_id, address, None if index < 0 else index, claim.attempt, view.deadline())


def executing_view() -> RunView | None:
    """Return the view of the run that the executing piece belongs to, or None."""
    place = _place.get()
    return None if place is None else place[0]


def executing_claim() -> Claim | None:
    """Return the claim that the executing piece belongs to, or None."""
    place = _place.get()
    return None if place is None else place[1]


def is_executing() -> bool:
    """Return whether this thread executes a piece."""
    return _place.get() is not None


class Contexts:
    """Makes a context for each call: a copy of the one in which this was made.

    Whatever a call sets in it is gone with it; what it leaves running, a thread or an asyncio task, keeps it.
    """

    __slots__ = ("_base", "_decimal")

    def __init__(self) -> None:
        self._base = copy_context()
        # A context of decimal numbers is one object, which is changed and not set anew: each call needs its own. Where
        # there is none yet, each call makes its own by itself.
        self._decimal: Any = next((value for var, value in self._base.items() if var.name == "decimal_context"), None)

    def new(self) -> Context:
        """Return a context for one call, or for what is done around calls; the call itself enters its piece."""
        context = self._base.copy()
        if self._decimal is not None:
            context.run(setcontext, self._decimal.copy())
        return context


_OUTSIDE: Final = {"run": "", "dag": "", "node": "", "item": None, "attempt": None, "queue": ""}


def _fields() -> dict[str, Any] | None:
    """Return what records say of the executing piece; None outside of pieces."""
    place = _place.get()
    try:
        piece = executing_piece()
    except Exception:  # its address may have to be read first, and the store may be out of reach
        return None
    if place is None or piece is None:
        return None
    view, claim, _, _ = place
    queue = view.program.step(claim.scope.body, claim.step).queue
    said = (piece.run_id, view.program.plan.name, piece.address, piece.index, piece.attempt, queue)
    return dict(zip(_OUTSIDE, said, strict=True))


def _add(record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        record.__dict__.setdefault(name, value)


class PieceFields(logging.Filter):
    """Gives the records of pieces, and no others, `run`, `dag`, `node`, `item`, `attempt` and `queue`.

    Workers put it on the handlers that they find. The road not taken is a factory of records: with that, a task that
    logs an `extra` of one of these names would get a KeyError.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        _add(record, _fields() or {})
        return True


class PieceFilter(logging.Filter):
    """Gives each record `run`, `dag`, `node`, `item`, `attempt` and `queue` of the piece that wrote it, `index`, which
    is `item`, and `piece`, all in one text.

    Put it on a handler of your own: ``handler.addFilter(PieceFilter())``. `node` is an address such as
    ``train[3]/fit[0]``, `item` the item's number or None. Outside of pieces the texts are empty and the numbers None;
    what a record has already is left as it is.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        fields = _fields()
        text = ""
        if fields is not None and "run" not in record.__dict__:  # else it says in its own words what it is about
            text = " [run={run} node={node} attempt={attempt}]".format_map(fields)
        fields = fields or _OUTSIDE
        _add(record, fields | {"index": fields["item"], "piece": text})
        return True


class TailHandler(logging.Handler):
    """Keeps what pieces log, of those whose last lines are kept."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, if such a piece has logged it."""
        place = _place.get()
        if place is not None and (tail := place[3]) is not None:
            try:
                tail.add(place[2], record)
            except Exception:  # a __str__ of the user's, or the wrong arguments for a format
                self.handleError(record)


def keep_tails_of(logger: logging.Logger) -> None:
    """Keep what pieces of this process log through a logger, and those below it that pass their records on."""
    if not any(isinstance(handler, TailHandler) for handler in logger.handlers):
        logger.addHandler(TailHandler())
