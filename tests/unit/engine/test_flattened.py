"""The status is the tree, flattened: it counts as the tree does, and calls each node's state the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from workers.watching.vocabulary import breaks, fragile, grown, numbers, row, rows, square, squares, total

from dagcelery import TreeNode, dag, task, when
from dagcelery.client.status import run_status, state_of
from dagcelery.client.tree import tree

from .worlds import World, shuffled

ALL = 1_000_000

WORDS = ("total", "done", "failed", "skipped", "running", "retrying")


@task(min_success=0.5)
def picky(x: int) -> int:
    if x % 3 == 0:
        raise ValueError(x)
    return x


@dag
def choosy(n: int) -> list[int]:
    return [picky(x) for x in numbers(n)]


@task
def is_large(n: int) -> bool:
    return n > 2


@dag
def chosen(n: int) -> int:
    return when(is_large(n), lambda: row(n), lambda: square(n))


@dag
def chosen_rows(n: int) -> int:
    return total([chosen(x) for x in numbers(n)])


@dag
def deep(n: int) -> int:
    return total([rows(x) for x in numbers(n)])


@dag
def broken_rows(n: int) -> int:
    return total([breaks(x) for x in numbers(n)])


@dag(fail_fast=False)
def goes_on(n: int) -> list[int]:
    return [total([fragile(x) for x in numbers(n)]), square(n)]


@task
def odd(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(x)
    return x


@task
def below(x: int) -> list[int]:
    return list(range(x))


@dag
def picky_row(x: int) -> int:
    return total([square(y) for y in below(odd(x))])


@dag(min_success=0.5)
def item(x: int) -> list[int]:
    once, many = square(x), [odd(y) for y in below(x)]
    within = [picky_row(y) for y in below(once)]
    return [once, odd(once), total(many), total(within), when(is_large(x), lambda: row(odd(x)), lambda: square(x))]


@dag(on_item_failure="skip")
def items(x: int) -> list[list[int]]:
    return [item(y) for y in below(x)]


@dag
def skipping(n: int) -> list[list[list[int]]]:
    return [items(x) for x in numbers(n)]


@dag(fail_fast=False)
def skipping_on(n: int) -> list[list[list[int]]]:
    return [items(x) for x in numbers(n)]


NODES = (squares, breaks, rows, deep, grown, choosy)


def leaves(node: TreeNode, prefix: str = "") -> Iterator[tuple[str, TreeNode]]:
    """Yield the nodes below one, named as the status names them: items of a mapped DAG are ``[*]``."""
    for child in node.children:
        name = child.name
        if "[" in name:  # an item, which the status does not have
            is_grown = prefix.endswith("grow/")
            yield from leaves(child, f"{prefix.removesuffix('/')}{name[name.index('[') :] if is_grown else '[*]'}/")
        else:
            yield prefix + name, child
            yield from leaves(child, f"{prefix}{name}/")


def flattened(root: TreeNode, names: list[str]) -> dict[str, Counter[str]]:
    """Add up the numbers of each node over all items; what stands in a branch that was not taken is left out too."""
    sums: dict[str, Counter[str]] = {}
    for name, node in leaves(root):
        counts = {word: max(0, getattr(node, word)) for word in WORDS}
        is_begun = node.state not in ("waiting", "skipped")
        sums.setdefault(name, Counter()).update(counts | {"is_begun": is_begun, "is_unknown": node.total < 0})
        if node.state == "skipped" and not node.children:
            for inner in names:
                if inner.startswith(f"{name}/"):
                    sums.setdefault(inner, Counter()).update({"total": 1, "skipped": 1, "untaken": 1})
    return sums


def check(world: World, run_id: str) -> None:
    """Compare the status with the tree at this moment."""
    status = run_status(world.client, run_id)
    sums = flattened(tree(world.client, run_id, ALL, ALL), [node.name for node in status.nodes])
    assert set(sums) <= {node.name for node in status.nodes}
    for node in status.nodes:
        counts = sums.get(node.name, Counter())
        numbers = {word: counts[word] for word in WORDS}
        is_branch = node.name.endswith(("/then", "/otherwise"))
        is_open = counts["is_unknown"] and not counts["is_begun"] and counts["skipped"] == counts["untaken"]
        if is_open and not is_branch:
            numbers["total"] = numbers["skipped"] = 0  # of a list whose length is not known, nothing is left out
        assert {word: getattr(node, word) for word in WORDS} == numbers, node.name
        # The tree does not say of what was skipped whether it had begun.
        is_begun = counts["is_begun"] > 0 or bool(counts["skipped"] and node.started)
        assert node.state == state_of(**numbers, is_begun=is_begun), node.name


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "node",
    [*NODES, chosen, chosen_rows, broken_rows, goes_on, square, skipping, skipping_on],
    ids=lambda node: node.__name__,
)
def test_the_status_is_the_tree_flattened(node: Any, seed: int) -> None:
    for n in (0, 4):
        world = World(slice_seconds=1e-9)
        run_id = world.submit(node, **({"x": n} if node is square else {"n": n}))
        pick = shuffled(seed)
        check(world, run_id)
        while world.post.waiting:
            world.deliver(world.post.waiting.pop(pick(len(world.post.waiting))))
            check(world, run_id)
