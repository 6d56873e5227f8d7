"""`dagorama.retry`: how often a node that failed is executed again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from dagcelery.model import Retry, exponential, static

__all__ = ["ExponentialRetry", "RetryConfiguration", "StaticRetry"]


class RetryConfiguration(ABC):
    """What a node's `retry` may be."""

    @abstractmethod
    def as_retry(self) -> Retry:
        """Return the same as dagcelery says it.

        Raises InvalidDag.
        """


@dataclass
class StaticRetry(RetryConfiguration):
    """At most `max_attempts` executions, the first one among them, with `interval` seconds in between."""

    max_attempts: int
    interval: float

    def as_retry(self) -> Retry:
        """Return the same as dagcelery says it."""
        return Retry(self.max_attempts, static(self.interval))


@dataclass
class ExponentialRetry(RetryConfiguration):
    """At most `max_attempts` executions; waits are about `base_interval` seconds, then its square, its cube, ..."""

    max_attempts: int
    base_interval: float = 2

    def as_retry(self) -> Retry:
        """Return the same as dagcelery says it; waits vary at random, and are at most an hour."""
        return Retry(self.max_attempts, exponential(self.base_interval, maximum=3600.0, factor=self.base_interval))
