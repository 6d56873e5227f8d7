"""A promise has no value yet: it may be passed on, and every other use is an error that says what to do."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from dagcelery import errors, task

from .vocabulary import double, same

USES: dict[str, Callable[[Any], object]] = {
    "if": lambda p: 1 if p else 2,
    "not": lambda p: not p,
    "==": lambda p: p == 1,
    "!=": lambda p: p != 1,
    "<": lambda p: p < 1,
    "in": lambda p: 1 in p,
    "+": lambda p: p + 1,
    "1 -": lambda p: 1 - p,
    "+=": lambda p: [p := p, p.__iadd__(1)],
    "-": lambda p: -p,
    "int": int,
    "float": float,
    "sqrt": math.sqrt,
    "str": str,
    "f-string": lambda p: f"{p}",
    "%": lambda p: "%s" % p,  # noqa: UP031
    "range": lambda p: range(p),
    "len": len,
    "iteration": list,
    "unpacking": lambda p: (lambda a, b: a)(*p),
    "for": lambda p: [x for x in p],  # noqa: C416
    "sorted": sorted,
    "reversed": reversed,
    "item": lambda p: p[0],
    "key": lambda p: p["a"],
    "slice": lambda p: p[1:],
    "assignment": lambda p: p.__setitem__(0, 1),
    "property": lambda p: p.name,
    "setattr": lambda p: setattr(p, "name", 1),
    "call": lambda p: p(),
    "with": lambda p: p.__enter__(),
    "pickle": pickle.dumps,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_promise_refuses_every_use_but_being_passed_on(use: Callable[[Any], object]) -> None:
    @task(dynamic=True)
    def using(x: int) -> object:
        return use(double(x))

    with pytest.raises(errors.NodeFailed, match=r"the promise of 'double'.*pass") as caught:
        using.invoke(1)
    assert isinstance(caught.value.__cause__, errors.InvalidDag)


def test_the_error_says_what_to_do() -> None:
    @task(dynamic=True)
    def using(x: int) -> object:
        return "big" if double(x) else "small"

    with pytest.raises(errors.NodeFailed) as caught:
        using.invoke(1)
    assert str(caught.value.__cause__) == (
        "the promise of 'double': is not known to be true or false: "
        "it has no value yet in the task that called for it; "
        "pass it on to a task, as an argument or in a list, tuple, set or dict: there it is the value"
    )


def test_a_use_that_was_caught_is_an_error_nevertheless() -> None:
    @task(dynamic=True)
    def using(x: int) -> object:
        try:
            return 1 if double(x) else 2
        except TypeError:
            return 3

    with pytest.raises(errors.NodeFailed, match="not known to be true or false"):
        using.invoke(1)


def test_a_promise_hidden_in_an_object_is_refused() -> None:
    class Box:
        def __init__(self, content: object) -> None:
            self.content = content

    @task(dynamic=True)
    def using(x: int) -> object:
        return same(Box(double(x)))

    with pytest.raises(errors.NodeFailed, match="is out of reach"):
        using.invoke(1)


def test_a_promise_is_good_in_its_own_task_only() -> None:
    kept: list[Any] = []

    @task(dynamic=True)
    def keeping(x: int) -> int:
        if kept:
            return same(kept[0])
        kept.append(double(x))
        return keeping(x)

    with pytest.raises(errors.NodeFailed, match="belongs to another"):
        keeping.invoke(1)


def test_a_promise_has_a_repr_to_print_and_a_hash(capsys: pytest.CaptureFixture[str]) -> None:
    @task(dynamic=True)
    def looking(x: int) -> list[int]:
        one, two = double(x), double(x)
        print(repr(one))
        return list({one: None, two: None})

    assert looking.invoke(2) == [4, 4]
    assert capsys.readouterr().out == "<the promise of 'double'>\n"


@pytest.mark.parametrize("value", [1, "yes", None])
def test_dynamic_is_true_or_false(value: Any) -> None:
    with pytest.raises(errors.InvalidDag, match=r"dynamic=.*: is neither true nor false"):
        task(dynamic=value)
