"""`dagorama.code_signature`: a hash of what a function does."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable
from importlib.metadata import distributions
from typing import Any

from dagcelery.payload.fingerprints import code_hash

__all__ = ["calculate_function_hash", "get_explicit_dependencies"]


def get_explicit_dependencies() -> list[tuple[str, str]]:
    """Return the names and versions of the packages that are installed."""
    return sorted({(each.metadata["Name"], each.version) for each in distributions()})


def calculate_function_hash(fn: Callable[..., Any], include_package_versions: bool = False) -> str:
    """Return a hash of a function's name and code, the same wherever its file is; perhaps of all packages as well."""
    parts = [fn.__name__, code_hash(fn), *(get_explicit_dependencies() if include_package_versions else ())]
    return b64encode(hashlib.md5(repr(parts).encode(), usedforsecurity=False).digest()).decode()
