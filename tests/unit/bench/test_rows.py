"""What is put beside what, and what a goal is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.bodies import metg
from bench.rows import Row
from bench.workflows import GRAPHS, list_schedule, read, scaled


@pytest.mark.parametrize(
    ("goal", "rival", "is_met"),
    [
        ("<= 40", None, True),
        ("<= 2 x", 20.0, True),
        ("<= 2 x", 19.0, False),
        ("<= 1/8 x", 300.0, False),
        (">= 0.95 x", 39.0, True),
        ("<= 2 x", None, None),
        ("", 20.0, None),
    ],
)
def test_a_goal_is_of_the_figure_or_of_its_ratio(goal: str, rival: float | None, is_met: bool | None) -> None:
    assert Row("load", 40.0, "us", goal, "rival", rival).is_met is is_met


def test_a_rival_that_is_not_installed_is_said_to_be_missing() -> None:
    assert "missing: Ray" in str(Row("load", 40.0, "us", "<= 2 x", "Ray"))


def test_a_free_process_takes_the_first_node_that_is_ready() -> None:
    assert list_schedule([(1.0, ()), (3.0, ()), (1.0, (0,)), (2.0, (0, 2))], 2) == 4.0


@pytest.mark.parametrize("path", sorted(GRAPHS.glob("*.json")), ids=lambda path: path.stem)
def test_bodies_of_a_workflow_are_scaled_to_the_length_of_its_schedule(path: Path) -> None:
    nodes = read(path)
    assert all(other < number for number, (_, needs) in enumerate(nodes) for other in needs)
    assert list_schedule(scaled(nodes, 2.0, 8), 8) == pytest.approx(2.0)


def test_the_least_body_that_makes_half_of_the_time_useful_lies_between_two_that_were_measured() -> None:
    assert metg([(0.01, 0.9), (0.004, 0.6), (0.001, 0.4)]) == pytest.approx(0.002)
    assert metg([(0.01, 0.9), (0.001, 0.8)]) == pytest.approx(0.00025)
