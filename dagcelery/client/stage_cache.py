"""Values that the pieces of one run hand to each other by name, outside of the graph; pickled and signed."""

from __future__ import annotations

import os
from typing import Any, Final

from dagcelery.engine.pieces import executing_view
from dagcelery.engine.run_view import RunView
from dagcelery.errors import InvalidParameters, NotConfigured, NotKept
from dagcelery.payload import addresses, values
from dagcelery.payload.codecs import AsPickle, codec_for
from dagcelery.settings import Settings
from dagcelery.store.cache import StageValues, ValuesInFolder, beside, delete_with
from dagcelery.text import shown

__all__ = ["StageValues", "delete", "elsewhere", "in_folder", "read", "write"]

# A string of Redis has at most 512 MB, its seal included.
_LIMITS: Final = values.Limits(payload_bytes=512 * 1024 * 1024 - 1024)

_CODEC: Final = codec_for(AsPickle())


def write(name: str, value: object, place: StageValues | None = None) -> None:
    """Keep a value for all pieces of this run, beside the run or at a `place`; the last one written counts.

    Raises SerializationError, PayloadTooLarge; NotConfigured outside of a run, or without a signing key.
    """
    view = _view(name)
    data = values.seal_value(
        view.keyring, _CODEC, _address(view, name), 0, value, culprit=f"the value {shown(name)}", limits=_LIMITS
    )
    if place is not None:
        delete_with(view.store, place, view.run_id)
    _place(view, place).put(view.run_id, name, data)


def read(name: str, place: StageValues | None = None) -> Any:
    """Return a copy of the value of that name in this run.

    Raises NotKept, BadSignature.
    """
    view = _view(name)
    data = _place(view, place).get(view.run_id, name)
    if data is None:
        raise NotKept(view.run_id, name)
    return values.open_value(view.keyring, _CODEC, _address(view, name), data, culprit=f"the value {shown(name)}")


def delete(name: str, place: StageValues | None = None) -> None:
    """Forget the value of that name in this run, if there is one."""
    view = _view(name)
    _place(view, place).drop(view.run_id, name)


def elsewhere(client: object) -> StageValues:
    """Return a place in the Redis that a user's client uses.

    Raises InvalidDagType.
    """
    from dagcelery.store.redis import values_in  # an `invoke` that needs no redis imports none

    return values_in(client)


def in_folder(folder: str | os.PathLike[str] | None) -> StageValues:
    """Return a place of files in `folder`, by default in DAGCELERY_CACHE_DIRECTORY.

    Raises InvalidParameters.
    """
    if not isinstance(folder, str | os.PathLike | None):
        raise InvalidParameters(f"directory={shown(folder)}", f"is of type {type(folder).__name__}", "give a path")
    chosen = os.fspath(folder) if folder is not None else Settings.from_environment().cache_directory
    return ValuesInFolder(os.path.abspath(chosen))


def _view(name: object) -> RunView:
    if not isinstance(name, str):
        raise InvalidParameters(f"key {shown(name)}", f"is of type {type(name).__name__}", "give a str")
    view = executing_view()
    if view is None:
        remedy = "read, write and delete in run(), while a pipeline executes the stage"
        raise NotConfigured(f"the value {shown(name)} belongs to a run, and none is executed here", remedy)
    view.keyring.require_key(f"the value {shown(name)}, which is pickled,")
    return view


def _place(view: RunView, place: StageValues | None) -> StageValues:
    return beside(view.store) if place is None else place.among(view.store.server.keys)


def _address(view: RunView, name: str) -> bytes:
    return addresses.record(view.run_id, f"kept {name.encode('utf-8', 'backslashreplace').decode()}")
