"""A few runs amid all kinds of faults: each ends, right, with every piece committed once and nothing left behind."""

from __future__ import annotations

import time
from typing import Any

import pytest

from chaos.graphs import case
from chaos.harness import prove
from chaos.storm import STORM, WEATHERS
from chaos.trials import submitted
from dagcelery.errors import BrokerUnavailable
from dagcelery.testing.faults import FaultyCluster

SEED = 20
RUNS = [number for number in range(12) if WEATHERS[number % len(WEATHERS)] is STORM]


@pytest.mark.timeout(600)
def test_runs_end_right_whatever_dies() -> None:
    report = prove(RUNS, SEED, timeout=240)  # on a busy machine, workers that are alive are taken for dead
    assert not report.violations, f"seed {SEED}: {report.violations}"
    assert len(report.trials) == len(RUNS)


def test_a_submission_that_the_broker_missed_leaves_no_run_behind(
    faulty: FaultyCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, sent = faulty.client.control.sender, []
    start = sender.start

    def missed_once(view: Any, ready: Any, **options: Any) -> None:
        sent.append(view.run_id)
        if len(sent) == 1:
            raise BrokerUnavailable("it is away")
        start(view, ready, **options)

    monkeypatch.setattr(sender, "start", missed_once)
    run = submitted(faulty.client, case(SEED, 0), "missed", time.monotonic() + 30)
    assert [faulty.client.store.reader.record(run_id) is None for run_id in sent] == [True, False]
    assert sent[1] == run.id
    run.cancel()
