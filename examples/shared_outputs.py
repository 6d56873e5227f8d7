"""Use one output as often as you like: whole, mapped, mapped twice, and with several reducers.

Notice that `readings` runs once, however many tasks use its result.
"""

from __future__ import annotations

from dagcelery import dag, task


@task
def readings(n: int) -> list[int]:
    """Make the list that all others use."""
    return list(range(1, n + 1))


@task
def double(x: int) -> int:
    """Map over the list."""
    return 2 * x


@task
def square(x: int) -> int:
    """Map over the same list again."""
    return x * x


@task
def total(xs: list[int]) -> int:
    """Add up a list."""
    return sum(xs)


@task
def largest(xs: list[int]) -> int:
    """Find the largest number of a list."""
    return max(xs)


@dag
def report(n: int) -> dict[str, int]:
    """Compute five numbers from one list."""
    xs = readings(n)
    squares = [square(x) for x in xs]
    return {
        "sum": total(xs),
        "largest": largest(xs),
        "doubles": total([double(x) for x in xs]),
        "squares": total(squares),
        "largest square": largest(squares),
    }


if __name__ == "__main__":
    print(report.invoke(n=4))
