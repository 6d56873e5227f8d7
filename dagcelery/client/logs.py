"""What pieces of a run have logged last, as far as it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dagcelery.client.places import address_of
from dagcelery.engine.log_tails import opened
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView
from dagcelery.errors import BadSignature
from dagcelery.store.records import Logged, PieceId


@dataclass(frozen=True, slots=True)
class PieceLog:
    """The last `lines` that one attempt of a piece has logged, oldest first.

    A line says when and where: ``2026-11-29T19:30:00.125Z INFO shop.orders: 3 orders read``. What follows it without a
    time belongs to it.
    """

    address: str
    attempt: int
    lines: tuple[str, ...]


def logs(control: RunControl, run_id: str, is_wanted: Callable[[PieceId], bool] = lambda piece: True) -> list[PieceLog]:
    """Return what pieces have logged, the oldest first; only those that are wanted.

    Nothing of what was taken back with its scope: there may be another graph now.

    Raises RunNotFound, BadSignature.
    """
    record, view = control.record(run_id), control.view(run_id)
    view.look(record.epoch)
    reader = control.store.reader
    kept = [each for each in reader.logged(run_id) if any(map(is_wanted, _pieces(each)))]
    view.have_scopes(each.scope for each in kept)
    kept = [each for each in kept if _is_there(view, each)]
    found = [
        PieceLog(_address(view, each, index), each.attempt, tuple(lines))
        for each, stored in zip(kept, reader.logs(run_id, kept), strict=True)
        if stored is not None
        for index, lines in opened(view.keyring, run_id, each, stored).items()
        if is_wanted(PieceId(each.scope, each.step, index))
    ]
    return sorted(found, key=lambda log: (log.lines[0][:24], log.address, log.attempt))


def _pieces(logged: Logged) -> Iterator[PieceId]:
    for index in range(logged.lo, max(logged.hi, logged.lo + 1)):
        yield PieceId(logged.scope, logged.step, index)


def _is_there(view: RunView, logged: Logged) -> bool:
    try:
        return view.scope(logged.scope).body == logged.body
    except BadSignature:
        return False


def _address(view: RunView, logged: Logged, index: int) -> str:
    return address_of(view, view.scope(logged.scope), logged.step, index, index + 1)
