"""10. What fails may be tried again, left out, or ended in time; and a run that failed may be resumed."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from celery import Celery

from dagcelery import (
    Notice,
    Retry,
    Run,
    RunState,
    Skipped,
    Timeout,
    current,
    dag,
    errors,
    exponential,
    invoke,
    present,
    static,
    task,
)

CALLS: list[object] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


# -- retries: what fails now may succeed later -----------------------------------------------------
@task(retry=Retry(max_attempts=3, wait=static(0.01)))
def third_time() -> int:
    CALLS.append("third_time")
    if len(CALLS) < 3:
        raise OSError("not yet")
    return current().attempt


def test_a_task_that_fails_is_called_again_up_to_a_number_of_calls() -> None:
    assert invoke(third_time) == 3
    assert CALLS == ["third_time"] * 3


def test_the_last_error_is_the_one_that_is_told() -> None:
    @task(retry=Retry(max_attempts=2, wait=0))
    def never() -> None:
        CALLS.append("never")
        raise OSError(f"attempt {len(CALLS)}")

    with pytest.raises(errors.NodeFailed, match="node never failed with OSError: attempt 2"):
        invoke(never)


def test_only_errors_that_are_named_are_worth_another_call() -> None:
    @task(retry=Retry(on=OSError, give_up_on=PermissionError, wait=0))
    def opens(error: str) -> None:
        CALLS.append(error)
        raise {"busy": BlockingIOError, "forbidden": PermissionError, "a mistake": ValueError}[error]

    for error in ("busy", "forbidden", "a mistake"):
        with pytest.raises(errors.NodeFailed):
            invoke(opens, {"error": error})
    assert CALLS == ["busy", "busy", "busy", "forbidden", "a mistake"]


def test_waits_grow_so_that_a_service_has_time_to_recover() -> None:
    @task(retry=Retry(max_attempts=4, wait=exponential(base=0.02, maximum=0.05, jitter=False)))
    def hammers() -> None:
        CALLS.append(time.monotonic())
        raise OSError

    with pytest.raises(errors.NodeFailed):
        invoke(hammers)
    times = [float(str(call)) for call in CALLS]
    waits = [after - before for before, after in pairwise(times)]
    assert [wait >= least for wait, least in zip(waits, (0.02, 0.04, 0.05), strict=True)] == [True] * 3


def test_an_item_of_a_fan_out_retries_alone() -> None:
    @task(retry=Retry(max_attempts=2, wait=0))
    def shaky(x: int) -> int:
        CALLS.append(x)
        if x == 1 and CALLS.count(1) == 1:
            raise OSError
        return x

    @dag
    def shaken(n: int) -> list[int]:
        return [shaky(x) for x in numbers(n)]

    assert invoke(shaken, {"n": 3}) == [0, 1, 2]
    assert sorted(CALLS, key=str) == [0, 1, 1, 2]


def test_one_use_of_a_task_may_retry_where_others_do_not() -> None:
    @task
    def second_time() -> str:
        CALLS.append("called")
        if len(CALLS) < 2:
            raise OSError
        return "done"

    assert invoke(second_time.options(retry=Retry(wait=0))) == "done"


# -- partial success: some items may fail ----------------------------------------------------------
@task(on_item_failure="skip")
def invert(x: int) -> float:
    return 1 / x


@task
def halve(x: float) -> float:
    CALLS.append(x)
    return x / 2


@task
def summed(xs: list[float | Skipped]) -> str:
    failed = [x.address for x in xs if isinstance(x, Skipped)]
    return f"{sum(x for x in xs if not isinstance(x, Skipped))}, without {failed}"


@dag
def inverted(n: int) -> str:
    return summed([halve(invert(x)) for x in numbers(n)])


def test_an_item_that_fails_may_be_skipped_and_whoever_takes_the_list_sees_which() -> None:
    assert invoke(inverted, {"n": 3}) == "0.75, without ['invert[0]']"


def test_what_would_be_called_with_a_skipped_item_is_skipped_too() -> None:
    invoke(inverted, {"n": 3})
    assert CALLS == [1.0, 0.5]


def test_a_mapped_dag_may_skip_items_whatever_fails_in_them() -> None:
    @dag(on_item_failure="skip")
    def quarter(x: int) -> float:
        return halve(halve(invert.options(on_item_failure="fail")(x)))

    @task
    def mean(xs: list[float]) -> float:
        return sum(xs) / len(xs)

    @dag
    def quarters(n: int) -> float:
        return mean(present([quarter(x) for x in numbers(n)]))

    assert invoke(quarters, {"n": 3}) == (0.25 + 0.125) / 2


def test_a_share_of_the_items_may_be_enough() -> None:
    @task(min_success=0.5)
    def at_least(x: int, least: int) -> int:
        if x < least:
            raise ValueError(f"{x} is less than {least}")
        return x

    @dag
    def enough(n: int, least: int) -> list[int]:
        return [at_least(x, least) for x in numbers(n)]

    found = invoke(enough, {"n": 4, "least": 2})
    assert found == [
        Skipped("at_least[0]", "ValueError", "0 is less than 2"),
        Skipped("at_least[1]", "ValueError", "1 is less than 2"),
        2,
        3,
    ]
    with pytest.raises(errors.NodeFailed, match="is less than 3"):
        invoke(enough, {"n": 4, "least": 3})


def test_a_run_ends_with_its_first_failure_unless_independent_branches_are_to_be_finished() -> None:
    @task
    def fails() -> int:
        raise ValueError("no")

    @task
    def works(x: int) -> int:
        CALLS.append(x)
        return x

    def branches() -> list[int]:
        return [works(fails()), works(works(1))]

    with pytest.raises(errors.NodeFailed, match="node fails"):
        invoke(dag(branches))
    CALLS.clear()
    with pytest.raises(errors.NodeFailed, match="node fails"):
        invoke(dag(fail_fast=False)(branches))
    assert CALLS == [1, 1]


# -- time limits: what hangs is ended --------------------------------------------------------------
def test_a_soft_limit_is_an_error_that_the_task_may_catch_to_clean_up() -> None:
    from celery.exceptions import SoftTimeLimitExceeded

    @task(timeout=Timeout(soft=0.05, hard=10))
    def tidies_up() -> str:
        try:
            time.sleep(10)
        except SoftTimeLimitExceeded:
            return "tidied up"
        return "slept"

    assert invoke(tidies_up) == "tidied up"


def test_a_plain_number_is_a_hard_limit() -> None:
    @task(timeout=0.05)
    def hangs() -> None:
        time.sleep(10)

    with pytest.raises(errors.NodeFailed, match=r"longer than its time limit of 0\.05 s"):
        invoke(hangs)


def test_what_took_too_long_may_be_tried_again() -> None:
    @task(timeout=0.05, retry=Retry(max_attempts=2, wait=0, on=TimeoutError))
    def slow_at_first() -> str:
        CALLS.append("called")
        time.sleep(10 if len(CALLS) == 1 else 0)
        return "in time"

    assert invoke(slow_at_first) == "in time"


# -- resume: what was done is not done again -------------------------------------------------------
IS_FIXED: list[bool] = []


@task
def first(x: int) -> int:
    CALLS.append("first")
    return x


@task
def fragile(x: int) -> int:
    CALLS.append("fragile")
    if not IS_FIXED:
        raise ValueError("not fixed")
    return x


@dag
def two_steps(x: int) -> int:
    return fragile(first(x))


@pytest.fixture
def failed(eager: Celery) -> Run[int]:
    """A run whose second step failed, for a reason that is gone now."""
    IS_FIXED.clear()
    run = two_steps.submit(x=1)
    IS_FIXED.append(True)
    return run


def test_a_run_that_failed_goes_on_where_it_failed(failed: Run[int]) -> None:
    assert failed.state is RunState.FAILED
    assert failed.resume().result() == 1
    assert CALLS == ["first", "fragile", "fragile"]


def test_every_attempt_that_failed_is_kept(failed: Run[int]) -> None:
    failed.resume()
    (error,) = failed.errors()
    assert (error.address, error.attempt, error.type_name, error.message) == ("fragile", 1, "ValueError", "not fixed")
    assert "raise ValueError" in error.traceback
    assert not error.stands


def test_a_run_that_is_done_is_not_resumed_and_not_cancelled(failed: Run[int]) -> None:
    failed.resume()
    with pytest.raises(errors.NotResumable, match="is done: there is nothing to resume"):
        failed.resume()
    assert failed.cancel("too late") is RunState.DONE


SCALES: dict[int, int] = {}


@task
def scaled(x: int) -> int:
    CALLS.append(f"scaled {x}")
    return x * SCALES.get(x, 1)


@dag
def shifted(x: int) -> int:
    return fragile(scaled(x))


@dag
def all_shifted(xs: list[int]) -> list[int]:
    return [shifted(x) for x in xs]


def test_what_was_wrong_in_one_item_is_executed_again_with_what_depends_on_it(eager: Celery) -> None:
    SCALES[2] = 100
    IS_FIXED.append(True)
    run = all_shifted.submit(xs=[1, 2, 3])
    assert run.result() == [1, 200, 3]
    SCALES.clear()
    CALLS.clear()
    assert run.retry_from("shifted[1]/scaled").result() == [1, 2, 3]
    assert CALLS == ["scaled 2", "fragile"]


def test_a_run_has_until_its_deadline_which_is_checked() -> None:
    with pytest.raises(errors.InvalidDag, match=r"deadline=-1: is not a time"):
        two_steps.options(deadline=-1)


# -- hooks: somebody is told -----------------------------------------------------------------------
def told(notice: Notice) -> None:
    CALLS.append((notice.state, notice.address, notice.epoch))


@dag(on_success=told, on_failure=told)
def noticed(x: int) -> int:
    return fragile(x)


def test_a_dag_may_call_a_function_at_its_end_once_each_time_that_it_ends(eager: Celery) -> None:
    IS_FIXED.clear()
    run = noticed.submit(x=1)
    IS_FIXED.append(True)
    run.resume()
    assert CALLS == ["fragile", ("failed", "fragile", 1), "fragile", ("done", "", 2)]
