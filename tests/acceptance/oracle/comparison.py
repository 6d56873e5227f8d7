"""How far random tests look, and what counts as the same value."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings

MORE = int(os.environ.get("ORACLE_EXAMPLES", "0"))


def search(examples: int) -> settings:
    """The same examples every time, unless ORACLE_EXAMPLES asks for so many new ones."""
    return settings(
        max_examples=MORE or examples,
        derandomize=not MORE,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.function_scoped_fixture,
        ],
    )


def as_json(value: Any) -> Any:
    """A value as JSON carries it: tuples become lists."""
    return json.loads(json.dumps(value))
