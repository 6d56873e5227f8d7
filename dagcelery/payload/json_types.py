"""Values that JSON has no form for: dates and times, Decimal, UUID and `Skipped`.

Each is an object with one key, which is ours: ``{"dagcelery.value": ["date", "2024-01-02"]}``. A user's dict that looks
like one is written as the pairs that it is made of, and so it comes back as that dict. Only exact types are carried,
since a subclass would come back as its base.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

from dagcelery.payload.lazy import LazyList
from dagcelery.payload.skipped import Skipped

_SKIPPED: Final = "dagcelery.Skipped"
_VALUE: Final = "dagcelery.value"
_MARKS: Final = frozenset({_SKIPPED, _VALUE})
MARK: Final = '"dagcelery.'
"""How our keys begin in JSON; where it does not occur there is nothing to be looked for."""
CARRIED: Final[frozenset[type]] = frozenset(
    {datetime.date, datetime.datetime, datetime.time, datetime.timedelta, Decimal, uuid.UUID, Skipped}
)
_ZONES: Final = "use datetime.timezone or zoneinfo.ZoneInfo(name), or AsPickle()"


_OF_CLASSES: Final = frozenset({"model", "enum", "validated", "tuple"})
"""How what is `Marked` may be made again."""


class UnknownZone(ValueError):
    """A time's zone is of a class that has no text."""


class Unreadable(ValueError):
    """The JSON is valid, but this process cannot make the value."""


@dataclass(frozen=True, slots=True)
class Marked:
    """An object of a class that an annotation names, as what JSON can say of it: `kind` says how it is made again."""

    kind: str
    name: str
    state: Any


def to_json(value: Any) -> Any:
    """Return what JSON can say for a value that it cannot; raises TypeError, and UnknownZone for a time's zone."""
    if type(value) is LazyList:
        return list(value)
    if type(value) is Skipped:
        return {_SKIPPED: [value.address, value.type_name, value.message]}
    if type(value) is Marked:
        return {_VALUE: [value.kind, value.name, value.state]}
    writer = _WRITERS.get(type(value))
    if writer is None:
        raise TypeError(f"{type(value).__name__} is not JSON")
    return {_VALUE: writer(value)}


def from_json(found: dict[str, Any], restore: Callable[[str, str, Any], Any] | None = None) -> Any:
    """Return the value that an object of JSON stands for: any other object of JSON is a dict.

    `restore` makes objects that were `Marked`; without it they are refused. Raises Unreadable.
    """
    if len(found) != 1:
        return found
    (key, parts), *_ = found.items()
    if key == _SKIPPED and type(parts) is list and list(map(type, parts)) == [str] * 3:
        return Skipped(*parts)
    if key != _VALUE or type(parts) is not list or not parts:
        return found
    if len(parts) == 3 and type(parts[1]) is str and type(parts[0]) is str and parts[0] in _OF_CLASSES:
        if restore is None:
            raise Unreadable(f"holds an object of {parts[1]}, which no annotation names here")
        return restore(*parts)
    reader = _READERS.get(parts[0]) if type(parts[0]) is str else None
    try:
        return found if reader is None else reader(*parts[1:])
    except Unreadable:
        raise
    except (TypeError, ValueError, OverflowError, InvalidOperation):
        return found  # others may write anything; everything that we write can be read


def looks_like_ours(value: Any) -> bool:
    """Whether a dict of the user's, somewhere in a plain value, would be taken for one of ours."""
    kind = type(value)
    if kind is dict:
        return _is_marked(value) or any(map(looks_like_ours, value.values()))
    if kind is Marked:
        return looks_like_ours(value.state)
    return kind in (list, tuple, LazyList) and any(map(looks_like_ours, value))


def escaped(value: Any) -> Any:
    """Return `value` with such dicts as pairs."""
    kind = type(value)
    if kind is dict:
        made = {key: escaped(item) for key, item in value.items()}
        return {_VALUE: ["dict", list(map(list, made.items()))]} if _is_marked(made) else made
    if kind is Marked:
        return Marked(value.kind, value.name, escaped(value.state))
    return list(map(escaped, value)) if kind in (list, tuple, LazyList) else value


def zone_fault(value: Any) -> tuple[str, str] | None:
    """Return what is wrong with the zone of a date or time, and what would be right; None if nothing is."""
    try:
        to_json(value)
    except UnknownZone as error:
        return str(error), _ZONES
    return None


def _is_marked(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and not _MARKS.isdisjoint(value)


def _write_datetime(value: datetime.datetime) -> list[Any]:
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    return ["datetime", naive, *_zone_parts(value.tzinfo, value.fold)]


def _write_time(value: datetime.time) -> list[Any]:
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    return ["time", naive, *_zone_parts(value.tzinfo, value.fold)]


def _zone_parts(zone: datetime.tzinfo | None, fold: int) -> list[Any]:
    """Return a zone as its name or its offset in microseconds, and which of two equal times on a clock is meant."""
    if zone is None:
        return [None, fold] if fold else []
    if type(zone) is datetime.timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return [[offset // datetime.timedelta(microseconds=1), *name], *([fold] if fold else [])]
    if type(zone) is ZoneInfo and zone.key is not None:
        return [zone.key, *([fold] if fold else [])]
    raise UnknownZone(f"has a time zone of type {type(zone).__module__}.{type(zone).__qualname__}, which has no text")


def _zone(parts: Any) -> datetime.tzinfo | None:
    if parts is None:
        return None
    if isinstance(parts, list):
        offset, *name = parts
        since = datetime.timedelta(microseconds=offset)
        return datetime.timezone(since, *name) if since or name else datetime.UTC
    try:
        return ZoneInfo(parts)
    except (LookupError, OSError) as error:
        raise Unreadable(f"needs the time zone {parts!r}, which is not known here; install tzdata") from error


def _read_datetime(text: str, zone: Any = None, fold: int = 0) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=_zone(zone), fold=fold)


def _read_time(text: str, zone: Any = None, fold: int = 0) -> datetime.time:
    return datetime.time.fromisoformat(text).replace(tzinfo=_zone(zone), fold=fold)


_WRITERS: Final[Mapping[type, Callable[[Any], list[Any]]]] = {
    datetime.date: lambda value: ["date", value.isoformat()],
    datetime.datetime: _write_datetime,
    datetime.time: _write_time,
    datetime.timedelta: lambda value: ["timedelta", value.days, value.seconds, value.microseconds],
    Decimal: lambda value: ["Decimal", str(value)],
    uuid.UUID: lambda value: ["UUID", value.hex],
}
_READERS: Final[Mapping[str, Callable[..., Any]]] = {
    "date": datetime.date.fromisoformat,
    "datetime": _read_datetime,
    "time": _read_time,
    "timedelta": datetime.timedelta,
    "Decimal": Decimal,
    "UUID": uuid.UUID,
    "dict": dict,
}
