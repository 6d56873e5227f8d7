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
from collections.abc import Iterator, Mapping
from typing import Final

from dagcelery.payload import addresses, values
from dagcelery.payload.signing import Keyring
from dagcelery.store.records import Logged, PieceId

LINE_CHARACTERS: Final = 1_000
"""What is longer is cut."""

_CLAIM_CHARACTERS: Final = 64 * 1024
"""What is kept of all items of a range; the oldest lines go."""

_FRAMES: Final = 3
"""Of the traceback of an exception, the last ones."""


class LogTail:
    """The last lines of what was claimed together, by item: -1 for a step that runs once; `most` of each."""

    __slots__ = ("_is_open", "_left", "_lines", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: dict[int, deque[str]] = {}
        self._left = _CLAIM_CHARACTERS
        self._is_open = True

    def add(self, index: int, record: logging.LogRecord) -> None:
        """Keep what an item has logged. After the end, threads that it has left running may log on: that is lost."""
        lines = list(_lines_of(record)) if self._is_open else ()
        if not lines:
            return
        kept = self._lines.setdefault(index, deque())
        for line in lines:
            kept.append(line)
            self._left -= len(line)
            if len(kept) > self._most:
                self._left += len(kept.popleft())
        while self._left < 0:
            oldest = next(iter(self._lines))
            self._left += len(self._lines[oldest].popleft())
            if not self._lines[oldest]:
                del self._lines[oldest]

    def end(self) -> Mapping[int, deque[str]]:
        """Take no more lines, and return those that are kept."""
        self._is_open = False
        return self._lines


def _lines_of(record: logging.LogRecord) -> Iterator[str]:
    """Yield a record as lines: ``2026-11-29T19:30:00.125Z INFO shop.orders: 3 orders read``."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    text = f"{at}.{int(record.msecs):03d}Z {record.levelname} {record.name}: {record.getMessage()}"
    if record.exc_info and record.exc_info[0] is not None:
        text += "\n" + "".join(traceback.format_exception(*record.exc_info, limit=-_FRAMES))
    for line in text.splitlines():
        if line.strip():
            short = line if len(line) <= LINE_CHARACTERS else f"{line[: LINE_CHARACTERS - 3]}..."
            yield short.encode("utf-8", "backslashreplace").decode()


def seal(keyring: Keyring, run_id: str, piece: PieceId, attempt: int, lines: Mapping[int, deque[str]]) -> bytes:
    """Seal the lines of items that were claimed together; `piece` names the first of them."""
    text = json.dumps({index: list(each) for index, each in lines.items()}, ensure_ascii=False, separators=(",", ":"))
    return values.seal_bytes(keyring, addresses.log(run_id, piece.name), attempt, text.encode())


def opened(keyring: Keyring, run_id: str, logged: Logged, stored: bytes) -> dict[int, list[str]]:
    """Return the lines that `seal` has sealed, by item. Raises BadSignature."""
    address = addresses.log(run_id, PieceId(logged.scope, logged.step, logged.lo).name)
    _, body = values.open_bytes(keyring, address, stored)
    return {int(index): lines for index, lines in json.loads(bytes(body)).items()}
