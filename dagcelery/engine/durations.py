"""How long functions take, as this process has seen it: how many items or short pieces fit into one claim."""

from __future__ import annotations

from collections import deque

from dagcelery import bounded

_KEPT, _KEPT_FUNCTIONS = 20, 1_000
"""Samples of a function, and functions: those that travel by value are others in each version."""

RANGE_TARGET_SECONDS, BATCH_SECONDS = 0.05, 0.005
"""How long one claim of a fan-out should take, and a batch of short pieces: no one is to wait for that."""


def _fitting(each: float | None, seconds: float, most: int) -> int:
    return 1 if each is None else max(1, min(most, int(seconds / max(each, 1e-6))))


class Durations:
    """Seconds by function; safe to share between threads, because a lost sample does no harm."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[float]] = {}

    def add(self, function: str, seconds: float) -> None:
        """Remember that one call took `seconds`."""
        samples = self._samples.get(function)
        if samples is None:
            samples = bounded.put(self._samples, function, deque(maxlen=_KEPT), _KEPT_FUNCTIONS)
        samples.append(seconds)

    def longest(self, function: str) -> float | None:
        """Return the longest of the last calls, or None if there was none."""
        samples = self._samples.get(function)
        return max(samples) if samples else None

    def usual(self, function: str) -> float | None:
        """Return what nine of ten of the last calls did not exceed, or None if there was none.

        What is given back when it overruns may be guessed so: one stall of the machine says little of the next call.
        """
        samples = self._samples.get(function)
        return sorted(samples)[(9 * len(samples) - 1) // 10] if samples else None

    def range_size(self, function: str, most: int) -> int:
        """Return how many items fit into one claim; one while nothing is known."""
        return _fitting(self.longest(function), RANGE_TARGET_SECONDS, most)

    def batch_size(self, function: str) -> int:
        """Return how many calls fit into one batch; none while nothing is known."""
        usual = self.usual(function)
        return 0 if usual is None or usual > BATCH_SECONDS else _fitting(usual, BATCH_SECONDS, 1000)
