"""Functions whose annotations name what is there for type checkers only. Python 3.14 evaluates these when asked for;
before, only as texts can they be what they are: test_annotations reads this file both ways.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, NamedTuple

from dagcelery import AsPickle, task

if TYPE_CHECKING:
    from nowhere import Row, rows


class Split(NamedTuple):
    train: list[Row]
    test: Annotated[list[Row], AsPickle()]


@task
def pickled(xs: Annotated[list[Row], AsPickle()]) -> Annotated[dict[str, rows.Table], AsPickle()]:
    return {str(x): x for x in xs}


@task
def lazy(xs: Iterable[Row], ys: Annotated[Iterator[Row], "some"], zs: list[Row] | None = None) -> str:
    return type(xs).__name__


@task
def several(n: int) -> tuple[Row, rows.Table[Row]]:
    return n, n + 1


@task
def parts(n: int) -> Split:
    return Split([n], [n])
