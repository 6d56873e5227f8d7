"""The tasks of the workers: throw darts at a square; the share inside its circle approximates pi.

Notice that only workers import this module. Imagine numpy here, and a model of some gigabytes.
"""

from __future__ import annotations

import random

from dagcelery import dag, task


@task
def seeds(parts: int) -> list[int]:
    return list(range(parts))


@task
def hits(seed: int, throws: int) -> int:
    """Return the number of hits; the same for the same seed."""
    draw = random.Random(seed)
    return sum(draw.random() ** 2 + draw.random() ** 2 <= 1 for _ in range(throws))


@task
def ratio(found: list[int], throws: int) -> float:
    return 4 * sum(found) / (len(found) * throws)


@dag
def pi(parts: int, throws: int) -> float:
    """Approximate pi, from parts that are computed in parallel."""
    return ratio([hits(seed, throws) for seed in seeds(parts)], throws)
