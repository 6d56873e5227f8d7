"""What the first page, the tutorial, explanations and all others say is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from .reading import DOCUMENTS, Reader, executed

OTHERS = [path for path in DOCUMENTS if path.parent.name != "howto"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", executed(OTHERS), ids=lambda path: path.name)
def test_what_a_document_says_runs(document: Path, reader: Reader) -> None:
    reader.follow(document)
