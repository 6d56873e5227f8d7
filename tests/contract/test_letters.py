"""A topology's letters: the adapter writes what the scripts read, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from dagcelery.store import wire
from dagcelery.store.records import CLOSE, START, StepEntry
from dagcelery.store.wire import LETTERS, topology_fields, topology_of

SCRIPTS = Path(wire.__file__).parent / "lua"
ENTRY = r"(?:\b(?:e|start|first)|entry\([^()]*(?:\([^()]*\)[^()]*)?\))\.([a-z]+)"
"""What scripts call the entry of a step."""
BY_THE_LAYOUT = {"s", "w", "i", "c", "more"}
BY_THE_ADAPTER = {"rd", "rt", "kp"}
"""What scripts do not look at: only the collection of garbage does."""

FULL = StepEntry(
    "cpu",
    body=2,
    over="$xs",
    waits=1,
    item_waits=1,
    successors=list(range(1200)),
    item_successors=[3],
    retry={"max_attempts": 2, "base": 1.0, "factor": 1.0, "maximum": 1.0, "jitter": True, "time_limit": False},
    hard_limit=5.0,
    start_within=6.0,
    min_success=0.0,
    is_branch=True,
    reads=[0],
    is_returned=True,
    keeps_outputs_only=True,
)


def read_by_scripts() -> set[str]:
    texts = [path.read_text() for path in SCRIPTS.glob("*.lua") if path.name != "host.lua"]
    assert len(texts) > 20
    return {letter for text in texts for letter in re.findall(ENTRY, text)}


def test_the_scripts_read_what_is_written() -> None:
    assert read_by_scripts() == {*LETTERS.values(), *BY_THE_LAYOUT} - BY_THE_ADAPTER


def test_no_two_fields_share_a_letter() -> None:
    assert len({*LETTERS.values(), *BY_THE_LAYOUT}) == len(LETTERS) + len(BY_THE_LAYOUT)


def test_what_is_written_is_read_again() -> None:
    body = {
        0: FULL,
        1: StepEntry("gpu", successors=[2]),
        START: StepEntry("cpu", successors=[]),
        CLOSE: StepEntry("gpu", successors=[]),
    }
    assert topology_of(dict(topology_fields(body))) == body
