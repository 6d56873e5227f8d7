"""Dynamic tasks are plain Python with real values: what they call gives what it gives when it is called at once."""

from __future__ import annotations

from hypothesis import given, note

from dagcelery.client import Client

from .comparison import search
from .growth import growths
from .sessions import INVOKED, SUBMITTED, Session


@search(examples=40)
@given(growths())
def test_a_dynamic_task_gives_what_plain_python_gives(eager: Client, session: Session) -> None:
    note(repr(session))
    session.check(INVOKED, SUBMITTED)


@search(examples=40)
@given(growths(doubts=True))
def test_a_promise_is_refused_or_arrives_as_its_value(session: Session) -> None:
    note(repr(session))
    session.check(INVOKED)
