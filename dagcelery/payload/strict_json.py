"""JSON text is made here only of values that come back from it unchanged, tuples as lists excepted.

Python's own encoder changes more: keys become text, enums and named tuples lose their class, numbers of other
libraries become plain ones. What would change is refused, naming the path to it and the remedy. Dates and times,
Decimal, UUID and `Skipped` are written as objects, and come back.

Each is an object with one key, which is ours: ``{"dagcelery.value": ["date", "2024-01-02"]}``. A user's dict that looks
like one is written as the pairs that it is made of, and so it comes back as that dict. Only exact types are carried,
since a subclass would come back as its base.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import partial
from itertools import chain
from json import encoder as json_encoder
from typing import Any, Final
from zoneinfo import ZoneInfo

from dagcelery.errors import SerializationError
from dagcelery.payload.addresses import Culprit, named
from dagcelery.payload.lazy import LazyList
from dagcelery.skipped import Skipped
from dagcelery.text import CLEAN, SURROGATE, digits, is_encodable, short, type_name

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


def from_json(pairs: dict[str, Any], restore: Callable[[str, str, Any], Any] | None = None) -> Any:
    """Return the value that an object of JSON was written for; any other object of JSON is a dict.

    `restore` makes objects that were `Marked`; without it they are refused. Raises Unreadable.
    """
    if len(pairs) != 1:
        return pairs
    (key, parts), *_ = pairs.items()
    if key == _SKIPPED and type(parts) is list and list(map(type, parts)) == [str] * 3:
        return Skipped(*parts)
    if key != _VALUE or type(parts) is not list or not parts:
        return pairs
    if len(parts) == 3 and type(parts[1]) is str and type(parts[0]) is str and parts[0] in _OF_CLASSES:
        if restore is None:
            raise Unreadable(f"holds an object of {parts[1]}, which no annotation names here")
        return restore(*parts)
    reader = _READERS.get(parts[0]) if type(parts[0]) is str else None
    try:
        return pairs if reader is None else reader(*parts[1:])
    except Unreadable:
        raise
    except (TypeError, ValueError, OverflowError, InvalidOperation):
        return pairs  # others may write anything; everything that we write can be read


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
        items = {key: escaped(item) for key, item in value.items()}
        return {_VALUE: ["dict", list(map(list, items.items()))]} if _is_marked(items) else items
    if kind is Marked:
        return Marked(value.kind, value.name, escaped(value.state))
    return list(map(escaped, value)) if kind in (list, tuple, LazyList) else value


def _is_marked(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and not _MARKS.isdisjoint(value)


def _write_moment(value: datetime.datetime | datetime.time) -> list[Any]:
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    return [type(value).__name__, naive, *_zone_parts(value.tzinfo, value.fold)]


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


def _read_moment(kind: Any, text: str, zone: Any = None, fold: int = 0) -> Any:
    return kind.fromisoformat(text).replace(tzinfo=_zone(zone), fold=fold)


_WRITERS: Final[Mapping[type, Callable[[Any], list[Any]]]] = {
    datetime.date: lambda value: ["date", value.isoformat()],
    datetime.datetime: _write_moment,
    datetime.time: _write_moment,
    datetime.timedelta: lambda value: ["timedelta", value.days, value.seconds, value.microseconds],
    Decimal: lambda value: ["Decimal", str(value)],
    uuid.UUID: lambda value: ["UUID", value.hex],
}

_READERS: Final[Mapping[str, Callable[..., Any]]] = {
    "date": datetime.date.fromisoformat,
    "datetime": partial(_read_moment, datetime.datetime),
    "time": partial(_read_moment, datetime.time),
    "timedelta": datetime.timedelta,
    "Decimal": Decimal,
    "UUID": uuid.UUID,
    "dict": dict,
}

_SCALARS: Final = frozenset({str, int, float, bool, type(None)}) | CARRIED

_LISTS: Final = frozenset({list, tuple, LazyList})

_PLAIN: Final = _SCALARS | _LISTS | {dict}

_TEXT: Final = frozenset({str})

_FEW: Final = 8
"""Up to so many elements a plain loop is cheaper than collecting the types of a whole level."""


class Attribute(str):
    """A step of a path that is not a key."""

    __slots__ = ()


class Encoder:
    """Writes values as JSON text, in one line unless `indent` is a number of spaces."""

    __slots__ = ("_allow_nan", "_text")

    def __init__(self, indent: int | None, allow_nan: bool) -> None:
        self._allow_nan = allow_nan
        self._text = _text_of(indent, allow_nan)

    def encode(self, value: Any, culprit: Culprit, lo: int | None = None) -> bytes:
        """Return `value` as UTF-8 JSON; raise SerializationError with the path to what would change.

        With `lo`, `value` is a stretch of a list that begins at that index.
        """
        try:
            # UTF-8 has no surrogates, which a reader of JSON would join into other characters: this refuses.
            text = self._text(value)
            data = text.encode()
            if is_plain(value):
                return data if MARK not in text or not looks_like_ours(value) else self._text(escaped(value)).encode()
            cause = None
        except (TypeError, ValueError, RecursionError) as error:
            cause = error
        path, reason, remedy = _first_culprit(value, self._allow_nan) or (
            (),
            f"cannot be written as JSON: {cause or 'it would come back changed'}",
            _ANYTHING,
        )
        if lo is not None and path:
            path = (path[0] + lo, *path[1:])
        at = "".join(f".{step}" if type(step) is Attribute else f"[{short(step)}]" for step in path)
        raise SerializationError(f"{named(culprit)} at {at}" if at else named(culprit), reason, remedy) from cause


def _text_of(indent: int | None, allow_nan: bool) -> Callable[[Any], str]:
    # The C encoder is kept: json.dumps and JSONEncoder.encode would build one at each call, 1 us each time.
    # Cycles need no bookkeeping: they end as a RecursionError.
    make = getattr(json_encoder, "c_make_encoder", None)
    if indent is None and make is not None:
        escape = getattr(json_encoder, "encode_basestring")  # noqa: B009 (no stub names it)
        chunks = make(None, to_json, escape, None, ":", ",", False, False, allow_nan)
        return lambda value: "".join(chunks(value, 0))
    return json.JSONEncoder(
        ensure_ascii=False,
        check_circular=False,
        allow_nan=allow_nan,
        indent=indent,
        separators=(",", ":") if indent is None else (",", ": "),
        default=to_json,
    ).encode


_scan: Callable[[str, int], tuple[Any, int]] = getattr(json.JSONDecoder(), "scan_once")  # noqa: B009 (as above)


def decode(data: bytes | memoryview, restore: Callable[[str, str, Any], Any] | None = None) -> Any:
    """Return the value of JSON text; raises ValueError, `Unreadable` among them, or RecursionError."""
    text = str(data, "utf-8")
    if MARK in text:
        return json.loads(text, object_hook=lambda found: from_json(found, restore))
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        return json.loads(text)
    # White space around, of text that others wrote, is left to the slower reader.
    return value if end == len(text) else json.loads(text)


def is_plain(value: Any) -> bool:
    """Whether `value` is made of exact JSON types, and of what is carried, in lists, tuples and dicts with str keys."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or (type(item) not in _SCALARS and not is_plain(item)):
                return False
        return True
    if kind not in _LISTS:
        return kind is Marked and is_plain(value.state)
    if len(value) > _FEW:
        return _is_plain_level(value)
    return all(type(item) in _SCALARS or is_plain(item) for item in value)


def _is_plain_level(level: Sequence[Any]) -> bool:
    """Check many values at once, then all that they contain, and so on: 20 ns a value instead of 100."""
    while True:
        kinds = set(map(type, level))
        if kinds <= _SCALARS:
            return True
        if not kinds <= _PLAIN:
            return Marked in kinds and all(map(is_plain, level))
        if kinds == {dict}:
            if not _TEXT.issuperset(map(type, chain.from_iterable(level))):
                return False
            level = list(chain.from_iterable(map(dict.values, level)))
        elif kinds <= _LISTS:
            level = list(chain.from_iterable(level))
        else:
            return all(type(item) in _SCALARS or is_plain(item) for item in level)


_Found = tuple[tuple[Any, ...], str, str]

_TABLES: Final = {
    "pandas.core.frame.DataFrame": "annotate it with Annotated[pd.DataFrame, AsParquet()], or use AsArrow()",
    "pandas.DataFrame": "annotate it with Annotated[pd.DataFrame, AsParquet()], or use AsArrow()",
    "pyarrow.lib.Table": "annotate it with Annotated[pa.Table, AsArrow()], or use AsParquet()",
    "pyarrow.lib.RecordBatch": "pass pa.Table.from_batches([value]) and use AsArrow()",
    "pandas.core.series.Series": "pass value.to_frame() and use AsParquet(), or pass value.tolist()",
    "pandas.Series": "pass value.to_frame() and use AsParquet(), or pass value.tolist()",
}

_ANYTHING: Final = "convert it to str, int, float, bool, None, list or dict, or use AsPickle()"


def _first_culprit(value: Any, allow_nan: bool) -> _Found | None:
    try:
        return next(_culprits(value, (), (), allow_nan), None)
    except RecursionError:
        return None


def _culprits(value: Any, path: tuple[Any, ...], above: tuple[int, ...], allow_nan: bool) -> Iterator[_Found]:
    kind = type(value)
    if id(value) in above:
        yield path, "contains itself", "break the circle, or use AsPickle()"
    elif len(above) > _DEEP:
        yield path[:3], "is nested too deeply for JSON", "make it flatter, or use AsPickle()"
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str or not is_encodable(key):
                yield path, *_wrong_key(key)
            yield from _culprits(item, (*path, key), (*above, id(value)), allow_nan)
    elif kind in _LISTS:
        for index, item in enumerate(value):
            yield from _culprits(item, (*path, index), (*above, id(value)), allow_nan)
    elif kind is Marked:
        if type(value.state) is dict:
            for name, item in value.state.items():
                yield from _culprits(item, (*path, Attribute(name)), (*above, id(value)), allow_nan)
        else:
            yield from _culprits(value.state, path, above, allow_nan)
    elif kind is str and not is_encodable(value):
        yield path, SURROGATE, _SURROGATE
    elif kind is float and value - value != 0 and not allow_nan:
        yield path, f"is {value}, which JSON cannot say", "use None in its place, or AsJSON(allow_nan=True)"
    elif kind is int and not _has_text(value):
        yield path, f"is an int of about {digits(value):,} digits, more than Python writes", _DIGITS
    elif kind in CARRIED:
        try:
            to_json(value)
        except UnknownZone as error:
            yield path, str(error), _ZONES
    elif kind not in _SCALARS:
        yield path, *_wrong_type(value)


_DEEP: Final = 300

_DIGITS: Final = "pass text, such as hex(value), or use AsPickle()"

_SURROGATE: Final = f"{CLEAN}, or use AsPickle()"


def _has_text(value: int) -> bool:
    try:
        str(value)
    except ValueError:
        return False
    return True


def _wrong_key(key: object) -> tuple[str, str]:
    kind = type_name(key)
    if type(key) is str:
        return f"has the key {key!a} with a lone surrogate, which UTF-8 cannot hold", _SURROGATE
    if isinstance(key, str | int | float | bool | None):
        changed = f"has the key {short(key)} of type {kind}, which would come back as a str"
    else:
        changed = f"has the key {short(key)} of type {kind}, and JSON has only str keys"
    return changed, "use str keys, a list of pairs, or AsPickle()"


def _wrong_type(value: Any) -> tuple[str, str]:
    name = type_name(value)
    if isinstance(value, enum.Enum):
        shown = f"{type(value).__name__}.{value.name}"
        return (
            f"is the enum member {shown}, which would lose its class",
            f"pass {shown}.value, or use AsPickle()",
        )
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return (
            f"is a named tuple {name}, which would come back as a list",
            "pass tuple(value) or value._asdict(), or use AsPickle()",
        )
    for kind in (bool, int, float, str, dict, list, tuple):
        if isinstance(value, kind):
            return (
                f"is a {name}, which would come back as a plain {kind.__name__}",
                f"pass {kind.__name__}(value), or use AsPickle()",
            )
    for carried in (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, Decimal, uuid.UUID):
        if isinstance(value, carried):
            plain = f"a plain {carried.__module__}.{carried.__name__}"
            return f"is a {name}, which would come back as {plain}", f"pass {plain}, or use AsPickle()"
    return f"is of type {name}, which JSON does not have", _remedy(value)


def _remedy(value: Any) -> str:
    if isinstance(value, set | frozenset):
        return "pass sorted(value) or list(value), or use AsPickle()"
    if isinstance(value, bytes | bytearray | memoryview):
        return "pass text, such as base64, or use AsPickle()"
    if type_name(value) in _TABLES:
        return _TABLES[type_name(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return "name its very class in the function's annotation, pass dataclasses.asdict(value), or use AsPickle()"
    if hasattr(value, "model_dump"):
        return "name its very class in the function's annotation, pass value.model_dump(), or use AsPickle()"
    if hasattr(value, "tolist"):
        return "pass value.tolist(), or use AsPickle()"
    if isinstance(value, Mapping):
        return "pass dict(value), or use AsPickle()"
    if isinstance(value, Iterator):
        return "pass list(value)"
    return _ANYTHING
