"""What fits on a page can be read at once: files, functions, and the half of them that are short."""

from __future__ import annotations

from statistics import median

from .source import Function, modules

MOST_LINES_A_FILE = 600
MOST_LINES_A_SPELLING = 150
"""For `compat`, which only spells what is there otherwise."""
MOST_LINES_A_FUNCTION = 50
MEDIAN_LINES_A_FUNCTION = 10


def length(function: Function) -> int:
    """Count the lines from ``def`` to the last one."""
    assert function.end_lineno
    return function.end_lineno - function.lineno + 1


def test_files_are_short() -> None:
    lengths = {module.name: module.text.count("\n") for module in modules()}
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES_A_FILE}
    spellings = {name: lines for name, lines in lengths.items() if name.startswith("compat/")}
    assert not {name: lines for name, lines in spellings.items() if lines > MOST_LINES_A_SPELLING}


def test_functions_are_short() -> None:
    lengths = {
        f"{module.name}:{function.name}": length(function) for module in modules() for function in module.functions()
    }
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES_A_FUNCTION}
    assert median(lengths.values()) < MEDIAN_LINES_A_FUNCTION
