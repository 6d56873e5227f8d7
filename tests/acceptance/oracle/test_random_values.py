"""Whatever a body says of literals and of values that change, a run gives what plain Python gives: the same in all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, note

from dagcelery.client import Client
from unit.engine.worlds import World

from .bodies import sessions
from .comparison import search
from .sessions import INVOKED, SUBMITTED, Session


@search(examples=40)
@given(sessions())
def test_values_reach_tasks_as_they_were_when_they_were_given(eager: Client, session: Session) -> None:
    note(repr(session))
    session.check(INVOKED, SUBMITTED)


@search(examples=25)
@given(sessions(changes=3))
def test_calling_invoking_and_submitting_agree_after_each_change_of_globals(eager: Client, session: Session) -> None:
    note(repr(session))
    session.check(INVOKED, SUBMITTED)


@search(examples=20)
@given(sessions(changes=3))
def test_what_is_submitted_is_what_it_was_then_whatever_changes_before_workers_come(session: Session) -> None:
    note(repr(session))
    world = World()

    def submit(main: Any, n: Any, items: list[Any]) -> Callable[[], Any]:
        run_id = world.submit(main, n=n, items=items)
        return lambda: (world.settle(), world.result(run_id))[1]

    session.check_late(submit)


@search(examples=50)
@given(sessions(doubts=True))
def test_what_cannot_be_carried_or_known_is_refused_or_right(eager: Client, session: Session) -> None:
    note(repr(session))
    session.check(INVOKED)
