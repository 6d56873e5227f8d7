"""What the guides to one thing each say is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkout import ROOT

from .reading import Reader, executed

HOWTOS = sorted((ROOT / "docs" / "howto").glob("*.md"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", executed(HOWTOS), ids=lambda path: path.name)
def test_what_a_document_says_runs(document: Path, reader: Reader) -> None:
    reader.follow(document)
