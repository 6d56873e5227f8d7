"""What a step's options say to workers: those of its task that neither chose its queue nor its codecs."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Final

from dagcelery.model import TaskOptions

_PLANNED: Final = {"taints", "queue", "name", "lazy", "serializer", "by_value"}
_CARRIED: Final = [option for option in fields(TaskOptions) if option.name not in _PLANNED]


def step_options(options: TaskOptions) -> dict[str, Any]:
    """Return the options that were set, as JSON says them."""
    given = {option.name: (getattr(options, option.name), option.default) for option in _CARRIED}
    return {name: _plain(value) for name, (value, default) in given.items() if value != default}


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Set):
        return sorted(map(_plain, value))
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
