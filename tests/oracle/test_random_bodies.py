"""Whatever a body says, a run of its DAG gives what the body gives as plain Python."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, Phase, given, note, settings

from dagcelery import invoke

from .programs import Program, programs

MORE = int(os.environ.get("ORACLE_EXAMPLES", "0"))
search = settings(
    max_examples=MORE or 150,
    derandomize=not MORE,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def as_json(value: Any) -> Any:
    """A value as JSON carries it: tuples become lists."""
    return json.loads(json.dumps(value))


@search
@given(programs())
def test_invoking_a_dag_gives_what_its_body_gives(program: Program) -> None:
    note(repr(program))
    main = program.main()
    assert as_json(invoke(main, program.params)) == as_json(main(**program.params))
