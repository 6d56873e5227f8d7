"""11. What a task returned may be kept, so that another run need not call it again."""

from __future__ import annotations

import pytest
from celery import Celery

from dagcelery import Cache, DagFunction, Run, dag, errors, invoke, task

CALLS: list[object] = []


@task(cache=Cache(ttl=3600))
def square(x: int) -> int:
    CALLS.append(x)
    return x * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def squares(xs: list[int]) -> int:
    return total([square(x) for x in xs])


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    CALLS.clear()
    for kept in (square, page, model):
        kept.forget()


def test_a_call_with_the_same_arguments_is_made_once() -> None:
    assert [invoke(square, {"x": x}) for x in (3, 3, 4)] == [9, 9, 16]
    assert CALLS == [3, 4]


def test_of_a_map_only_new_items_are_called() -> None:
    invoke(squares, {"xs": [1, 2, 3]})
    assert invoke(squares, {"xs": [2, 3, 4, 4]}) == 45
    assert CALLS == [1, 2, 3, 4]


def test_called_outside_of_a_run_it_is_the_function_that_it_always_was() -> None:
    assert [square(3), square(3)] == [9, 9]
    assert CALLS == [3, 3]


# -- keys: what else makes two calls the same ------------------------------------------------------
@task(cache=Cache(ttl=3600, key=lambda url, attempts: url))
def page(url: str, attempts: int) -> str:
    CALLS.append(attempts)
    return url.upper()


@task(cache=Cache(ttl=3600, key="v1"))
def model(seed: int) -> int:
    CALLS.append(seed)
    return seed


def test_a_function_may_say_which_arguments_count() -> None:
    assert [invoke(page, {"url": "a", "attempts": attempts}) for attempts in (1, 2)] == ["A", "A"]
    assert CALLS == [1]


def test_a_text_takes_the_place_of_all_arguments_so_a_new_one_begins_anew() -> None:
    @dag
    def trained(seed: int) -> int:
        return model(seed)

    @dag
    def trained_anew(seed: int) -> int:
        return model.options(cache=Cache(ttl=3600, key="v2"))(seed)

    runs: list[DagFunction[..., int]] = [trained, trained, trained_anew]
    assert [invoke(node, {"seed": seed}) for seed, node in enumerate(runs)] == [0, 0, 2]


# -- what can be seen, and what can be dropped -----------------------------------------------------
def test_the_status_says_how_many_pieces_were_not_called(eager: Celery) -> None:
    squares.submit([1, 2])
    run: Run[int] = squares.submit([1, 2, 3])
    (node, _) = run.status().nodes
    assert (node.done, node.cached) == (3, 2)


def test_results_of_a_task_can_be_dropped() -> None:
    invoke(squares, {"xs": [1, 2]})
    assert square.forget() == 2
    invoke(squares, {"xs": [1, 2]})
    assert CALLS == [1, 2, 1, 2]


def test_what_a_task_raises_is_not_kept() -> None:
    @task(cache=Cache(ttl=3600))
    def broken() -> None:
        raise OSError("no")

    for _ in range(2):
        with pytest.raises(errors.NodeFailed, match="no"):
            invoke(broken)


def test_a_key_must_take_what_the_task_takes() -> None:
    @task(cache=Cache(ttl=3600, key=lambda word: word))
    def length(text: str) -> int:
        return len(text)

    with pytest.raises(errors.InvalidDag, match="the cache key of task 'length' with input 'text': cannot be called"):
        invoke(length, {"text": "a"})
