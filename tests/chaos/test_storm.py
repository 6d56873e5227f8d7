"""A few runs amid all kinds of faults: each ends, right, with every piece committed once and nothing left behind."""

from __future__ import annotations

from dagcelery.testing.chaos.harness import prove
from dagcelery.testing.chaos.storm import STORM, WEATHERS

SEED = 20
RUNS = [number for number in range(24) if WEATHERS[number % len(WEATHERS)] is STORM]


def test_runs_end_right_whatever_dies() -> None:
    report = prove(RUNS, SEED, timeout=60)
    assert not report.violations, f"seed {SEED}: {report.violations}"
    assert len(report.trials) == len(RUNS)
