"""What stands for an item that failed and was left out, and the lists that are left without such ones."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Skipped:
    """An item that failed and was left out: the address of what failed, and type and message of its error.

    The address is the item's, ``fetch[3]``, or that of a node in it, ``train[3]/fit``. A reducer finds it in its list,
    in the item's place. A task that would be called with it is skipped too.
    """

    address: str
    type_name: str
    message: str

    def encode(self) -> bytes:
        """Return it as bytes, to be sealed."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Skipped:
        """Return what `encode` wrote."""
        return cls(**json.loads(bytes(data)))


def present(xs: Iterable[T | Skipped]) -> list[T]:
    """Return the elements that were not skipped, in order."""
    return [x for x in xs if not isinstance(x, Skipped)]
