"""cloudpickle, and back: by reference what others can import, by value what they cannot, the same classes either way.

A class that travels by value, because a script or a notebook defines it, comes back to its process as itself: as
cloudpickle keeps count of such classes, `isinstance` and ``is`` of enum members hold there. On its way back it carries
the attributes that it had elsewhere; these are not taken over by the process that defines it.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakSet

from dagcelery.payload import scripts

_CLOUDPICKLE: Final = "cloudpickle.cloudpickle"
_COPIED_BYTES: Final = 64 * 1024

_foreign: WeakSet[type] = WeakSet()
"""Classes that came here by value; all others that travel so are defined here."""
_registry = threading.RLock()


def dumps(value: Any, by_value: Sequence[str] = ()) -> bytes:
    """Return `value` pickled; of the modules in `by_value`, which are imported here, by value."""
    import cloudpickle  # takes 30 ms, which JSON does not need

    main = scripts.module_that_runs()
    kind = cloudpickle.Pickler if main is None or main in by_value else _pickler()
    file = io.BytesIO()
    # A script that multiprocessing started again has another name, which no worker can import either.
    wanted = [sys.modules[name] for name in {*by_value, "__mp_main__"} if name in sys.modules]
    if not wanted:
        kind(file).dump(value)
        return file.getvalue()
    with _registry:  # it is cloudpickle's, one for the process
        kept = cloudpickle.list_registry_pickle_by_value()
        added = [module for module in wanted if module.__name__ not in kept]
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        try:
            kind(file).dump(value)
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)
    return file.getvalue()


def loads(data: bytes | memoryview) -> Any:
    """Return the value that was pickled; its bytes must have been verified."""
    return Unpickler(io.BytesIO(data) if len(data) <= _COPIED_BYTES else _Reader(data)).load()


class Unpickler(pickle.Unpickler):
    """Finds what is named in the module that runs here, if that is the module."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names."""
        if module == _CLOUDPICKLE and name in _HERE:
            return _HERE[name]
        if module == scripts.module_that_runs():
            return scripts.found(module, name)
        return super().find_class(module, name)


class _Reader:
    """A file over bytes that are not copied: `BytesIO` would copy a view, which may be of hundreds of megabytes."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    def read(self, size: int) -> bytes:
        self._at += size
        return bytes(self._data[self._at - size : self._at])

    def readinto(self, target: Any) -> int:
        part = self._data[self._at : self._at + len(target)]
        target[: len(part)] = part
        self._at += len(part)
        return len(part)

    def readline(self) -> bytes:
        line = bytearray()
        while self._at < len(self._data) and not line.endswith(b"\n"):
            line += self.read(1)
        return bytes(line)


@functools.cache
def _pickler() -> type[pickle.Pickler]:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Names what stands in the module that runs here as others import it."""

        def reducer_override(self, value: Any) -> Any:
            reference = scripts.reference(value)
            if reference is not None:
                return scripts.found, reference
            return super().reducer_override(value)

    return Pickler


def _subimport(name: str) -> Any:
    return scripts.import_module(name)


def _skeleton(name: str) -> Callable[..., type]:
    def made(*arguments: Any) -> type:
        import cloudpickle.cloudpickle as library

        is_known = arguments[-2] in library._DYNAMIC_CLASS_TRACKER_BY_ID
        kind: type = getattr(library, name)(*arguments)
        if not is_known:
            _foreign.add(kind)
        return kind

    return made


def _class_setstate(kind: type, state: Any) -> type:
    import cloudpickle.cloudpickle as library

    return library._class_setstate(kind, state) if kind in _foreign else kind


_HERE: Final[dict[str, Callable[..., Any]]] = {
    "subimport": _subimport,
    "_make_skeleton_class": _skeleton("_make_skeleton_class"),
    "_make_skeleton_enum": _skeleton("_make_skeleton_enum"),
    "_class_setstate": _class_setstate,
}
