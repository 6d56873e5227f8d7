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


def refused(make: Callable[[], object], culprit: str) -> None:
    with pytest.raises(InvalidDag) as caught:
        make()
    assert culprit in caught.value.culprit
    assert caught.value.problem
    assert caught.value.remedy


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


@pytest.mark.parametrize("attempts", [0, -1, 1001, True, 2.0, None, "3"])
def test_attempts_are_a_whole_number_from_one_to_a_thousand(attempts: Any) -> None:
    refused(lambda: Retry(attempts), f"max_attempts={attempts!r}")
    assert Retry(1).max_attempts == 1
    assert Retry(1000).max_attempts == 1000


@pytest.mark.parametrize("time", [*NO_TIMES, None], ids=lambda time: str(time)[:9])
def test_a_wait_is_a_time(time: Any) -> None:
    refused(lambda: Retry(wait=time), "wait=")
    refused(lambda: static(time), "wait=")
    refused(lambda: exponential(base=time), "base=")
    refused(lambda: exponential(maximum=time), "maximum=")


@pytest.mark.parametrize("factor", [0, 0.5, -1, math.inf, math.nan, True, "2"])
def test_waits_do_not_become_shorter(factor: Any) -> None:
    refused(lambda: exponential(factor=factor), f"factor={factor!r}")


def test_a_wait_has_to_fit_below_its_maximum() -> None:
    refused(lambda: exponential(base=100), "base=100.0")
    assert exponential(base=100, maximum=100).maximum == 100


def test_jitter_is_there_or_not() -> None:
    refused(lambda: exponential(jitter=1), "jitter=1")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [int, "OSError", OSError(), None, [OSError], (OSError, 3)], ids=repr)
def test_errors_are_exception_classes(kind: Any) -> None:
    refused(lambda: Retry(on=kind), "on=")
    refused(lambda: Retry(give_up_on=kind), "give_up_on=")


@pytest.mark.parametrize("given_up", [OSError, Exception, (ValueError, OSError)])
def test_an_error_that_is_given_up_on_is_not_tried_again(given_up: Any) -> None:
    refused(lambda: Retry(on=OSError, give_up_on=given_up), "on=OSError")


def test_a_retry_after_no_error_is_none() -> None:
    refused(lambda: Retry(on=()), "on=()")


@pytest.mark.parametrize("time", [*NO_TIMES, 0], ids=lambda time: str(time)[:9])
def test_a_limit_is_more_than_no_time(time: Any) -> None:
    refused(lambda: Timeout(soft=time), "soft=")
    refused(lambda: Timeout(hard=time), "hard=")
    refused(lambda: TaskOptions(timeout=time), "timeout=")
    refused(lambda: TaskOptions(start_within=time), "start_within=")
    refused(lambda: DagOptions(deadline=time), "deadline=")


@pytest.mark.parametrize(("soft", "hard"), [(5, 5), (6, 5)])
def test_a_soft_limit_is_reached_before_the_hard_one(soft: float, hard: float) -> None:
    refused(lambda: Timeout(soft, hard), f"soft={float(soft)}")


def test_a_timeout_limits_something() -> None:
    refused(Timeout, "Timeout()")


def test_a_plain_number_is_a_hard_limit() -> None:
    assert TaskOptions(timeout=5).timeout == Timeout(soft=None, hard=5.0)
    assert TaskOptions(timeout=Timeout(soft=5)).timeout == Timeout(soft=5.0, hard=None)


def test_options_that_say_the_same_are_equal() -> None:
    assert TaskOptions(timeout=5, retry=Retry(wait=1)) == TaskOptions(timeout=Timeout(hard=5.0), retry=Retry(3, 1.0))


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, True, "all"])
def test_a_share_of_items_lies_between_none_and_all(share: Any) -> None:
    refused(lambda: TaskOptions(min_success=share), "min_success=")
    assert [TaskOptions(min_success=share).min_success for share in (0, 1)] == [0, 1]


def test_skipping_and_a_share_must_not_contradict_each_other() -> None:
    refused(lambda: TaskOptions(min_success=0.5, on_item_failure="skip"), "on_item_failure='skip'")
    assert TaskOptions(min_success=0, on_item_failure="skip").on_item_failure == "skip"
    refused(lambda: TaskOptions(on_item_failure="ignore"), "on_item_failure='ignore'")  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [0, -1, True, 1.5, "2"])
def test_what_is_bounded_happens_once_at_least(number: Any) -> None:
    refused(lambda: TaskOptions(max_concurrent=number), "max_concurrent=")
    refused(lambda: DagOptions(max_active_runs=number), "max_active_runs=")


@pytest.mark.parametrize("hook", ["on_success", "on_failure", "on_retry"])
def test_a_hook_can_be_called(hook: str) -> None:
    refused(lambda: TaskOptions(retry=Retry(), **{hook: "mail.send"}), f"{hook}='mail.send'")  # type: ignore[arg-type]
    if hook != "on_retry":
        refused(lambda: DagOptions(**{hook: 3}), f"{hook}=3")  # type: ignore[arg-type]


def test_a_hook_for_retries_needs_a_retry() -> None:
    refused(lambda: TaskOptions(on_retry=print), "on_retry")


@pytest.mark.parametrize("retry", [3, True, Retry, exponential()], ids=repr)
def test_a_retry_is_said_in_full(retry: Any) -> None:
    refused(lambda: TaskOptions(retry=retry), f"retry={retry!r}")


def test_a_dag_fails_fast_or_not_and_keeps_all_or_its_outputs() -> None:
    refused(lambda: DagOptions(fail_fast=1), "fail_fast=1")  # type: ignore[arg-type]
    refused(lambda: DagOptions(keep="nothing"), "keep='nothing'")  # type: ignore[arg-type]


def test_a_refusal_says_what_would_be_right() -> None:
    with pytest.raises(InvalidDag, match=re.escape("give a whole number, 1 to 1,000")):
        Retry(0)


def test_a_cache_has_a_time_and_perhaps_a_key() -> None:
    assert Cache(60).ttl == 60.0
    assert Cache(ttl=0.5, key="v2", max_bytes=10) == replace(Cache(0.5, "v2"), max_bytes=10)
    assert Cache(60, key=str).key is str


@pytest.mark.parametrize("ttl", [*NO_TIMES, 0, None, 11 * 365 * 86400])
def test_the_time_that_results_are_kept_is_positive_and_less_than_ten_years(ttl: Any) -> None:
    refused(lambda: Cache(ttl), "ttl")


@pytest.mark.parametrize("key", ["", 3, ("a",)])
def test_a_cache_key_is_a_text_or_a_function(key: Any) -> None:
    refused(lambda: Cache(60, key=key), "key")


@pytest.mark.parametrize("size", [0, -1, True, 2.5, None])
def test_the_size_of_what_is_kept_is_a_number_of_bytes(size: Any) -> None:
    refused(lambda: Cache(60, max_bytes=size), "max_bytes")
