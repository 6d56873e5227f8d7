"""The command line: ``dagcelery run pkg.mod:dag``, or ``celery -A proj dag run pkg.mod:dag``."""

from dagcelery.cli.commands import dag, main
from dagcelery.cli.runs import show_run

__all__ = ["dag", "main", "show_run"]
