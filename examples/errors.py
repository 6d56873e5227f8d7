"""Read early errors, in one sentence each: the culprit, the problem, the remedy.

Notice when each error comes: a mistake in the DAG when it is built, a wrong parameter before anything is sent, and a
failing task from `result()`, with the node's address and the remote traceback.
"""

from __future__ import annotations

from collections.abc import Iterator

from dagcelery import build, dag, errors, task


@task
def divide(a: int, b: int) -> float:
    """Divide; fails for b = 0."""
    return a / b


@task
def halve(x: int) -> float:
    """Halve, without failing."""
    return x / 2


@dag
def quotients(a: int, divisors: list[int]) -> list[float]:
    """Divide by each divisor."""
    return [divide(a, b) for b in divisors]


@dag
def decides(x: int) -> float:
    """Wrong: the body is read before there are values, so it cannot decide on one."""
    return divide(x, 2) if halve(x) > 1 else halve(x)


def mistakes() -> Iterator[errors.DagceleryError]:
    """Make three mistakes."""
    try:
        build(decides)
    except errors.InvalidDag as error:
        yield error
    try:
        quotients.invoke(a=1, divisor=[1])  # type: ignore[call-arg]
    except errors.InvalidParameters as error:
        yield error
    try:
        quotients.invoke(a=1, divisors=[1, 2, 0])
    except errors.NodeFailed as error:
        yield error


if __name__ == "__main__":
    for error in mistakes():
        print(f"{type(error).__name__}: {error}\n")
