"""Pickle as dill writes it, for what cloudpickle cannot take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Final

from dagcelery.payload.serializers.refusals import reading, writing

_NEEDS: Final = {"dill": "dagcelery[dill]"}


@dataclass(frozen=True, slots=True)
class AsDill:
    """Serialize with dill; such data is only read when it is signed, since unpickling runs code.

    It needs the extra ``dagcelery[dill]``.
    """

    kind: ClassVar[str] = "dill"

    @property
    def extension(self) -> str:
        """The extension of files that hold such bytes."""
        return "dill"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write `value`; raises SerializationError if it holds something like a running thread or a socket."""
        remedy = "pass plain data, and open files, locks and connections where they are used"
        with writing("dill", remedy, _NEEDS):
            import dill

            dill.dump(value, writer, protocol=dill.HIGHEST_PROTOCOL)

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote, once it was verified; raises DeserializationError where it is nothing such."""
        with reading("dill", _NEEDS):
            import dill

            return dill.load(reader)
