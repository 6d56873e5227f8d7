"""A worker keeps lines of its pieces through the loggers that its log is made of, and changes nothing else of that."""

from __future__ import annotations

import logging

import pytest

from dagcelery.engine.pieces import PieceFilter, TailHandler
from dagcelery.worker.signals import keep_tails, show_pieces


def test_a_logger_that_nobody_handles_is_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    root, tasks = logging.getLogger(), logging.getLogger("celery.task")
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(tasks, "handlers", [logging.NullHandler()])
    for passes_on in (True, False):
        monkeypatch.setattr(tasks, "propagate", passes_on)
        keep_tails()
        assert [type(each) for each in root.handlers] == []
        assert any(isinstance(each, TailHandler) for each in tasks.handlers) is not passes_on


def test_the_address_of_a_piece_is_not_looked_up_for_lines_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [logging.NullHandler()])
    keep_tails()
    show_pieces()
    shown, kept = root.handlers
    assert any(isinstance(each, PieceFilter) for each in shown.filters)
    assert kept.filters == []
