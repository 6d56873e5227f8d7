"""An exception travels as text: type, message and traceback; reading one never imports what it names."""

from __future__ import annotations

import inspect
import json
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from dagcelery.errors import NodeFailed
from dagcelery.payload.masking import masking
from dagcelery.text import type_name

TEXT_BYTES: Final = 64 * 1024
"""What a message or a traceback may take; of a longer one the beginning and the end are kept."""

UNTOLD: Final = "(not shown, since its task is sensitive)"
"""The message of an error that may hold values."""

_RESUMABLE: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Masked(Exception):
    """Stands for the error of a sensitive task: its class has that name, and it has no frames, which hold values."""

    described: dict[str, str]


def masked(error: BaseException, values: object = None) -> Masked:
    """Return what stands for an error, without the texts of these values in its messages.

    Without values, or where their texts are not all known, it has no message.

    Sources of frames stay: they are code, and no values.
    """
    mask = None if values is None else masking(values)

    def tell(each: BaseException) -> str:
        told = None if mask is None else mask(message(each))
        return UNTOLD if told is None else told

    kind = type(error)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    stand_in: Masked = type(kind.__name__, (Masked,), names)(tell(error))
    texts = {"message": _shortened(tell(error)), "traceback": _shortened(_chain(error, tell))}
    stand_in.described = {"type": type_name(error), **texts}
    return stand_in


def _chain(error: BaseException, tell: Callable[[BaseException], str]) -> str:
    """Return a traceback and those behind it as Python prints them, with these messages; notes are left out."""
    parts: list[str] = []
    current: BaseException | None = error
    seen = set[int]()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = "".join(traceback.format_tb(from_users_code(current.__traceback__)))
        last_line = f"{type_name(current)}: {tell(current)}".removesuffix(": ")
        parts.append(f"Traceback (most recent call last):\n{frames}{last_line}\n")
        if current.__cause__ is not None:
            parts.append("\nThe above exception was the direct cause of the following exception:\n\n")
            current = current.__cause__
        else:
            current = None if current.__suppress_context__ else current.__context__
            parts += ["\nDuring handling of the above exception, another exception occurred:\n\n"] * bool(current)
    return "".join(reversed(parts))


def describe(error: BaseException) -> dict[str, str]:
    """Return `error` as a dict of text that JSON can say.

    ``type`` is the qualified name, ``message`` what ``str()`` says, ``traceback`` as Python prints it, causes
    included.
    """
    if isinstance(error, Masked):
        return error.described
    return {
        "type": type_name(error),
        "message": _shortened(message(error)),
        "traceback": _shortened(_traceback(error)),
    }


def encode(error: BaseException) -> bytes:
    """Return `error` as bytes, to be sealed."""
    return json.dumps(describe(error)).encode()


def decode(data: bytes | memoryview) -> dict[str, Any]:
    """Return what `encode` wrote."""
    described: dict[str, Any] = json.loads(bytes(data))
    return described


def as_error(address: str, described: Mapping[str, Any]) -> NodeFailed:
    """Return the error that says that the node at `address` failed in the described manner."""
    return NodeFailed(address, described["type"], described["message"], described["traceback"])


def release(error: BaseException) -> None:
    """Drop the tracebacks of an error that has become text, and of those behind it, with all that their frames hold.

    An error refers to the frames that it passed, and they to the error: what a failed call had in its variables would
    stay until the garbage collector comes by, which may be many attempts later.
    """
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        waiting += [each for each in (current.__cause__, current.__context__) if each is not None]
        waiting += current.exceptions if isinstance(current, BaseExceptionGroup) else ()
        _clear(current.__traceback__)
        current.__traceback__ = None


def _clear(trace: TracebackType | None) -> None:
    while trace is not None:
        # To clear the frame of a generator would end one that may be in use elsewhere.
        if not trace.tb_frame.f_code.co_flags & _RESUMABLE:
            with suppress(RuntimeError):  # it is still being executed
                trace.tb_frame.clear()
        trace = trace.tb_next


def message(error: BaseException) -> str:
    """Return what an error says, whatever its `__str__` does."""
    try:
        return str(error)
    except Exception as broken:  # a __str__ of the user's
        return f"<its message cannot be shown: __str__ raised {type(broken).__name__}>"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, from_users_code(error.__traceback__)))
    except Exception:  # a __str__ or __repr__ of the user's, reached through a cause or a note
        return "".join(traceback.format_tb(error.__traceback__))


def from_users_code(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames that called the function: they are always the same, and tell a user nothing."""
    first = trace
    while first is not None and first.tb_frame.f_globals.get("__name__", "").startswith("dagcelery."):
        first = first.tb_next
    return first or trace


def _shortened(text: str) -> str:
    # Any text is made UTF-8 first: it is stored as such, and bytes are what a bound should count.
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= TEXT_BYTES:
        return data.decode()
    half = TEXT_BYTES // 2
    head, tail = data[:half].decode(errors="ignore"), data[-half:].decode(errors="ignore")
    return f"{head}\n... {len(data) - TEXT_BYTES:,} bytes left out ...\n{tail}"
