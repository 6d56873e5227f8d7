"""Policies are valid once they exist, and what contradicts itself is refused by name."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from dagcelery.errors import InvalidDag
from dagcelery.model import Cache, DagOptions, Retry, TaskOptions, Timeout, Wait, exponential, static

NO_TIMES = [-1, math.inf, -math.inf, math.nan, True, "5", 10**400]


NO_COUNTS = [0, -1, True, 1.5, "2"]
NO_LIMITS = [*NO_TIMES, 0]
NO_ERRORS = [int, "OSError", OSError(), None, [OSError], (OSError, 3)]
REFUSED: list[tuple[Callable[[Any], object], str, list[Any]]] = [
    (Retry, "max_attempts=", [0, -1, 1001, True, 2.0, None, "3"]),
    (lambda wait: Retry(wait=wait), "wait=", [*NO_TIMES, None]),
    (static, "wait=", [*NO_TIMES, None]),
    (lambda base: exponential(base=base), "base=", [*NO_TIMES, None, 100]),
    (lambda maximum: exponential(maximum=maximum), "maximum=", [*NO_TIMES, None]),
    (lambda factor: exponential(factor=factor), "factor=", [0, 0.5, -1, math.inf, math.nan, True, "2"]),
    (lambda jitter: exponential(jitter=jitter), "jitter=1", [1]),
    (lambda kind: Retry(on=kind), "on=", [*NO_ERRORS, ()]),
    (lambda kind: Retry(give_up_on=kind), "give_up_on=", NO_ERRORS),
    (lambda kind: Retry(on=OSError, give_up_on=kind), "on=OSError", [OSError, Exception, (ValueError, OSError)]),
    (lambda soft: Timeout(soft=soft), "soft=", NO_LIMITS),
    (lambda hard: Timeout(hard=hard), "hard=", NO_LIMITS),
    (lambda soft: Timeout(soft, 5), "soft=", [5, 6]),
    (lambda nothing: Timeout(nothing, nothing), "Timeout()", [None]),
    (lambda limit: TaskOptions(timeout=limit), "timeout=", NO_LIMITS),
    (lambda limit: TaskOptions(start_within=limit), "start_within=", NO_LIMITS),
    (lambda share: TaskOptions(min_success=share), "min_success=", [-0.1, 1.1, math.nan, True, "all"]),
    (lambda share: TaskOptions(min_success=share, on_item_failure="skip"), "on_item_failure='skip'", [0.5]),
    (lambda what: TaskOptions(on_item_failure=what), "on_item_failure='ignore'", ["ignore"]),
    (lambda number: TaskOptions(max_concurrent=number), "max_concurrent=", NO_COUNTS),
    (lambda hook: TaskOptions(on_success=hook), "on_success='mail.send'", ["mail.send"]),
    (lambda hook: TaskOptions(on_failure=hook), "on_failure='mail.send'", ["mail.send"]),
    (lambda hook: TaskOptions(retry=Retry(), on_retry=hook), "on_retry='mail.send'", ["mail.send"]),
    (lambda hook: TaskOptions(on_retry=hook), "on_retry", [print]),  # there is no retry
    (lambda retry: TaskOptions(retry=retry), "retry=", [3, True, Retry, exponential()]),
    (lambda limit: DagOptions(deadline=limit), "deadline=", NO_LIMITS),
    (lambda number: DagOptions(max_active_runs=number), "max_active_runs=", NO_COUNTS),
    (lambda hook: DagOptions(on_success=hook), "on_success=3", [3]),
    (lambda hook: DagOptions(on_failure=hook), "on_failure=3", [3]),
    (lambda truth: DagOptions(fail_fast=truth), "fail_fast=1", [1]),
    (lambda what: DagOptions(keep=what), "keep='nothing'", ["nothing"]),
    (Cache, "ttl", [*NO_LIMITS, None, 11 * 365 * 86400]),
    (lambda key: Cache(60, key=key), "key", ["", 3, ("a",)]),
    (lambda size: Cache(60, max_bytes=size), "max_bytes", [0, -1, True, 2.5, None]),
]


@pytest.mark.parametrize(("make", "culprit", "values"), REFUSED)
def test_what_is_out_of_bounds_or_contradicts_itself_is_refused_by_name(
    make: Callable[[Any], object], culprit: str, values: list[Any]
) -> None:
    for value in values:
        with pytest.raises(InvalidDag) as caught:
            make(value)
        assert culprit in caught.value.culprit
        assert caught.value.problem
        assert caught.value.remedy


def test_the_bounds_themselves_are_allowed() -> None:
    assert [Retry(number).max_attempts for number in (1, 1000)] == [1, 1000]
    assert exponential(base=100, maximum=100).maximum == 100
    assert [TaskOptions(min_success=share).min_success for share in (0, 1)] == [0, 1]
    assert TaskOptions(min_success=0, on_item_failure="skip").on_item_failure == "skip"


def test_by_default_any_error_is_followed_by_two_more_calls_at_growing_distances() -> None:
    assert Retry() == Retry(3, exponential(1, 60, 2, jitter=True), on=(Exception,), give_up_on=())


def test_exponential_waits_have_a_base_a_factor_and_a_maximum() -> None:
    assert exponential() == Wait(base=1.0, factor=2.0, maximum=60.0, jitter=True)


def test_static_waits_are_all_alike_and_never_vary() -> None:
    assert static(5) == Wait(base=5.0, factor=1.0, maximum=5.0, jitter=False)


def test_a_plain_number_is_a_static_wait() -> None:
    assert Retry(wait=5).wait == static(5)
    assert Retry(wait=0).wait == static(0)


def test_one_class_of_errors_needs_no_tuple() -> None:
    retry = Retry(on=OSError, give_up_on=(FileNotFoundError, FileNotFoundError))
    assert (retry.on, retry.give_up_on) == ((OSError,), (FileNotFoundError,))


def test_policies_are_values() -> None:
    for value in (Retry(), exponential(), Timeout(1, 2)):
        assert pickle.loads(pickle.dumps(value)) == value
        assert len({value, replace(value)}) == 1
    assert replace(Retry(), max_attempts=2) == Retry(2)
    with pytest.raises(FrozenInstanceError):
        Retry().max_attempts = 4  # type: ignore[misc]


def test_a_plain_number_is_a_hard_limit() -> None:
    assert TaskOptions(timeout=5).timeout == Timeout(soft=None, hard=5.0)
    assert TaskOptions(timeout=Timeout(soft=5)).timeout == Timeout(soft=5.0, hard=None)


def test_options_that_say_the_same_are_equal() -> None:
    assert TaskOptions(timeout=5, retry=Retry(wait=1)) == TaskOptions(timeout=Timeout(hard=5.0), retry=Retry(3, 1.0))


def test_a_refusal_says_what_would_be_right() -> None:
    with pytest.raises(InvalidDag, match=re.escape("give a whole number, 1 to 1,000")):
        Retry(0)


def test_a_cache_has_a_time_and_perhaps_a_key() -> None:
    assert Cache(60).ttl == 60.0
    assert Cache(ttl=0.5, key="v2", max_bytes=10) == replace(Cache(0.5, "v2"), max_bytes=10)
    assert Cache(60, key=str).key is str
