"""What an examination finds: a small record with its remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is: runs fail, stall or are lost; may do so one day; or something could not be looked at."""

    SERIOUS = "serious"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be, and what would help."""

    check: str
    severity: Severity
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"

    def to_dict(self) -> dict[str, str]:
        """The same as JSON-able data."""
        return asdict(self) | {"severity": str(self.severity)}
