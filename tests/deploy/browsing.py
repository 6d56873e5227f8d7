"""A browser for tests: Debian's package chromium, or another Chromium on PATH, driven by playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")


@dataclass
class Watched:
    """A page of a browser, and what must not happen on it."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._said)
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@contextmanager
def watched_page(browser: Any, *hosts: str, **options: Any) -> Iterator[Any]:
    """Lend a page; at its end nothing was complained of, and nobody was asked but these hosts."""
    watched = Watched(browser.new_page(**options))
    yield watched.page
    watched.page.close()
    assert not watched.complaints, watched.complaints
    assert watched.hosts <= {*hosts, ""}, watched.hosts
