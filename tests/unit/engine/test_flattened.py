"""The status is the tree, flattened: it counts as the tree does, and calls each node's state the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from workers.watching.vocabulary import breaks, fragile, grown, numbers, row, rows, square, squares, total

from dagcelery import TreeNode, dag, task, when
from dagcelery.client import lifecycle
from dagcelery.client.status import NodeStatus, RunStatus, run_status
from dagcelery.client.tree import tree

from .worlds import World, shuffled

ALL = 1_000_000

WORDS = ("done", "failed", "skipped", "running", "retrying")


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
    """Add up the numbers of each node over all items; what stands in a branch that was not taken is left out too.

    Where items were not entered yet, it is not known what is within.
    """
    sums: dict[str, Counter[str]] = {}
    for name, node in leaves(root):
        counts = {word: max(0, getattr(node, word) or 0) for word in WORDS}
        sums.setdefault(name, Counter()).update(
            counts | {"is_begun": node.state not in ("waiting", "skipped", "stopped")}
        )
        is_left_out = node.state == "skipped" and not node.children
        items_left_out = node.skipped - sum(child.state == "skipped" for child in node.children)
        for inner in names:
            number = items_left_out if inner.startswith(f"{name}[*]/") else is_left_out * inner.startswith(f"{name}/")
            sums.setdefault(inner, Counter()).update({"skipped": int(number)})
    return sums


class Look:
    """Compares status and tree of one run again and again."""

    def __init__(self, world: World, run_id: str) -> None:
        self._world, self._run_id = world, run_id
        self.totals: dict[str, set[int]] = {}

    def __call__(self) -> RunStatus:
        status = run_status(self._world.client, self._run_id)
        root = tree(self._world.client, self._run_id, ALL, ALL)
        sums = flattened(root, [node.name for node in status.nodes])
        assert set(sums) <= {node.name for node in status.nodes}
        assert sum(node.running for node in status.nodes if "/" not in node.name) <= len(self._world.workers)
        for node in status.nodes:
            counts = sums.get(node.name, Counter())
            numbers = {word: counts[word] for word in WORDS}
            assert {word: getattr(node, word) for word in numbers} == numbers, node.name
            if node.total is not None:
                self.totals.setdefault(node.name, set()).add(node.total)
            self.check_words(status, node)
        return status

    def check_words(self, status: RunStatus, node: NodeStatus) -> None:
        if status.state.is_end:
            assert node.state in ("done", "failed", "skipped", "stopped"), node.name
            assert not node.waiting
        else:
            assert node.state != "stopped"
        assert (node.state == "running") <= (node.running > 0), node.name
        assert (node.state == "done") <= (node.ended is not None or "/" in node.name), node.name
        if status.state == "done":
            assert node.total == node.done + node.skipped, node.name


def looking(world: World, run_id: str) -> Look:
    """Look before each commit too, while a worker has a claim."""
    look, machine = Look(world, run_id), world.store.machine

    def looked(verb: Any, *args: Any) -> Any:
        look()
        return verb(*args)

    for name in ("finish", "delegate"):
        setattr(machine, name, partial(looked, getattr(machine, name)))
    return look


def deliver(world: World, pick: Any, look: Look, most: int = ALL) -> None:
    while world.post.waiting and most:
        world.deliver(world.post.waiting.pop(pick(len(world.post.waiting))))
        most -= 1
    look()


NODES = [
    squares,
    breaks,
    rows,
    deep,
    grown,
    choosy,
    chosen,
    chosen_rows,
    broken_rows,
    goes_on,
    square,
    skipping,
    skipping_on,
]


def begun(node: Any, n: int) -> tuple[World, str]:
    world = World(slice_seconds=1e-9)
    return world, world.submit(node, **({"x": n} if node is square else {"n": n}))


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_the_status_is_the_tree_flattened(node: Any) -> None:
    for seed, n in enumerate((0, 4, 3)):
        world, run_id = begun(node, n)
        look = looking(world, run_id)
        look()
        deliver(world, shuffled(seed), look)
        assert all(len(totals) == 1 for totals in look.totals.values()), look.totals


@pytest.mark.parametrize(("seed", "end"), [(0, "cancelled"), (1, "timed_out"), (2, "failed")])
@pytest.mark.parametrize("node", [rows, deep, grown, broken_rows, goes_on], ids=lambda node: node.__name__)
def test_it_is_so_after_any_end_and_when_it_goes_on(node: Any, seed: int, end: str) -> None:
    world, run_id = begun(node, 4)
    look, pick = looking(world, run_id), shuffled(seed)
    deliver(world, pick, look, 1 + pick(8))
    world.store.machine.end(run_id, end, "for a test")
    deliver(world, pick, look)
    if look().state != "done":
        lifecycle.resume(world.client, run_id, None, allow_code_change=True)
        deliver(world, pick, look)
    lifecycle.retry_from(world.client, run_id, "numbers", None, allow_code_change=True)
    look.totals.clear()
    look()
    deliver(world, pick, look)
    assert look().state == ("failed" if node in (broken_rows, goes_on) else "done")
