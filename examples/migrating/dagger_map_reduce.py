"""Run py-dagger's map-reduce in this process, and then on workers.

Notice that `invoke` returns outputs by name, as it did, and that nodes have the names that py-dagger gave them. The
built DAG is like any other here: `submit` takes it, and its result is the return value of the body.
"""

from __future__ import annotations

import random

from dagcelery.compat.dagger.dsl import DAG, build, task
from dagcelery.compat.dagger.runtime.local import invoke


@task()
def generate_numbers(seed: int) -> list[int]:
    """Return a list whose length is not known beforehand."""
    random.seed(seed)
    return list(range(random.randint(3, 20)))


@task()
def raise_number(n: int, exponent: int) -> int:
    """Raise a number; executed once for each."""
    return int(n**exponent)


@task()
def sum_numbers(numbers: list[int]) -> int:
    """Add up all results."""
    return sum(numbers)


@DAG()
def map_reduce_pipeline(seed: int, exponent: int) -> int:
    """Map over the numbers with a comprehension."""
    return sum_numbers([raise_number(n=partition, exponent=exponent) for partition in generate_numbers(seed)])


dag = build(map_reduce_pipeline)

if __name__ == "__main__":
    result = invoke(dag, params={"seed": 1, "exponent": 2})
    print(f"The final result was {result}")
    print(list(dag.nodes))

    from dagcelery import submit
    from dagcelery.local import cluster

    with cluster(workers=2):
        print("on workers:", submit(dag, {"seed": 1, "exponent": 2}).result(timeout=60))
