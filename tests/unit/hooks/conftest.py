"""A mailbox for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dagcelery.hooks import smtp

from .mailbox import Mailbox


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """A server that is up, and of which nobody knows that it was down."""
    monkeypatch.setattr(smtp, "_down", {})
    with Mailbox() as made:
        yield made
