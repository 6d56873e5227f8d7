"""What follows from a failure: whether its task would try again, and why a poisoned piece fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dagcelery.errors import DagceleryError, NotStarted, PieceDied, TimeLimitExceeded
from dagcelery.planner.options import is_time_limit_retried
from dagcelery.store.records import RETURNS_A_DEATH

PUT_BACK: Final = {"m": 5, "b": 0.5, "f": 2.0, "c": 8.0}
"""Tries and waits of a piece whose function this process does not have: some 8 s in which a worker that was
deployed later may take it. More would hide a mistake, and less would fail runs in each deploy."""


def is_retryable(error: BaseException, options: Mapping[str, Any]) -> bool:
    """Whether a task's policy covers an error. Classes are told by name: none is imported for it.

    dagcelery's own errors (a result that cannot be serialized, say) come again each time; they are retried only by a
    policy that names them. A time limit counts as what it would be taken for where it had ended the process.
    """
    policy = options.get("retry")
    if policy is None:
        return False
    if isinstance(error, TimeLimitExceeded):
        return is_time_limit_retried(policy)
    names = [f"{kind.__module__}:{kind.__qualname__}" for kind in type(error).__mro__]
    if isinstance(error, DagceleryError):
        names = [name for name in names if name.startswith("dagcelery.")]
    return not set(names).isdisjoint(policy["on"]) and set(names).isdisjoint(policy["give_up_on"])


def verdict(poisoned: str, options: Mapping[str, Any], queue: str, *, deaths: int, is_served: bool) -> DagceleryError:
    """The error that a poisoned piece fails with."""
    if poisoned == "timeout":
        return TimeLimitExceeded(options["timeout"][1])
    if poisoned == "start_within":
        return NotStarted(queue, options["start_within"], is_served)
    return died(poisoned, deaths)


def died(poisoned: str, deaths: int) -> PieceDied:
    """The error of a piece that was lost as often as it may be, by deaths or alive."""
    return PieceDied(deaths * RETURNS_A_DEATH, "returned") if poisoned == "returned" else PieceDied(deaths)
