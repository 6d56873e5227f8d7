"""Log records of a task say which piece wrote them."""

from __future__ import annotations

import copy
import logging
from typing import Any, Final

from dagcelery.runtime.pieces import executing_piece

FORMATS: Final = {
    "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s": (
        "[%(asctime)s: %(levelname)s/%(processName)s]%(piece)s %(message)s"
    ),
    "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s": (
        "[%(asctime)s: %(levelname)s/%(processName)s]%(piece)s %(task_name)s[%(task_id)s]: %(message)s"
    ),
}
"""Celery's own formats, and the same with the piece in them."""


class PieceFilter(logging.Filter):
    """Gives each record `run`, `node`, `index` and `attempt` of the piece that wrote it, and `piece`, all in one text.

    Put it on a handler of your own: ``handler.addFilter(PieceFilter())``. `node` is an address such as
    ``train[3]/fit[0]``, `index` the item's number or None. Outside of pieces the texts are empty and the numbers None;
    what a record has already is left as it is.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        try:
            found = executing_piece()
        except Exception:  # its address may have to be read first, and the store may be out of reach
            found = None
        said: dict[str, Any] = {"run": "", "node": "", "index": None, "attempt": None, "piece": ""}
        if found is not None:
            text = f" [run={found.run_id} node={found.address} attempt={found.attempt}]"
            said = {
                "run": found.run_id,
                "node": found.address,
                "index": found.index,
                "attempt": found.attempt,
                "piece": text,
            }
        for name, value in said.items():
            if name not in record.__dict__:
                record.__dict__[name] = value
        return True


def show_pieces() -> None:
    """Let the lines of this process's log say which piece wrote them, where they have Celery's own format.

    A setting for the format would not do: Celery uses it where nobody fills in pieces, too.
    """
    for handler in (*logging.getLogger().handlers, *logging.getLogger("celery.task").handlers):
        if not any(isinstance(known, PieceFilter) for known in handler.filters):
            handler.addFilter(PieceFilter())
        formatter = handler.formatter
        if formatter is not None and formatter._fmt in FORMATS:
            changed = copy.copy(formatter)
            logging.Formatter.__init__(changed, FORMATS[formatter._fmt], formatter.datefmt)
            handler.setFormatter(changed)
