"""What stands in the place of a result that there is not, because its item was skipped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Skipped:
    """An item that failed and was left out: its address, and type and message of its error.

    A reducer finds it in its list, in the item's place. A task that would be called with it is skipped too.
    """

    address: str
    type_name: str
    message: str

    def encode(self) -> bytes:
        """As bytes, to be sealed."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Skipped:
        """What `encode` was told."""
        return cls(**json.loads(bytes(data)))
