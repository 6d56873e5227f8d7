"""Pickle as dill writes it, for what cloudpickle cannot take."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Final

from dagcelery.payload import scripts
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

            _classes(dill)[0](writer).dump(value)

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote, once it was verified; raises DeserializationError where it is nothing such."""
        with reading("dill", _NEEDS):
            import dill

            return _classes(dill)[1](reader).load()


@functools.cache
def _classes(dill: Any) -> tuple[Any, Any]:
    """Return dill's two classes, which here name what stands in the module that runs as others import it."""

    class Pickler(dill.Pickler):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self, file: BinaryIO) -> None:
            super().__init__(file, protocol=dill.HIGHEST_PROTOCOL)

        def save(self, value: Any, save_persistent_id: bool = True) -> None:
            reference = scripts.reference(value) if scripts.module_that_runs() and id(value) not in self.memo else None
            if reference is None:
                super().save(value, save_persistent_id)
            else:
                self.save_reduce(scripts.found, reference, obj=value)

    class Unpickler(dill.Unpickler):  # type: ignore[misc,name-defined,unused-ignore]
        def find_class(self, module: str, name: str) -> Any:
            main = scripts.module_that_runs()
            if module == main:
                return scripts.found(module, name)
            known = super().find_class(module, name)
            if module == "dill._dill" and name == "_create_namedtuple" and main is not None:
                return lambda *args: scripts.found(main, args[0]) if args[2] == main else known(*args)
            return known

    return Pickler, Unpickler
