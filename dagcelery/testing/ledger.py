"""What a harness and its workers tell each other about faults, in a folder that outlives any of them.

A worker that kills itself can write nothing afterwards, so whatever happens is written down before it does. Each fact
costs one system call that is atomic on every file system: a byte appended, a file created, a file renamed.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Moment = Literal["before", "after"]
Place = Literal["child", "main"]


@dataclass(frozen=True, slots=True)
class Order:
    """An order to die: `moment` the `count`-th call of `operation`, a verb of the store or "send", in one process.

    A process of the pool ("child") dies alone; the "main" process takes its children along, as a lost machine does.
    """

    moment: Moment
    operation: str
    count: int = 1
    place: Place = "child"

    def __str__(self) -> str:
        return f"{self.moment}-{self.operation}-{self.count}-{self.place}"

    @classmethod
    def parse(cls, text: str) -> Order:
        """Read ``before:finish:3``, with ``:main`` behind it for a main process."""
        moment, operation, count, place, *_ = [*text.replace("-", ":").split(":"), "", "", "", ""]
        when: dict[str, Moment] = {"before": "before", "after": "after"}
        where: dict[str, Place] = {"": "child", "child": "child", "main": "main"}
        try:
            return cls(when[moment], operation, int(count or 1), where[place])
        except (KeyError, ValueError):
            raise ValueError(f"{text!r} is not an order to die: write before:finish:3 or after:send:1:main") from None


class Ledger:
    """A folder of facts about one installation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._orders = folder / "orders"
        self._deaths = folder / "deaths"
        for path in (self._orders, self._deaths):
            path.mkdir(parents=True, exist_ok=True)

    def note(self, kind: str) -> int:
        """Write down that a fault of this kind happened; answer how many did before."""
        descriptor = os.open(self.folder / kind, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, b"+")
            return os.lseek(descriptor, 0, os.SEEK_CUR) - 1
        finally:
            os.close(descriptor)

    def counts(self) -> dict[str, int]:
        """How often each kind of fault happened."""
        return {path.name: path.stat().st_size for path in self.folder.iterdir() if path.is_file()}

    # -- orders to die ----------------------------------------------------------------------------
    def order(self, order: Order) -> str:
        """Order one process to die; answer the order's name, for `has_died`."""
        name = f"{order}-{uuid.uuid4().hex[:8]}"
        (self._orders / name).touch()
        return name

    def pending(self) -> Iterator[tuple[str, Order]]:
        """The orders that nobody has followed yet."""
        for entry in os.scandir(self._orders):
            yield entry.name, Order.parse(entry.name)

    def accept(self, name: str) -> bool:
        """Take an order upon oneself; False where somebody else did."""
        try:
            os.rename(self._orders / name, self._deaths / name)
        except FileNotFoundError:
            return False
        return True

    def has_died(self, name: str) -> bool:
        """Whether somebody followed this order."""
        return (self._deaths / name).exists()

    def withdraw(self, place: Place | None = None) -> None:
        """Take back the orders that nobody has followed."""
        for name, order in self.pending():
            if place in (None, order.place):
                (self._orders / name).unlink(missing_ok=True)

    def deaths(self) -> list[Order]:
        """The orders that were followed."""
        return [Order.parse(path.name) for path in self._deaths.iterdir()]
