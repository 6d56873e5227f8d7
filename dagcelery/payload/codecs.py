"""A serializer is what users choose; a codec is that choice made fast for one value and for many at once.

Objects of the classes that annotations name travel in JSON; readers look at annotations, and find no class by data.
"""

from __future__ import annotations

import base64
import functools
import io
import pickle
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, Protocol

from dagcelery.errors import DagceleryError, DeserializationError, InvalidDag, PayloadTooLarge, SerializationError
from dagcelery.payload import functions, models, pickles, strict_json
from dagcelery.payload.addresses import Culprit, named
from dagcelery.payload.formats import VALUE
from dagcelery.payload.formats.arrow import AsArrow, AsParquet
from dagcelery.payload.formats.avro import AsAvro
from dagcelery.payload.formats.csv import AsCSV
from dagcelery.payload.formats.dill import AsDill
from dagcelery.payload.formats.message_pack import AsMessagePack
from dagcelery.payload.formats.plain_json import AsPlainJSON
from dagcelery.payload.models import AsModels, Classes
from dagcelery.payload.signing import Keyring
from dagcelery.payload.strict_json import Unreadable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


OF_KIND: Final[Mapping[str, type[Any]]] = {
    kind.kind: kind for kind in (AsArrow, AsAvro, AsCSV, AsDill, AsMessagePack, AsParquet, AsPlainJSON)
}

UNSAFE: Final = frozenset({AsDill.kind})
"""Kinds that run code when they read, and therefore read nothing that is not signed."""

_SPOOL_BYTES: Final = 8 * 1024 * 1024

_ATOMS: Final = frozenset({int, float, bool, type(None), str, bytes})

Bytes = bytes | memoryview


class AnySerializer(Protocol):
    """What every serializer has, a user's too: a file extension, and a way to a file and back."""

    @property
    def extension(self) -> str: ...
    def serialize(self, value: Any, writer: BinaryIO) -> None: ...
    def deserialize(self, reader: BinaryIO) -> Any: ...


@dataclass(frozen=True, slots=True)
class AsJSON:
    """Serialize as strict JSON: what would come back changed is refused, except that tuples become lists.

    Dates, times, timedelta, Decimal and UUID come back exactly. Objects of dataclasses and pydantic models do so where
    the return annotation of the task that makes them names their class, or of a parameter of a task that takes them.
    `indent` is the number of spaces a level; None writes one line. `allow_nan` writes NaN and infinities as
    JavaScript does, which other readers of JSON may refuse.
    """

    indent: int | None = None
    allow_nan: bool = False

    extension: ClassVar[str] = "json"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write `value` as UTF-8.

        Raises SerializationError naming the path to what JSON would change.
        """
        writer.write(JsonCodec(self).dump(value))

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote, or any JSON."""
        return JsonCodec(self).load(reader.read())


@dataclass(frozen=True, slots=True)
class AsPickle:
    """Serialize with cloudpickle; such data is only read when it is signed, since unpickling runs code."""

    extension: ClassVar[str] = "pickle"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write `value`.

        Raises SerializationError if it holds something like an open file or a lock.
        """
        writer.write(PickleCodec(self).dump(value))

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote."""
        return PickleCodec(self).load(reader.read())


class Codec:
    """Turns values into bytes with any serializer, and back; `culprit` names the value in errors."""

    __slots__ = ("serializer",)

    def __init__(self, serializer: AnySerializer) -> None:
        self.serializer = serializer

    def dump(self, value: Any, culprit: Culprit = "the value", limit: int | None = None) -> bytes:
        """Return `value` as bytes, at most `limit` of them, else raise PayloadTooLarge."""
        with self.stream(value, culprit, limit) as made:
            return made.read()

    def stream(self, value: Any, culprit: Culprit = "the value", limit: int | None = None) -> IO[bytes]:
        """Return the bytes of `value` as a file at its beginning, which is in memory only while it is small."""
        file = _BoundedFile(culprit, limit)
        try:
            self._write(value, file, culprit)
            file.rewind()
        except BaseException:
            file.discard()
            raise
        return file

    def _write(self, value: Any, writer: _BoundedFile, culprit: Culprit) -> None:
        try:
            self.serializer.serialize(value, writer)  # type: ignore[arg-type]
        except SerializationError as error:
            raise SerializationError(_renamed(error, culprit), error.problem, error.remedy) from error.__cause__
        except DagceleryError:
            raise
        except Exception as error:
            raise SerializationError(named(culprit), *_failed(self.serializer, "serialize", error)) from error

    def load(self, data: Bytes, culprit: Culprit = "the value") -> Any:
        """Return the value that `data` holds."""
        return self.read(io.BytesIO(data), culprit)

    def read(self, reader: IO[bytes], culprit: Culprit = "the value") -> Any:
        """Return the value that a file holds."""
        try:
            return self.serializer.deserialize(reader)  # type: ignore[arg-type]
        except DeserializationError as error:
            raise DeserializationError(_renamed(error, culprit), error.problem, error.remedy) from error.__cause__
        except Exception as error:
            raise DeserializationError(named(culprit), *_failed(self.serializer, "deserialize", error)) from error

    def dump_many(self, values: Sequence[Any], culprit: Culprit = "the values", lo: int = 0) -> bytes:
        """Return many values as bytes, each serialized on its own; `lo` is the index of the first."""
        name = named(culprit)
        return self.join([self.dump(value, f"{name} at [{lo + i}]") for i, value in enumerate(values)])

    def dump_part(self, value: Any, culprit: Culprit = "the value") -> bytes:
        """Return one value as bytes that `join` takes."""
        return self.dump(value, culprit)

    def load_many(self, data: Bytes, count: int, culprit: Culprit = "the values") -> list[Any]:
        """Return the `count` values that `data` holds."""
        return [self.load(part, culprit) for part in _frames(data, count, culprit)]

    def join(self, parts: Sequence[bytes]) -> bytes:
        """Return what `dump_many` makes of the values that were dumped to `parts`."""
        framed = bytearray()
        for part in parts:
            framed += len(part).to_bytes(4, "big")
            framed += part
        return bytes(framed)


class BytesCodec(Codec):
    """A codec that makes bytes without files in between; a file is read whole."""

    __slots__ = ()

    def stream(self, value: Any, culprit: Culprit = "the value", limit: int | None = None) -> IO[bytes]:
        """Return the bytes of `value` as a file."""
        return io.BytesIO(self.dump(value, culprit, limit))

    def read(self, reader: IO[bytes], culprit: Culprit = "the value") -> Any:
        """Return the value that a file holds."""
        return self.load(reader.read(), culprit)


class JsonCodec(BytesCodec):
    """JSON without files in between: a block of values is one JSON array."""

    __slots__ = ("_compact", "_encoder")
    restore: Callable[[str, str, Any], Any] | None = None

    def __init__(self, serializer: AsJSON) -> None:
        super().__init__(serializer)
        self._encoder = strict_json.Encoder(serializer.indent, serializer.allow_nan)
        self._compact = strict_json.Encoder(None, serializer.allow_nan)

    def dump(self, value: Any, culprit: Culprit = "the value", limit: int | None = None) -> bytes:
        return bounded(self._encoder.encode(value, culprit), culprit, limit)

    def load(self, data: Bytes, culprit: Culprit = "the value") -> Any:
        try:
            return strict_json.decode(data, self.restore)
        except Unreadable as error:
            remedy = "have the same code and time zones on the client and its workers"
            raise DeserializationError(named(culprit), str(error), remedy) from error
        except (ValueError, RecursionError) as error:
            raise DeserializationError(named(culprit), f"is not JSON: {error}", "read it as it was written") from error

    def dump_many(self, values: Sequence[Any], culprit: Culprit = "the values", lo: int = 0) -> bytes:
        return self._compact.encode(values if type(values) is list else list(values), culprit, lo)

    def dump_part(self, value: Any, culprit: Culprit = "the value") -> bytes:
        return self._compact.encode(value, culprit)

    def load_many(self, data: Bytes, count: int, culprit: Culprit = "the values") -> list[Any]:
        values = self.load(data, culprit)
        if type(values) is not list or len(values) != count:
            raise _miscounted(culprit, len(values) if type(values) is list else 0, count)
        return values

    def join(self, parts: Sequence[bytes]) -> bytes:
        return b"[" + b",".join(parts) + b"]"


class PickleCodec(BytesCodec):
    """cloudpickle to write, pickle to read."""

    __slots__ = ()

    def dump(self, value: Any, culprit: Culprit = "the value", limit: int | None = None) -> bytes:
        if type(value) in _ATOMS:
            return bounded(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), culprit, limit)
        try:
            data = pickles.dumps(value)
        except Exception as error:  # __reduce__ methods raise what they like
            raise SerializationError(
                named(culprit),
                f"cannot be pickled: {type(error).__name__}: {error}",
                "pass plain data, and open files, locks and connections where they are used",
            ) from error
        return bounded(data, culprit, limit)

    def load(self, data: Bytes, culprit: Culprit = "the value") -> Any:
        try:
            return pickles.loads(data)
        except Exception as error:  # so do __setstate__ methods and imports
            raise DeserializationError(
                named(culprit),
                f"cannot be unpickled: {type(error).__name__}: {error}",
                "have the same modules and versions on the client and its workers",
            ) from error


def codec_for(serializer: AnySerializer | AsModels) -> Codec:
    """Return the codec of a serializer: a fast one for ours, else the general one, for subclasses too."""
    codec = _OURS.get(serializer) if type(serializer) in (AsJSON, AsPickle) else None
    if codec is not None:
        return codec
    if type(serializer) is AsJSON:
        return JsonCodec(serializer)
    if isinstance(serializer, AsModels):
        return ModelsCodec(AsJSON(), lambda: dict(serializer.classes))
    return Codec(serializer)


_OURS: Final[Mapping[object, Codec]] = {AsJSON(): JsonCodec(AsJSON()), AsPickle(): PickleCodec(AsPickle())}


def from_spec(spec: Mapping[str, Any], keyring: Keyring, imports: Collection[str] | None = ()) -> Codec:
    """Return the codec that a plan names; in the process that made the plan, the very object.

    `imports` are the modules that unsigned plans may name, for codecs that find their classes by functions.
    """
    kind = spec["kind"]
    if kind == "models":
        return codec_from_spec(spec, keyring, imports)
    if kind == "json":
        return codec_for(AsJSON(spec.get("indent"), bool(spec.get("allow_nan"))))
    if kind == "pickle":
        keyring.require_key("the serializer AsPickle")
        return codec_for(AsPickle())
    if kind in OF_KIND:
        return codec_for(_built(spec, keyring))
    if kind != "object":
        raise DeserializationError(f"serializer {kind!r}", "is not known here", "upgrade dagcelery on the workers")
    if "live" in spec:
        return codec_for(spec["live"])
    keyring.require_key("a serializer of your own")
    return codec_for(codec_for(AsPickle()).load(base64.b64decode(spec["pickle"]), "a serializer of your own"))


def _built(spec: Mapping[str, Any], keyring: Keyring) -> AnySerializer:
    """Return the serializer of one of our kinds; options that it does not have are a newer version's."""
    kind = OF_KIND[spec["kind"]]
    if spec["kind"] in UNSAFE:
        keyring.require_key(f"the serializer {kind.__name__}")
    try:
        built: AnySerializer = kind(**{name: value for name, value in spec.items() if name != "kind"})
    except (TypeError, InvalidDag) as error:
        what = f"serializer {kind.__name__}"
        raise DeserializationError(what, f"has options not known here: {error}", "upgrade dagcelery") from error
    return built


def _renamed(error: SerializationError | DeserializationError, culprit: Culprit) -> str:
    """Return what an error is about, with the value's own name instead of the serializer's "the value"."""
    path = error.culprit.removeprefix(VALUE)
    name = named(culprit)
    if path == error.culprit:
        return f"{name}: {path}" if path else name
    # "the rows at [3] at ['x']" is "the rows at [3]['x']".
    return name + (path.removeprefix(" at ") if name.endswith("]") else path)


def bounded(data: bytes, culprit: Culprit, limit: int | None) -> bytes:
    """Return bytes that are at most `limit`, else raise PayloadTooLarge."""
    if limit is not None and len(data) > limit:
        raise PayloadTooLarge(named(culprit), len(data), limit)
    return data


def _failed(serializer: AnySerializer, verb: str, error: Exception) -> tuple[str, str]:
    name = type(serializer).__name__
    return (
        f"was refused by {name}.{verb}: {type(error).__name__}: {error}",
        f"give it what {name} can {verb}, or choose another serializer",
    )


def _frames(data: Bytes, count: int, culprit: Culprit) -> list[Bytes]:
    at, parts = 0, []
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        parts.append(data[at + 4 : end])
        at = end
    if at != len(data) or len(parts) != count:
        raise _miscounted(culprit, len(parts), count)
    return parts


def _miscounted(culprit: Culprit, held: int, count: int) -> DeserializationError:
    return DeserializationError(
        named(culprit), f"hold {held} values where {count} were announced", "submit the run again"
    )


class _BoundedFile(tempfile.SpooledTemporaryFile[bytes]):
    """A file for any serializer: in memory while small, and bounded in size."""

    def __init__(self, culprit: Culprit, limit: int | None) -> None:
        super().__init__(max_size=_SPOOL_BYTES)
        self._culprit = culprit
        self._limit = limit

    def write(self, data: Buffer) -> int:
        """Write, or raise PayloadTooLarge as soon as it is certain."""
        written = super().write(data)
        self._refuse_above(self.tell())
        return written

    def close(self) -> None:
        """Do nothing: some libraries close the file they write to, and its bytes are still to be read."""

    def rewind(self) -> None:
        """Go to the beginning of everything that was written."""
        self._refuse_above(self.seek(0, io.SEEK_END))
        self.seek(0)

    def discard(self) -> None:
        """Close the file, and drop its bytes."""
        super().close()

    def _refuse_above(self, size: int) -> None:
        if self._limit is not None and size > self._limit:
            raise PayloadTooLarge(named(self._culprit), size, self._limit)


class ModelsCodec(JsonCodec):
    """A codec that looks for its classes when it needs them: a process that only passes bytes on imports none."""

    __slots__ = ("__dict__", "_find")

    def __init__(self, serializer: AsJSON, find: Callable[[], Classes]) -> None:
        super().__init__(serializer)
        self._find = find

    @functools.cached_property
    def classes(self) -> Classes:
        """The classes by name."""
        return self._find()

    @functools.cached_property
    def names(self) -> Mapping[type, str]:
        """The names by class."""
        return {kind: name for name, kind in self.classes.items()}

    def dump(self, value: Any, culprit: Culprit = "the value", limit: int | None = None) -> bytes:
        return super().dump(self._lowered(value, culprit), culprit, limit)

    def dump_many(self, values: Sequence[Any], culprit: Culprit = "the values", lo: int = 0) -> bytes:
        return super().dump_many(self._lowered(list(values), culprit), culprit, lo)

    def dump_part(self, value: Any, culprit: Culprit = "the value") -> bytes:
        return super().dump_part(self._lowered(value, culprit), culprit)

    def restore(self, kind: str, name: str, state: Any) -> Any:
        return models.restored(kind, name, state, self.classes)

    def _lowered(self, value: Any, culprit: Culprit) -> Any:
        try:
            return models.lowered(value, self.names)
        except RecursionError as error:
            problem = "contains itself, or is nested too deeply for JSON"
            raise SerializationError(named(culprit), problem, "make it flatter, or use AsPickle()") from error


def codec_from_spec(spec: Mapping[str, Any], keyring: Keyring, imports: Collection[str] | None) -> ModelsCodec:
    """Return the codec of a plan: the classes are those that the annotations of its functions name here."""
    json = AsJSON(spec.get("indent"), bool(spec.get("allow_nan")))
    if "live" in spec:
        return ModelsCodec(json, lambda: models.by_name(spec["live"]))

    def find() -> Classes:
        kinds: dict[type, None] = {}
        for module, qualname, name in spec["annotations"]:
            how: Any = SimpleNamespace(module=module, qualname=qualname, hash="", blob=None, python="", live=None)
            func = functions.load(how, imports=imports, keyring=keyring)
            kinds |= dict.fromkeys(models.named_by(func, name))
        if not kinds:
            annotated = ", ".join(f"{module}:{qualname}" for module, qualname, _ in spec["annotations"])
            problem = f"is carried with the classes that annotations of {annotated} name, and here they name none"
            raise DeserializationError("the value", problem, "have the same code on the client and its workers")
        return models.by_name(list(kinds))

    return ModelsCodec(json, find)
