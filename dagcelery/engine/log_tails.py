"""The last lines that pieces log, which a handler (`pieces.py`) adds, and which are stored with a piece's outcome.

They are those that the levels of this process's loggers let pass. What a piece prints is among them where the process
makes lines of its log of that, as Celery's workers do. A process that dies takes them along.

The road not taken: to write each line to the store as it comes. That would cost a call a line, and let a run that logs
much slow all others down.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from dagcelery.payload import addresses, values
from dagcelery.payload.signing import Keyring
from dagcelery.store.records import Logged, PieceId

LINE_CHARACTERS: Final = 1_000
"""What is longer is cut."""

_CLAIM_CHARACTERS: Final = 64 * 1024
"""What is kept of all items of a range; the oldest lines go."""

_PREFIX_CHARACTERS: Final = 60
"""What time, level and logger take in front of a text, more or less."""

_FRAMES: Final = 3
"""Of the traceback of an exception, the last ones."""


class _Line(NamedTuple):
    """What was logged, which may be several lines. Most of them are dropped again: what is kept is formatted last."""

    at: float
    level: str
    logger: str
    text: str


class LogTail:
    """The last lines of what was claimed together, by item: -1 for a step that runs once; `most` of each."""

    __slots__ = ("_is_open", "_left", "_lines", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: dict[int, deque[_Line]] = {}
        self._left = _CLAIM_CHARACTERS
        self._is_open = True

    def add(self, index: int, record: logging.LogRecord) -> None:
        """Keep what an item has logged. After the end, threads that it has left running may log on: that is lost."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info, limit=-_FRAMES))
        if not self._is_open or not text.strip():
            return
        lines = self._lines.get(index)
        if lines is None:
            lines = self._lines[index] = deque()
        lines.append(_Line(record.created, record.levelname, record.name, text[-_CLAIM_CHARACTERS:]))
        self._left -= _PREFIX_CHARACTERS + len(lines[-1].text)
        if len(lines) > self._most:
            self._drop(lines)
        while self._left < 0 and (len(self._lines) > 1 or len(lines) > 1):
            oldest = next(iter(self._lines))
            self._drop(self._lines[oldest])
            if not self._lines[oldest]:
                del self._lines[oldest]

    def _drop(self, lines: deque[_Line]) -> None:
        self._left += _PREFIX_CHARACTERS + len(lines.popleft().text)

    def end(self) -> Mapping[int, list[str]]:
        """Take no more lines, and return those that are kept."""
        self._is_open = False
        return {index: _formatted(each, self._most) for index, each in self._lines.items()}


def _formatted(lines: Iterable[_Line], most: int) -> list[str]:
    """Return the last lines as people read them: ``2026-11-29T19:30:00.125Z INFO shop.orders: 3 orders read``.

    The first one says when and where, even if what it belongs to begins before it: logs are put in order by that.
    """
    formatted, heads, now, second = list[str](), list[str](), -1, ""
    for at, level, logger, text in lines:
        if now != int(at):
            now, second = int(at), time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
        head = f"{second}.{int(at % 1 * 1000):03d}Z {level} {logger}: "
        found = [_short(line) for line in f"{head}{text}".splitlines() if line.strip()]
        formatted += found
        heads += ["", *[head] * (len(found) - 1)]
    return [_short(heads[-most:][0] + formatted[-most:][0]), *formatted[-most:][1:]]


def _short(line: str) -> str:
    short = line if len(line) <= LINE_CHARACTERS else f"{line[: LINE_CHARACTERS - 3]}..."
    return short if short.isascii() else short.encode("utf-8", "backslashreplace").decode()


def seal(keyring: Keyring, run_id: str, piece: PieceId, attempt: int, lines: Mapping[int, list[str]]) -> bytes:
    """Seal the lines of items that were claimed together; `piece` names the first of them."""
    text = json.dumps(lines, ensure_ascii=False, separators=(",", ":"))
    return values.seal_bytes(keyring, addresses.log(run_id, piece.name), attempt, text.encode())


def opened(keyring: Keyring, run_id: str, logged: Logged, stored: bytes) -> dict[int, list[str]]:
    """Return the lines that `seal` has sealed, by item. Raises BadSignature."""
    address = addresses.log(run_id, PieceId(logged.scope, logged.step, logged.lo).name)
    _, body = values.open_bytes(keyring, address, stored)
    return {int(index): lines for index, lines in json.loads(bytes(body)).items()}
