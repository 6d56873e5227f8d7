"""How long functions take in this process: the largest of the last 20 calls, so that a surprise is remembered."""

from __future__ import annotations

from collections import deque

_KEPT = 20
RANGE_TARGET_SECONDS = 0.05
"""What one claim of a fan-out should take."""


class Durations:
    """Seconds by function; safe to share between threads, because a lost sample does no harm."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[float]] = {}

    def add(self, function: str, seconds: float) -> None:
        """Remember that one call took `seconds`."""
        samples = self._samples.get(function)
        if samples is None:
            samples = self._samples[function] = deque(maxlen=_KEPT)
        samples.append(seconds)

    def longest(self, function: str) -> float | None:
        """The longest of the last calls, or None if there was none."""
        samples = self._samples.get(function)
        return max(samples) if samples else None

    def range_size(self, function: str, most: int) -> int:
        """How many items fit into one claim; one while nothing is known."""
        longest = self.longest(function)
        if longest is None:
            return 1
        return max(1, min(most, int(RANGE_TARGET_SECONDS / max(longest, 1e-6))))
