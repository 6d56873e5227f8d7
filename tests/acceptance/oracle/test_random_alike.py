"""What is equal for Python is not the same: 1 and True, 0.0 and -0.0, and objects that leave fields out."""

from __future__ import annotations

from hypothesis import given, note

from dagcelery.client import Client

from .alike import fixed, grown
from .comparison import search
from .sessions import INVOKED, SUBMITTED, Session


@search(examples=30)
@given(fixed())
def test_a_dag_is_built_for_each_value_that_is_not_the_same(eager: Client, session: Session) -> None:
    note(repr(session))
    session.check(INVOKED, SUBMITTED)


@search(examples=80)
@given(grown())
def test_so_is_a_graph_that_grows(session: Session) -> None:
    note(repr(session))
    session.check(INVOKED)
