"""Real workers give what plain Python gives, too: values, functions and graphs travel to them and back."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

from . import alike
from .bodies import sessions
from .comparison import search
from .growth import growths
from .sessions import SUBMITTED, Session

PROGRAMS = st.one_of(growths(), growths(), growths(), alike.grown(), sessions())


@pytest.mark.usefixtures("cluster")
@settings(search(examples=10), phases=[Phase.generate])
@given(PROGRAMS)
def test_workers_give_what_plain_python_gives(session: Session) -> None:
    note(repr(session))
    session.check(SUBMITTED)
