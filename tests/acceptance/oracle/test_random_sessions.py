"""A run gives what plain Python gives, the same in all: dynamic tasks, literals, and values that change meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

from unit.engine.worlds import World

from .bodies import sessions
from .comparison import search
from .growth import growths
from .sessions import INVOKED, SUBMITTED, Session


@search(examples=20)
@given(st.one_of(growths(), sessions(), sessions(changes=3)))
def test_calling_invoking_and_submitting_agree_after_each_change_of_globals(eager: Celery, session: Session) -> None:
    note(repr(session))
    session.check(INVOKED, SUBMITTED)


@search(examples=50)
@given(st.one_of(growths(), sessions(), sessions(changes=3)))
def test_calling_and_invoking_agree(session: Session) -> None:
    note(repr(session))
    session.check(INVOKED)


@search(examples=50)
@given(st.one_of(growths(doubts=True), sessions(doubts=True)))
def test_what_cannot_be_carried_or_known_is_refused_or_right(session: Session) -> None:
    note(repr(session))
    session.check(INVOKED)


@search(examples=15)
@given(sessions(changes=3))
def test_what_is_submitted_is_what_it_was_then_whatever_changes_before_workers_come(session: Session) -> None:
    note(repr(session))
    world = World()

    def submit(main: Any, n: Any, items: list[Any]) -> Callable[[], Any]:
        run_id = world.submit(main, n=n, items=items)
        return lambda: (world.settle(), world.result(run_id))[1]

    session.check_late(submit)


@pytest.mark.usefixtures("cluster")
@settings(search(examples=10), phases=[Phase.generate])
@given(st.one_of(growths(), growths(), sessions()))
def test_workers_give_what_plain_python_gives(session: Session) -> None:
    note(repr(session))
    session.check(SUBMITTED)
