"""AsDill: pickle as dill writes it; by itself, since formats are known by their package and need one library each."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Final

from dagcelery.payload import pickles
from dagcelery.payload.formats import reading, writing

_NEEDS_DILL: Final = {"dill": "dagcelery[dill]"}


@dataclass(frozen=True, slots=True)
class AsDill:
    """Serialize with dill; such data is only read when it is signed, since unpickling runs code.

    It needs the extra ``dagcelery[dill]``.
    """

    kind: ClassVar[str] = "dill"
    extension: ClassVar[str] = "dill"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write `value`.

        Raises SerializationError if it holds something like a running thread or a socket.
        """
        remedy = "pass plain data, and open files, locks and connections where they are used"
        with writing("dill", remedy, _NEEDS_DILL):
            import dill

            _dill_classes(dill)[0](writer).dump(value)

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote, once it was verified.

        Raises DeserializationError for anything else.
        """
        with reading("dill", _NEEDS_DILL):
            import dill

            return _dill_classes(dill)[1](reader).load()


@functools.cache
def _dill_classes(dill: Any) -> tuple[Any, Any]:
    """Return dill's two classes, changed to name what is defined in the module that runs as others import it."""

    class DillPickler(dill.Pickler):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self, file: BinaryIO) -> None:
            super().__init__(file, protocol=dill.HIGHEST_PROTOCOL)

        def save(self, value: Any, save_persistent_id: bool = True) -> None:
            names = pickles.reference(value) if pickles.module_that_runs() and id(value) not in self.memo else None
            if names is None:
                super().save(value, save_persistent_id)
            else:
                self.save_reduce(pickles.found, names, obj=value)

    class DillUnpickler(dill.Unpickler):  # type: ignore[misc,name-defined,unused-ignore]
        def find_class(self, module: str, name: str) -> Any:
            main = pickles.module_that_runs()
            if module == main:
                return pickles.found(module, name)
            target = super().find_class(module, name)
            if module == "dill._dill" and name == "_create_namedtuple" and main is not None:
                return lambda *args: pickles.found(main, args[0]) if args[2] == main else target(*args)
            return target

    return DillPickler, DillUnpickler
