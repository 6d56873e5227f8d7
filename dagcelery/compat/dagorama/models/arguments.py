"""`dagorama.models.arguments`: what a function was called with."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagcelery.compat.dagorama.inspection import extract_promise_identifiers

__all__ = ["DAGArguments"]


@dataclass
class DAGArguments:
    """Positional and keyword arguments; there may be promises in them."""

    calltime_args: Sequence[Any]
    calltime_kwargs: Mapping[str, Any]

    def to_server_bytes(self) -> bytes:
        """Return them pickled, promises by their identifiers."""
        plain = extract_promise_identifiers([self.calltime_args, self.calltime_kwargs])
        return pickle.dumps(DAGArguments(*plain))

    @classmethod
    def from_server_bytes(cls, b: bytes) -> DAGArguments:
        """Return what `to_server_bytes` wrote; read only your own bytes, since reading can run code."""
        arguments: DAGArguments = pickle.loads(b)
        return arguments
