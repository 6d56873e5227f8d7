"""Map a task over a list that is known only when the DAG runs, then reduce the results.

Notice that the comprehension is the map: `numbers(n)` has no length yet when the body is read, and one hundred thousand
numbers need no other spelling than ten. `python examples/map_reduce.py` runs it in this process, then on two Celery
workers on this machine.
"""

from __future__ import annotations

from dagcelery import dag, task
from dagcelery.local import cluster


@task
def numbers(n: int) -> list[int]:
    """Make the list."""
    return list(range(n))


@task
def power(x: int, exponent: int) -> int:
    """Work on one item."""
    return int(x**exponent)


@task
def total(xs: list[int]) -> int:
    """Reduce all results, which come in the order of their items."""
    return sum(xs)


@dag
def map_reduce(n: int, exponent: int = 2) -> int:
    """Add up the first n powers."""
    return total([power(x=x, exponent=exponent) for x in numbers(n)])


def main() -> None:
    """Run it here, then on workers."""
    print("in this process:", map_reduce.invoke(n=10))
    with cluster(workers=2):
        run = map_reduce.submit(n=1000)
        print("on two workers:", run.result(timeout=60))
        for node in run.status().nodes:
            print(f"  {node.name}: {node.state}, {node.done} of {node.total}")


if __name__ == "__main__":
    main()
