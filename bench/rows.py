"""One figure of the table: what was measured, beside what, and whether its goal is met."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from rich.table import Table

WIDTH = 170
"""Columns of a table, so that a line is a row wherever it is shown."""


@dataclass(frozen=True)
class Row:
    """One figure, and what was measured beside it in the same minutes, in the same unit.

    The `goal` is a sign and a number: ``<= 40`` is of the figure itself, ``<= 2 x`` and ``<= 1/8 x`` of its ratio to
    the rival. Machines differ, and the same one from hour to hour, so a ratio says more.
    """

    load: str
    value: float
    unit: str
    goal: str = ""
    beside: str = ""
    rival: float | None = None
    """None with a name in `beside`: what has that name is missing here."""

    @property
    def ratio(self) -> float | None:
        """How many times the rival's figure it is."""
        return self.value / self.rival if self.rival else None

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None without one, or without the rival that it names."""
        if not self.goal:
            return None
        sign, number, of_ratio = re.fullmatch(r"([<>]=) ([\d./]+)( x)?", self.goal).groups()  # type: ignore[union-attr]
        found = self.ratio if of_ratio else self.value
        if found is None:
            return None
        limit = float(Fraction(number))
        return found <= limit if sign == "<=" else found >= limit

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        beside = self.beside
        if beside:
            beside = f"missing: {beside}" if self.rival is None else f"{beside}: {figure(self.rival)}"
        met = {True: "yes", False: "[bold]no[/bold]", None: ""}[self.is_met]
        return self.load, figure(self.value), self.unit, beside, times(self.ratio), self.goal, met

    def as_json(self) -> dict[str, Any]:
        """Return it as data."""
        return asdict(self) | {"ratio": self.ratio, "is_met": self.is_met}

    def __str__(self) -> str:
        load, value, unit, beside, ratio, goal, _ = self.cells()
        rest = ", ".join(filter(None, (beside, ratio, goal and f"goal {goal}")))
        return f"{load}: {value} {unit}" + (f" ({rest})" if rest else "")


def figure(value: float) -> str:
    """Return three digits of a number, all of those before the point."""
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def times(ratio: float | None) -> str:
    """Return a ratio as people say it."""
    if ratio is None:
        return ""
    return f"1/{1 / ratio:,.0f} x" if 0 < ratio < 0.1 else f"{ratio:.3g} x"


def table(rows: Iterable[Row]) -> Table:
    """Return all rows, ready to be printed."""
    shown = Table("load", "measured", "unit", "beside", "ratio", "goal", "met", title="dagcelery, signing on")
    for row in rows:
        shown.add_row(*row.cells())
    return shown
