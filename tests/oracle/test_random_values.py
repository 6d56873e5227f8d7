"""Whatever a body says of literals and of values that change, a run gives what plain Python gives: the same in all."""

from __future__ import annotations

from hypothesis import given, note

from dagcelery.client import Client

from .bodies import sessions
from .comparison import search
from .sessions import Session


@search(examples=40)
@given(sessions())
def test_values_reach_tasks_as_they_were_when_they_were_given(eager: Client, session: Session) -> None:
    note(repr(session))
    session.check(lambda main: main.invoke, lambda main: lambda *args: main.submit(*args).result())
