"""What a body gives to a task is what it was when it gave it, whatever the body does to it later."""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dagcelery import AsPickle, dag, invoke, task
from dagcelery.client.local_runs import LocalRun
from dagcelery.errors import InvalidDag
from dagcelery.frontends.workflow import Workflow
from dagcelery.model import DAG
from dagcelery.planner.compile import plan
from dagcelery.planner.encoding import decode_plan, encode_plan
from dagcelery.settings import Settings

P = AsPickle()


@dataclasses.dataclass
class Box:
    """Holds anything, and can be changed."""

    v: Any

    def see(self) -> Any:
        return self.v


class Slots:
    __slots__ = ("v",)

    def __init__(self, v: Any) -> None:
        self.v = v


@task(serializer=P)
def see(value: Any) -> Any:
    """Return what can be seen of a value, which nobody changes any more."""
    if isinstance(value, Box | Slots):
        return see(value.v)
    if isinstance(value, pd.DataFrame):
        return value.to_dict("list")
    return value() if callable(value) else copy.deepcopy(value)


@task(serializer=P)
def nums(n: int) -> list[int]:
    return list(range(n))


def of_box(n: int) -> Any:
    box, out = Box(0), []
    for _ in range(n):
        box.v += 1
        out.append(see(box))
    return out


def of_list(n: int) -> Any:
    known: list[Any] = []
    out = []
    for k in range(n):
        known.append([k])
        known[0].append(k)
        out.append(see(known))
    return out


def of_nested(n: int) -> Any:
    box, out = Box(0), []
    for _ in range(n):
        box.v += 1
        out.append(see(Box([{"in": box}])))
    return [see(each) for each in out]


def of_frame(n: int) -> Any:
    frame, out = pd.DataFrame({"a": [0, 0]}), []
    for k in range(n):
        frame.loc[0, "a"] = k
        out.append(see(frame))
    return out


def of_array(n: int) -> Any:
    array, out = np.zeros(2), []
    for k in range(n):
        array[1] = k
        out.append(see(Box(array.tolist)))
    return out


def of_closure(n: int) -> Any:
    return [see(lambda: k) for k in range(n)]  # noqa: B023 (that is the question)


def of_default_and_partial(n: int) -> Any:
    known: list[int] = []
    out = []
    for k in range(n):
        known.append(k)
        out.append(see(functools.partial(sorted, known)))
        out.append(see(lambda known=known: list(known)))
    return out


def of_bound_method(n: int) -> Any:
    box, out = Box(0), []
    for _ in range(n):
        box.v += 1
        out.append(see(box.see))
    return out


def of_a_generator(n: int) -> Any:
    def changed() -> Iterator[Any]:
        box = Box(0)
        for k in range(n):
            box.v = k
            yield box

    return see([see(list(map(see, changed()))), see(list(range(n)))])


def of_tasks_in_a_loop(n: int) -> Any:
    out, known = [], []
    for k in range(n):
        known.append(k)

        @task(serializer=P)
        def inner(x: int = 0) -> Any:
            return [k, list(known), x]  # noqa: B023 (that is the question)

        out.append(inner(x=k))
    return out


def of_a_task_of_a_variable(n: int) -> Any:
    factor = 1

    @task(serializer=P)
    def inner(x: int) -> Any:
        return factor * x

    first = inner(n)
    factor = 10
    return [first, inner(n), inner(n + 1)]


RECORDED = [
    of_tasks_in_a_loop,
    of_a_task_of_a_variable,
    of_box,
    of_list,
    of_nested,
    of_frame,
    of_array,
    of_closure,
    of_default_and_partial,
    of_bound_method,
    of_a_generator,
]


@pytest.mark.parametrize("body", RECORDED)
def test_running_tasks_bodies_and_workers_give_what_values_are_at_each_call(body: Callable[[int], Any]) -> None:
    static = dag(static=("n",), serializer=P)(body)
    assert task(dynamic=True, serializer=P)(body).invoke(3) == body(3)
    assert static.invoke(3) == body(3)
    assert from_bytes(static.__dag__(n=3)) == body(3)


def from_bytes(made: DAG) -> Any:
    """Run what another process would read of a DAG's plan."""
    here = LocalRun(made, Settings())
    here.plan = decode_plan(encode_plan(plan(made)))
    here._view = here.engine.adopt(here.run_id, here.plan, is_alone=True)
    here.run({})
    return here.result()


def test_each_element_gets_what_is_recorded_for_all() -> None:
    @dag(serializer=P)
    def d(n: int) -> Any:
        box = Box([1])
        first = [add(x, box) for x in nums(n)]
        box.v.append(10)
        return [first, [add(x, box) for x in nums(n)]]

    @task(serializer=P)
    def add(x: int, box: Box) -> int:
        box.v.append(x)  # which none of the others sees
        return sum(box.v)

    assert d.invoke(3) == [[1, 2, 3], [11, 12, 13]]


def test_an_iterator_that_a_running_task_returns_gives_what_it_gave_at_each_step() -> None:
    @task(dynamic=True, serializer=P)
    def changing(n: int) -> Iterator[Any]:
        box = Box(0)
        for k in range(n):
            box.v = k
            yield box
            yield see(box)

    @task(dynamic=True, serializer=P)
    def calls_nothing(n: int) -> Iterator[list[int]]:
        known: list[int] = []
        for k in range(n):
            known.append(k)
            yield known

    assert changing.invoke(2) == [Box(0), 0, Box(1), 1]
    assert calls_nothing.invoke(2) == [[0], [0, 1]]


class Counted(Workflow, serializer=P):
    """A workflow that changes itself while it runs."""

    def __init__(self) -> None:
        self.x = 1
        self.seen: list[int] = []

    @task
    def get(self, n: int) -> Any:
        self.seen.append(n)
        return [self.x, list(self.seen)]

    def entrypoint(self, n: int) -> Any:
        out = []
        for k in range(n):
            self.x = k
            out.append(self.get(k))
        return out


def test_a_workflow_gives_its_methods_what_it_is_when_it_calls_them() -> None:
    assert Counted().invoke(3) == [[0, [0]], [1, [1]], [2, [2]]]


def test_a_method_gets_its_object_as_it_is_at_the_call() -> None:
    class Model:
        def __init__(self) -> None:
            self.rate = 1

        @task(serializer=P)
        def fit(self, x: int) -> int:
            return self.rate * x

        @dag(serializer=P)
        def all(self, x: int) -> Any:
            self.rate = 2
            first = self.fit(x)
            self.rate = 3
            return [first, self.fit(x)]

    assert Model().all.invoke(10) == Model().all(10) == [20, 30]


def test_what_a_nested_dag_returns_is_the_callers_own() -> None:
    @dag(serializer=P)
    def inner(n: int) -> Any:
        return {"config": Box([1]), "list": [1], "made": see(n)}

    @dag(serializer=P)
    def outer(n: int) -> Any:
        one, other = inner(n), inner(n)
        one["config"].v.append(2)
        one["list"].append(2)
        return [see(one["config"]), see(other["config"]), see(one["list"]), see(other["list"])]

    assert outer.invoke(1) == outer(1) == [[1, 2], [1], [1, 2], [1]]
    assert outer.invoke(1) == [[1, 2], [1], [1, 2], [1]]


def test_what_can_only_copy_itself_is_copied_and_the_rest_is_refused_as_what_it_is() -> None:
    class Copied:
        def __init__(self, v: int) -> None:
            self.v, self.lock = v, threading.Lock()

        def __deepcopy__(self, memo: object) -> Copied:
            return Copied(self.v)

        def __call__(self) -> int:
            return self.v

    @dag(static=("n",), serializer=P)
    def d(n: int) -> Any:
        it, out = Copied(0), []
        for k in range(n):
            it.v = k
            out.append(see(it))
        return out

    @dag
    def locked() -> Any:
        return see(threading.Lock())

    assert d.invoke(3) == [0, 1, 2]
    with pytest.raises(Exception, match="lock"):
        locked.invoke()


# --- placeholders in objects ---


class Plain:
    """Hides things."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def method(self) -> Any:
        return self.held


class Own(dict[str, Any]):
    """A dict of one's own."""


def closing_over(value: Any) -> Callable[[], Any]:
    return lambda: value


def framed(value: Any) -> pd.DataFrame:
    column = np.empty(2, dtype=object)
    column[0] = value
    return pd.DataFrame({"a": column})


def an_array(value: Any) -> Any:
    made = np.empty(1, dtype=object)
    made[0] = value
    return made


HIDING: dict[str, Callable[[Any], Any]] = {
    "partial": lambda out: functools.partial(print, out),
    "closure": closing_over,
    "default": lambda out: lambda x=out: x,
    "slots": Slots,
    "list in an object": lambda out: Plain([out]),
    "dataclass": lambda out: Box({"deep": (1, out)}),
    "dict subclass": lambda out: Own(a=out),
    "deque": lambda out: collections.deque([out]),
    "bound method": lambda out: Plain(out).method,
    "array": an_array,
    "frame": framed,
    "key": lambda out: {(1, out): 1},
    "in a list": lambda out: [1, {"a": Plain(out)}],
    "unpicklable": lambda out: Uncopied(out),
}


class Uncopied:
    """Can be copied, and not be pickled."""

    def __init__(self, held: Any) -> None:
        self.held, self.lock = held, threading.Lock()

    def __deepcopy__(self, memo: Any) -> Uncopied:
        return Uncopied(copy.deepcopy(self.held, memo))


@pytest.mark.parametrize("hide", HIDING.values(), ids=HIDING)
def test_an_output_hidden_in_an_object_is_refused(hide: Callable[[Any], Any]) -> None:
    def body(n: int) -> Any:
        return see(hide(nums(n)))

    told = r"the output of 'nums'.* \(argument 'value' of the call of 'see'\): is out of reach"
    with pytest.raises(InvalidDag, match=told):
        dag(serializer=P)(body).__dag__()
    with pytest.raises(Exception, match=r"the promise of 'nums'.* is out of reach"):
        task(dynamic=True, serializer=P)(body).invoke(3)


def test_an_output_that_a_task_captures_is_refused() -> None:
    def body(n: int) -> Any:
        made = nums(n)

        @task(serializer=P)
        def inner(x: int) -> Any:
            return [x, made]

        return inner(n)

    told = r"'nums' in a function 'inner' \(the call of 'inner'\): is out of reach"
    with pytest.raises(InvalidDag, match=told):
        dag(serializer=P)(body).__dag__()
    with pytest.raises(Exception, match=told):
        task(dynamic=True, serializer=P)(body).invoke(3)


def test_what_a_task_does_to_what_it_captures_is_seen_around_it() -> None:
    seen: list[int] = []

    @dag(serializer=P)
    def d(n: int) -> Any:
        @task(serializer=P)
        def noted(x: int) -> int:
            seen.append(x)
            return x

        return [noted(n), noted(n)]

    assert d.invoke(1) == [1, 1]
    assert seen == [1, 1]


def test_a_returned_object_that_hides_an_output_is_refused() -> None:
    @dag(serializer=P)
    def d(n: int) -> Any:
        return {"a": Plain([nums(n)])}

    with pytest.raises(InvalidDag, match=r"in a Plain \(the returned value\): is out of reach"):
        invoke(d, {"n": 1})


@pytest.mark.parametrize("given", [see, nums, len, Box, closing_over, of_box, Box(1).see, functools.partial(len, [])])
def test_functions_tasks_and_classes_may_be_given(given: Any) -> None:
    @task(serializer=P)
    def name(value: Any) -> str:
        return type(value).__name__

    @dag(serializer=P)
    def d() -> Any:
        return [name(given), nums(1)]

    assert d.invoke() == from_bytes(d.__dag__()) == [type(given).__name__, [0]]
