"""JSON with objects of the classes that annotations name; readers look at annotations, and find no class by data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from dagcelery.errors import DeserializationError, SerializationError
from dagcelery.payload import functions, models
from dagcelery.payload.addresses import Culprit, named
from dagcelery.payload.codecs import AsJSON, JsonCodec
from dagcelery.payload.models import Classes
from dagcelery.payload.signing import Keyring


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
        """Return `value` as UTF-8 JSON."""
        return super().dump(self._lowered(value, culprit), culprit, limit)

    def dump_many(self, values: Sequence[Any], culprit: Culprit = "the values", lo: int = 0) -> bytes:
        """Return the values as one JSON array."""
        return super().dump_many(self._lowered(list(values), culprit), culprit, lo)

    def dump_part(self, value: Any, culprit: Culprit = "the value") -> bytes:
        """Return one value as JSON text."""
        return super().dump_part(self._lowered(value, culprit), culprit)

    def restore(self, kind: str, name: str, state: Any) -> Any:
        """Return an object that was written."""
        return models.restored(kind, name, state, self.classes)

    def _lowered(self, value: Any, culprit: Culprit) -> Any:
        try:
            return models.lowered(value, self.names)
        except RecursionError as error:
            wrong = "contains itself, or is nested too deeply for JSON"
            raise SerializationError(named(culprit), wrong, "make it flatter, or use AsPickle()") from error


def codec_from_spec(spec: Mapping[str, Any], keyring: Keyring, imports: Collection[str] | None) -> ModelsCodec:
    """Return the codec of a plan: the classes are those that the annotations of its functions name here."""
    json = AsJSON(spec.get("indent"), bool(spec.get("allow_nan")))
    if "live" in spec:
        return ModelsCodec(json, lambda: models.by_name(spec["live"]))

    def find() -> Classes:
        found: dict[type, None] = {}
        for module, qualname, name in spec["of"]:
            how: Any = SimpleNamespace(module=module, qualname=qualname, hash="", blob=None, python="", live=None)
            func = functions.load(how, imports=imports, keyring=keyring)
            found |= dict.fromkeys(models.named_by(func, name))
        if not found:
            told = ", ".join(f"{module}:{qualname}" for module, qualname, _ in spec["of"])
            wrong = f"is carried with the classes that annotations of {told} name, and here they name none"
            raise DeserializationError("the value", wrong, "have the same code on the client and its workers")
        return models.by_name(list(found))

    return ModelsCodec(json, find)
