"""Examples are imported as `examples.<name>` from the root, here and in workers, and run as users run them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .reading import reader as reader
from .scripts import script as script


@pytest.fixture(autouse=True, scope="package")
def _not_measured() -> Iterator[None]:
    """Their processes are not traced for coverage, which would take a third longer: other tests reach what they do."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
            patch.delenv(name, raising=False)
        yield
