"""Ask inside a task which piece of which run is being executed.

Notice the token: a piece whose worker dies may be executed again, so an external side effect (a payment, a mail) should
carry `run_id + address`, by which the other side recognises a repetition.
"""

from __future__ import annotations

from dagcelery import current, dag, task

DONE: dict[str, int] = {}
"""A stand-in for the other side, which remembers its payments."""


@task
def charge(cents: int) -> str:
    """Charge once, however often this is executed."""
    piece = current()
    DONE.setdefault(piece.run_id + piece.address, cents)
    return f"{piece.address}: item {piece.index}, attempt {piece.attempt}, {cents} cents"


@dag
def charge_all(amounts: list[int]) -> list[str]:
    """Charge all amounts, in a piece each."""
    return [charge(cents) for cents in amounts]


if __name__ == "__main__":
    print("\n".join(charge_all.invoke(amounts=[500, 250])))
