"""`dagorama.logging`: a logger for the terminal, whose level DAGORAMA_LOG_LEVEL says."""

from __future__ import annotations

import logging
import os
import shutil
import sys

__all__ = ["get_default_console_width", "get_log_level", "get_logger"]

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class ToStandardError(logging.Handler):
    """Writes to what is the standard error at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        print(self.format(record), file=sys.stderr)


def get_log_level() -> int:
    """Return the level that DAGORAMA_LOG_LEVEL names, by default that of warnings.

    Raises ValueError.
    """
    level = os.environ.get("DAGORAMA_LOG_LEVEL", "WARNING")
    if level not in LEVELS:
        raise ValueError(f"Unknown log level: DAGORAMA_LOG_LEVEL={level}; write {', '.join(LEVELS)}")
    return int(getattr(logging, level))


def get_logger() -> logging.Logger:
    """Return the logger, at the level that is set now."""
    logger = logging.getLogger("Dagorama")
    logger.setLevel(get_log_level())
    if not any(isinstance(handler, ToStandardError) for handler in logger.handlers):
        handler = ToStandardError()
        handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - [%(levelname)s] - %(message)s"))
        logger.addHandler(handler)
    return logger


def get_default_console_width(default_value: int = 80) -> int:
    """Return how many characters a line of the terminal has."""
    return shutil.get_terminal_size((default_value, 24)).columns
