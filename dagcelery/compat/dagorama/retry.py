"""`dagorama.retry`: policies for failed nodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from dagcelery.model import Retry, exponential, static

__all__ = ["ExponentialRetry", "RetryConfiguration", "StaticRetry"]


class RetryConfiguration(ABC):
    """A node's `retry`."""

    @abstractmethod
    def as_retry(self) -> Retry:
        """Return dagcelery's equivalent.

        Raises InvalidDag.
        """

    def as_message(self) -> Retry:
        """Return what travels with a node: the same."""
        return self.as_retry()


@dataclass
class StaticRetry(RetryConfiguration):
    """At most `max_attempts` executions, including the first, with `interval` seconds in between."""

    max_attempts: int
    interval: float

    def as_retry(self) -> Retry:
        """Return dagcelery's equivalent."""
        return Retry(self.max_attempts, static(self.interval))


@dataclass
class ExponentialRetry(RetryConfiguration):
    """At most `max_attempts` executions; waits are about `base_interval` seconds, then its square, its cube, ..."""

    max_attempts: int
    base_interval: float = 2

    def as_retry(self) -> Retry:
        """Return dagcelery's equivalent; waits vary randomly, and are at most an hour."""
        return Retry(self.max_attempts, exponential(self.base_interval, maximum=3600.0, factor=self.base_interval))
