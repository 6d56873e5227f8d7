"""A body asks its values nothing: what Python would answer by itself, without the value, is refused."""

from __future__ import annotations

import functools
import json
import operator
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dagcelery import Workflow, build, dag, task, when
from dagcelery.errors import InvalidDag, NodeFailed

from .notebook import Notebook
from .vocabulary import add, double, echo, numbers

BODIES: dict[str, Callable[..., Any]] = {}
NAMES = {1: "one", 2: "two"}
CHOSEN = frozenset({1, 2})


def asks(body: Callable[..., Any]) -> Callable[..., Any]:
    BODIES[body.__name__] = body
    return body


def is_given(value: object) -> bool:
    return value is not None


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def passed_on(value: Any) -> Any:
    return is_given(value)


def through(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@asks
def a_default(n: Any = None) -> Any:
    return echo("none" if n is None else "some")


@asks
def a_frozen_set(n: Any) -> Any:
    return echo(n in frozenset({5}))


@asks
def a_set_of_a_list(n: Any) -> Any:
    known = set([1, 2])  # noqa: C405
    return echo("known" if n in known else "new")


@asks
def how_many_differ(n: Any) -> Any:
    return echo(len({5, n}))


@asks
def the_types_of_some(n: Any) -> Any:
    return echo([str(each) for each in map(type, [n])])


@asks
def the_texts_of_some(n: Any) -> Any:
    return echo(",".join(map(repr, [n, double(n)])))


@asks
def a_text_of_a_tuple(n: Any) -> Any:
    return echo(f"{(n,)}")


@asks
def a_text_of_a_library(n: Any) -> Any:
    return echo(json.dumps({"n": 1, "found": 2}) + json.dumps(n, default=repr))


@asks
def an_order_by_text(n: Any) -> Any:
    return echo(sorted([n, double(n)], key=repr))


@asks
def a_statement(n: Any) -> Any:
    if n is not None:
        return echo("some")
    return echo("none")


@asks
def the_result_of_a_task(n: Any) -> Any:
    found = double(n)
    return echo(found is None)


@dag
def inner(x: Any) -> Any:
    return double(x)


@asks
def the_result_of_a_nested_dag(n: Any) -> Any:
    return echo(inner(n) is not None)


@asks
def a_part_of_a_result(n: Any) -> Any:
    return echo(echo(n)["key"].attribute is None)


@asks
def an_element(n: Any) -> Any:
    return [echo(x is None) for x in numbers(n)]


@asks
def an_element_of_a_loop(n: Any) -> Any:
    found = []
    for _index, x in enumerate(numbers(n)):
        found.append(echo(x is None))
    return found


@asks
def one_of_a_list_that_grew(n: Any) -> Any:
    found = []
    for _ in range(3):
        found.append(double(n))  # noqa: PERF401
    return echo([each is None for each in found])


@asks
def one_of_a_pair(n: Any) -> Any:
    one, other = double(n), 2
    return echo([other is None, one is None])


@asks
def within_a_branch(n: Any) -> Any:
    return when(n, lambda: echo("none" if n is None else "some"), lambda: echo(0))


@asks
def what_a_branch_gave(n: Any) -> Any:
    return echo(when(n, lambda: double(n)) is None)


@asks
def another_name(n: Any) -> Any:
    m = n
    return echo(m is None)


@asks
def a_walrus(n: Any) -> Any:
    return echo("none" if (m := double(n)) is None else m)


@asks
def a_variant_of_a_task(n: Any) -> Any:
    return echo(double.options(name="d").after(n)(n) is None)


@asks
def on_both_paths(n: Any) -> Any:
    m = double(n) if CHOSEN else echo(n)
    return echo(m is None)


@asks
def a_singleton(n: Any) -> Any:
    return echo(n is True)


@asks
def two_outputs(n: Any) -> Any:
    return echo(double(n) is double(n))


@asks
def a_function_of_the_operator_module(n: Any) -> Any:
    return echo(operator.is_(n, None))


@asks
def its_type(n: Any) -> Any:
    return echo(type(n).__name__)


@asks
def its_class(n: Any) -> Any:
    return echo(n.__class__.__name__)


@asks
def whether_it_is_an_int(n: Any) -> Any:
    return echo("int" if isinstance(n, int) else "other")


@asks
def whether_it_can_be_called(n: Any) -> Any:
    return echo(callable(n))


@asks
def whether_it_has_an_attribute(n: Any) -> Any:
    return echo(hasattr(n, "shape"))


@asks
def an_attribute_with_a_default(n: Any) -> Any:
    return echo(getattr(n, "shape", None))


@asks
def its_repr(n: Any) -> Any:
    return echo(repr(n))


@asks
def its_repr_in_text(n: Any) -> Any:
    return echo(f"{n!r}")


@asks
def its_repr_by_a_template(n: Any) -> Any:
    return echo("%r" % (n,))  # noqa: UP031


@asks
def its_repr_by_a_format(n: Any) -> Any:
    return echo("{!r}".format(n))  # noqa: UP032


@asks
def the_text_of_a_list_of_it(n: Any) -> Any:
    return echo(str([n]))


@asks
def a_list_of_it_in_text(n: Any) -> Any:
    return echo(f"{[n]}")


@asks
def the_id(n: Any) -> Any:
    return echo(id(n))


@asks
def a_dict(n: Any) -> Any:
    return echo({1: "a"}.get(n))


@asks
def a_dict_of_the_module(n: Any) -> Any:
    return echo(NAMES.get(n, "many"))


@asks
def a_key(n: Any) -> Any:
    return echo(NAMES[n])


@asks
def a_set(n: Any) -> Any:
    return echo(n in {1, 2})


@asks
def a_set_of_the_module(n: Any) -> Any:
    return echo(n not in CHOSEN)


@asks
def a_match(n: Any) -> Any:
    match n:
        case None:
            return echo("none")
        case _:
            return echo("some")


@asks
def a_match_of_a_list(n: Any) -> Any:
    match n:
        case [_, *_]:
            return echo("some")
        case other:
            return echo(other)


@asks
def a_function_of_the_module(n: Any) -> Any:
    return echo(passed_on(n))


@asks
def a_function_that_looks_at_the_type(n: Any) -> Any:
    return echo(as_list(n))


@asks
def a_function_within(n: Any) -> Any:
    def is_there(value: Any) -> bool:
        return value is not None

    return echo(is_there(n))


@asks
@through
def a_decorated_body(n: Any) -> Any:
    return echo(n is None)


@asks
def after_a_loop(n: Any) -> Any:
    for _ in range(2):
        n = double(n)
    return echo(n is None)


@asks
async def an_awaited_result(n: Any) -> Any:
    return echo(await double(n) is None)


@pytest.mark.parametrize("name", BODIES)
def test_a_question_without_an_answer_is_refused(name: str) -> None:
    with pytest.raises(InvalidDag, match=r"line \d+ of '.*asks .*a value only when.*in a task"):
        build(dag(BODIES[name]))


def test_the_error_names_line_question_and_remedy() -> None:
    @dag
    def d(n: int | None = None) -> Any:
        return echo("none" if n is None else "some")

    with pytest.raises(InvalidDag) as caught:
        d.invoke()
    line = d.fn.__code__.co_firstlineno + 2
    assert str(caught.value) == (
        f"'n is None' in line {line} of 'd': asks which object 'n' is, but it has a value only when the DAG runs; "
        "choose with when(...), or decide in a task, or let the DAG know its value: @dag(static=('n',))"
    )


class Shop:
    """Has a DAG among its methods."""

    rate: int | None = None
    tax = 2

    @dag
    def total(self, n: int) -> Any:
        return add(n, 1 if self.rate is None else self.rate)

    def helped(self, n: Any) -> bool:
        return n is None

    @dag
    def asking(self, n: int) -> Any:
        return echo(self.helped(n))


def test_an_object_is_there_and_its_methods_are_followed() -> None:
    assert Shop().total.invoke(1) == 2
    with pytest.raises(InvalidDag, match=r"'n is None' in line .* of 'helped'"):
        Shop().asking.invoke(1)


def test_values_that_are_there_may_be_asked_anything() -> None:
    limit, chosen = None, [1, None]

    @dag(static=("mode", "model"))
    def d(n: int, mode: str | None = None, model: Any = None) -> Any:
        print(repr(n), f"{n!r}")
        if mode is None or isinstance(mode, int):
            mode = "none"
        if model is None:
            model = double(n)
        found = None
        for at in range(2):
            found = double(at) if found is None else add(found, at)
        maybe = double(n) if mode == "some" else None
        more = [] if maybe is None else [maybe]
        named = {"none": 1, "some": 2}.get(mode, 3)
        row = (n, None)
        same = [x for x in chosen if x is not None]
        texts = [f"{at!r}" for at in (limit, named)]
        n = echo(texts)
        if hasattr(d, "fn") and callable(echo) and type(at) is int and row[1] is None:
            return [model, found, *more, n, same, repr(same), limit is None]
        return echo(n)

    assert d.invoke(n=1) == [2, 1, ["None", "1"], [1], "[1]", True]
    assert d.invoke(n=1, mode="some", model=5) == [5, 1, 2, ["None", "2"], [1], "[1]", True]


def test_a_body_without_a_source_is_asked_by_its_code() -> None:
    for asked in ("n is None", "None is n", "repr(n)", "type(n)", "isinstance(n, int)", "f'{n!r}'", "hasattr(n, 'x')"):
        notebook = Notebook(f"@dag\ndef d(n): return tell({asked})\n@task\ndef tell(x): return x")
        with pytest.raises(InvalidDag, match="'n'"):
            build(notebook.names["d"])


def test_what_is_there_may_be_asked_in_a_body_without_a_source() -> None:
    notebook = Notebook("K = 1\n@task\ndef tell(x): return x")
    notebook.run(
        """
        @dag(static=("k",))
        def d(n, m, k=None):
            print(repr(n))
            if k is None and type(k) is not int:
                m = K
            return [tell(n), tell(m is K)]
        """
    )
    assert notebook.names["d"].invoke(n=1, m=2) == [1, True]


# --- running tasks ---


@task(dynamic=True)
def growing(n: int) -> Any:
    found = double(n) if n is not None else None
    return echo("none" if found is None else "some")


@task(dynamic=True)
def grown(n: int | None) -> Any:
    found = double(2)
    return add(found, 1) if n is None else found


class Crawl(Workflow):
    @task
    def get(self, n: int) -> int:
        return n

    def entrypoint(self, n: int) -> Any:
        return self.get(1) if self.get(n) is None else self.get(2)


@task(dynamic=True)
def asking(n: int) -> Any:
    return echo(repr(double(n)))


@pytest.mark.parametrize("node", [asking, Crawl()])
def test_a_promise_is_asked_nothing(node: Any) -> None:
    with pytest.raises(NodeFailed, match="in the tasks that take it"):
        node.invoke(1)


def test_values_of_a_running_task_may_be_asked() -> None:
    assert grown.invoke(None) == 5
    assert grown.invoke(1) == 4


# --- threads ---


@pytest.mark.parametrize("wrapped", [lambda x: x, lambda x: [{"a": (x,)}], lambda x: {1: [x]}])
def test_a_call_in_a_thread_of_a_body_is_refused(wrapped: Callable[[Any], Any]) -> None:
    @dag
    def d(n: int) -> Any:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(echo, [wrapped(double(n))]))

    with pytest.raises(InvalidDag, match=r"call of 'echo' with the output of 'double'.*another thread"):
        build(d)


def test_a_call_in_a_thread_is_refused_even_if_nobody_asks_what_became_of_it() -> None:
    @dag
    def inner(x: int) -> Any:
        return double(x)

    @dag
    def d(n: int) -> Any:
        with ThreadPoolExecutor() as pool:
            pool.submit(inner, n)
        return double(n)

    with pytest.raises(InvalidDag, match="call of 'inner' with parameter 'n'"):
        build(d)


def test_a_call_after_the_body_with_what_it_left_is_refused() -> None:
    left: list[Any] = []

    @dag
    def d(n: int) -> Any:
        left.append(double(n))
        return left[-1]

    build(d)
    with pytest.raises(InvalidDag, match="after its end"):
        echo(left[0])


def test_plain_calls_in_threads_are_plain_while_a_body_runs() -> None:
    row: list[Any] = [1]
    row.append(row)
    answers: list[Any] = []

    @dag
    def d(n: int) -> Any:
        thread = threading.Thread(target=lambda: answers.append(echo(row)))
        thread.start()
        thread.join()
        return double(n)

    assert d.invoke(2) == 4
    assert [each is row for each in answers] == [True]
