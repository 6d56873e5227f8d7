"""6. Errors are small records that say what is at fault, what is wrong, and what would be right."""

from __future__ import annotations

import pickle

import pytest

from dagcelery import build, dag, errors, invoke, task


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def invert(x: int) -> float:
    return 1 / x


@task
def total(xs: list[float]) -> float:
    return sum(xs)


@dag
def inverted(n: int) -> float:
    return total([invert(x) for x in numbers(n)])


@dag
def nested(n: int) -> list[float]:
    return [inverted(k) for k in numbers(n)]


def test_a_failing_task_fails_the_run_with_its_address() -> None:
    with pytest.raises(errors.NodeFailed) as failed:
        invoke(inverted, {"n": 3})
    assert failed.value.address == "invert[0]"
    assert failed.value.type_name == "ZeroDivisionError"
    assert failed.value.message == "division by zero"


def test_the_address_leads_through_nested_dags() -> None:
    with pytest.raises(errors.NodeFailed) as failed:
        invoke(nested, {"n": 3})
    assert failed.value.address in ("inverted[1]/invert[0]", "inverted[2]/invert[0]")


def test_the_traceback_of_where_it_happened_comes_along() -> None:
    with pytest.raises(errors.NodeFailed) as failed:
        invoke(inverted, {"n": 3})
    assert "return 1 / x" in failed.value.traceback


def test_in_process_the_original_error_is_its_cause() -> None:
    with pytest.raises(errors.NodeFailed) as failed:
        invoke(inverted, {"n": 3})
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


def test_errors_of_any_shape_are_told() -> None:
    class Awkward(Exception):
        def __init__(self, *, code: int, detail: object) -> None:
            super().__init__()
            self.code = code

        def __str__(self) -> str:
            raise RuntimeError("no text")

    @task
    def fail() -> None:
        raise Awkward(code=3, detail=object())

    with pytest.raises(errors.NodeFailed, match="Awkward"):
        invoke(fail)


def test_what_comes_after_a_failed_task_does_not_run() -> None:
    ran: list[str] = []

    @task
    def after(x: float) -> None:
        ran.append("after")

    @dag
    def stopped(x: int) -> None:
        after(invert(x))

    with pytest.raises(errors.NodeFailed):
        invoke(stopped, {"x": 0})
    assert not ran


def test_a_dag_that_cannot_be_is_refused_when_it_is_built() -> None:
    @dag
    def hasty(n: int) -> int:
        return len(numbers(n))

    with pytest.raises(errors.InvalidDag) as refused:
        build(hasty)
    assert refused.value.culprit == "the output of 'numbers'"
    assert "no length" in refused.value.problem
    assert "in a task" in refused.value.remedy


def test_parameters_are_checked_before_anything_runs() -> None:
    with pytest.raises(errors.InvalidParameters, match="did you mean 'n'"):
        invoke(inverted, {"n ": 3})


def test_all_errors_are_of_one_family_and_of_pythons_own() -> None:
    assert issubclass(errors.NodeFailed, errors.DagceleryError)
    assert issubclass(errors.InvalidDag, ValueError)
    assert issubclass(errors.InvalidParameters, ValueError)
    assert issubclass(errors.ResultTimeout, TimeoutError)


def test_an_error_travels_through_pickle() -> None:
    error = errors.NodeFailed("fit[3]", "ValueError", "no rows", "Traceback ...")
    copied = pickle.loads(pickle.dumps(error))
    assert str(copied) == str(error) == "node fit[3] failed with ValueError: no rows"
