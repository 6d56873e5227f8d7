"""Let a parameter shape the DAG: `static` ones have their values while the body is read.

Notice that `range(folds)` and `if` work on a static parameter. Every value has a DAG of its own: the one for three
folds has three nodes `fit`, and no map over a list.
"""

from __future__ import annotations

from dagcelery import build, dag, task


@task
def fit(rows: list[int], fold: int, folds: int) -> int:
    """Use the rows that do not belong to this fold."""
    return sum(row for at, row in enumerate(rows) if at % folds != fold)


@task
def best(scores: list[int]) -> int:
    """Choose among the folds."""
    return max(scores)


@dag(static=("folds",))
def cross_validate(rows: list[int], folds: int = 3) -> int:
    """Build a node for each fold."""
    scores = [fit(rows, fold, folds) for fold in range(folds)]
    return best(scores) if folds > 1 else scores[0]


if __name__ == "__main__":
    print(cross_validate.invoke(rows=[1, 2, 3, 4], folds=2))
    for folds in (1, 3):
        print(folds, "folds:", ", ".join(build(cross_validate, folds=folds).nodes))
