"""Errors of values on their way to bytes and back."""

from __future__ import annotations

from dagcelery.errors.family import DagceleryError, sentence


class BadSignature(DagceleryError):
    """Stored bytes cannot be trusted, so they were not decoded; ``address`` says which."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return sentence(f"the stored bytes of {self.address} were refused", self.reason)


class UnknownKey(BadSignature):
    """Stored bytes were sealed with a key that this process does not hold; one that does may read them."""


class SerializationError(DagceleryError):
    """A value cannot be turned into bytes without loss."""

    def __init__(self, culprit: str, reason: str = "", remedy: str = "") -> None:
        super().__init__(culprit, reason, remedy)
        self.culprit = culprit
        self.reason = reason
        self.remedy = remedy


class DeserializationError(DagceleryError):
    """Stored bytes, though genuine, cannot be turned back into a value here."""

    def __init__(self, culprit: str, reason: str = "", remedy: str = "") -> None:
        super().__init__(culprit, reason, remedy)
        self.culprit = culprit
        self.reason = reason
        self.remedy = remedy


class ValueFreed(DeserializationError):
    """A value is not there any more, because its DAG keeps nothing but its outputs."""


class SpillDamaged(DeserializationError):
    """A value stands in a file that is missing, or holds other bytes than were written; nothing was decoded."""


class LimitExceeded(DagceleryError):
    """Something is larger than a setting allows; ``setting`` is the environment variable that says so."""

    def __init__(self, culprit: str, amount: int, limit: int, unit: str, setting: str) -> None:
        super().__init__(culprit, amount, limit, unit, setting)
        self.culprit = culprit
        self.amount = amount
        self.limit = limit
        self.unit = unit
        self.setting = setting

    def __str__(self) -> str:
        return (
            f"{self.culprit} has {self.amount:,} {self.unit}, more than the {self.limit:,} that are allowed; "
            f"make it smaller, or raise {self.setting}"
        )


class PayloadTooLarge(LimitExceeded):
    """A value's bytes are more than may be stored; ``size`` may be a lower bound, counted until then."""

    def __init__(self, culprit: str, size: int, limit: int) -> None:
        super().__init__(culprit, size, limit, "bytes", "DAGCELERY_MAX_PAYLOAD_BYTES")
        self.args = (culprit, size, limit)
        self.size = size

    def __str__(self) -> str:
        return (
            f"{self.culprit} takes {self.size:,} bytes or more, and {self.limit:,} are allowed; "
            "keep large data in files or an object store and pass its address, "
            "split it into elements, or raise DAGCELERY_MAX_PAYLOAD_BYTES"
        )
