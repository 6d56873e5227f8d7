"""12. A value that only a run knows chooses a branch; the other one is skipped."""

from __future__ import annotations

import pytest
from celery import Celery

from dagcelery import Run, dag, errors, invoke, task, when

CALLS: list[object] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


@task
def is_large(n: int) -> bool:
    return n > 100


@task
def train(n: int) -> str:
    CALLS.append("train")
    return f"trained with {n}"


@task
def explain(n: int) -> str:
    CALLS.append("explain")
    return f"{n} are too few"


@task
def report(text: str) -> str:
    return text.upper()


@dag
def pipeline(n: int) -> str:
    return report(when(is_large(n), then=lambda: train(n), otherwise=lambda: explain(n)))


def test_one_of_two_branches_is_taken() -> None:
    assert invoke(pipeline, {"n": 500}) == "TRAINED WITH 500"
    assert invoke(pipeline, {"n": 5}) == "5 ARE TOO FEW"
    assert CALLS == ["train", "explain"]


def test_called_as_plain_python_it_is_an_if() -> None:
    assert pipeline(5) == "5 ARE TOO FEW"
    assert CALLS == ["explain"]


def test_without_otherwise_the_other_value_is_none() -> None:
    @dag
    def perhaps(n: int) -> str | None:
        return when(is_large(n), then=lambda: train(n))

    assert [invoke(perhaps, {"n": n}) for n in (500, 5)] == ["trained with 500", None]


def test_any_value_is_true_or_false_as_in_python() -> None:
    @dag
    def d(value: object) -> str:
        return when(value, then=lambda: report("true"), otherwise=lambda: report("false"))

    assert [invoke(d, {"value": value}) for value in (1, "a", [0], 0, "", [], None)] == ["TRUE"] * 3 + ["FALSE"] * 4


def test_a_branch_may_just_be_a_value() -> None:
    @dag
    def d(n: int) -> object:
        return when(is_large(n), then=lambda: train(n), otherwise=lambda: {"too few": n})

    assert invoke(d, {"n": 5}) == {"too few": 5}


def test_each_item_takes_its_own_branch() -> None:
    @dag
    def d(ns: list[int]) -> list[str]:
        return [when(is_large(n), then=lambda n=n: train(n), otherwise=lambda n=n: explain(n)) for n in ns]

    assert invoke(d, {"ns": [5, 500]}) == ["5 are too few", "trained with 500"]


def test_nodes_of_the_other_branch_are_skipped(eager: Celery) -> None:
    run: Run[str] = pipeline.submit(5)
    found = {node.name: node for node in run.status().nodes}
    assert (found["when/then/train"].state, found["when/then/train"].skipped) == ("skipped", 1)
    assert (found["when/otherwise/explain"].state, found["when/otherwise/explain"].done) == ("done", 1)


def test_what_comes_after_a_skipped_branch_is_executed() -> None:
    @dag
    def d(n: int) -> str:
        trained = when(is_large(n), then=lambda: train(n))
        return report.after(trained)("done")

    assert [invoke(d, {"n": n}) for n in (5, 500)] == ["DONE", "DONE"]
    assert CALLS == ["train"]


def test_a_branch_gives_what_it_returns_and_nothing_else() -> None:
    @dag
    def leaking(n: int) -> str:
        found: list[str] = []
        when(is_large(n), then=lambda: found.append(train(n)))
        return report(found[0])

    with pytest.raises(errors.InvalidDag, match=r"within a branch of when.* return it from the branch"):
        leaking.__dag__()
