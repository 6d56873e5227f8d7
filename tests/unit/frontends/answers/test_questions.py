"""A body asks its values nothing: what Python would answer by itself, without the value, is refused."""

from __future__ import annotations

import functools
import json  # noqa: F401 (questions name it)
import linecache
import operator  # noqa: F401 (questions name it)
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dagcelery import Workflow, build, dag, task, when  # noqa: F401 (questions name when)
from dagcelery.errors import InvalidDag, NodeFailed

from .notebook import Notebook
from .vocabulary import add, double, echo, numbers  # noqa: F401 (questions name numbers)

NAMES = {1: "one", 2: "two"}
CHOSEN = frozenset({1, 2})


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


@dag
def inner(x: Any) -> Any:
    return double(x)


ON_ONE_LINE: tuple[Callable[[Any], Any], ...] = (lambda x: x, lambda x: x is None, lambda x: [lambda: id(x)][0]())
whole, compared, inward = ON_ONE_LINE


QUESTIONS = [
    "return echo('none' if n is None else 'some')",
    "if n is not None:\n    return echo('some')\nreturn echo('none')",
    "return echo(n in frozenset({5}))",
    "known = set([1, 2])\nreturn echo('known' if n in known else 'new')",
    "return echo(len({5, n}))",
    "return echo([str(each) for each in map(type, [n])])",
    "return echo(','.join(map(repr, [n, double(n)])))",
    "return echo(f'{(n,)}')",
    "return echo(json.dumps({'n': 1, 'found': 2}) + json.dumps(n, default=repr))",
    "return echo(sorted([n, double(n)], key=repr))",
    "found = double(n)\nreturn echo(found is None)",
    "return echo(inner(n) is not None)",
    "return echo(echo(n)['key'].attribute is None)",
    "return [echo(x is None) for x in numbers(n)]",
    "found = []\nfor _index, x in enumerate(numbers(n)):\n    found.append(echo(x is None))\nreturn found",
    "found = []\nfor _ in range(3):\n    found.append(double(n))\nreturn echo([each is None for each in found])",
    "one, other = double(n), 2\nreturn echo([other is None, one is None])",
    "return when(n, lambda: echo('none' if n is None else 'some'), lambda: echo(0))",
    "return echo(when(n, lambda: double(n)) is None)",
    "m = n\nreturn echo(m is None)",
    "return echo('none' if (m := double(n)) is None else m)",
    "return echo(double.options(name='d').after(n)(n) is None)",
    "m = double(n) if CHOSEN else echo(n)\nreturn echo(m is None)",
    "return echo(n is True)",
    "return echo(double(n) is double(n))",
    "return echo(operator.is_(n, None))",
    "return echo(compared(n))",
    "return echo(inward(n))",
    "return echo(type(n).__name__)",
    "return echo(n.__class__.__name__)",
    "return echo('int' if isinstance(n, int) else 'other')",
    "return echo(callable(n))",
    "return echo(hasattr(n, 'shape'))",
    "return echo(getattr(n, 'shape', None))",
    "return echo(repr(n))",
    "return echo(f'{n!r}')",
    "return echo('%r' % (n,))",
    "return echo('{!r}'.format(n))",
    "return echo(str([n]))",
    "return echo(f'{[n]}')",
    "return echo(id(n))",
    "return echo({1: 'a'}.get(n))",
    "return echo(NAMES.get(n, 'many'))",
    "return echo(NAMES[n])",
    "return echo(n in {1, 2})",
    "return echo(n not in CHOSEN)",
    "match n:\n    case None:\n        return echo('none')\n    case _:\n        return echo('some')",
    "match n:\n    case [_, *_]:\n        return echo('some')\n    case other:\n        return echo(other)",
    "return echo(passed_on(n))",
    "return echo(as_list(n))",
    "def is_there(value): return value is not None\nreturn echo(is_there(n))",
    "for _ in range(2):\n    n = double(n)\nreturn echo(n is None)",
    "return echo(await double(n) is None)",
]


def written(lines: str, decorator: str = "") -> Any:
    """A function with this body, whose source can be read as that of a file."""
    kind = "async def" if "await" in lines else "def"
    text = f"{decorator}\n{kind} body(n=None):\n{textwrap.indent(lines, '    ')}\n"
    file, names = f"<{lines}>", dict(globals())
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    exec(compile(text, file, "exec"), names)
    return names["body"]


@pytest.mark.parametrize("lines", QUESTIONS)
def test_a_question_without_an_answer_is_refused(lines: str) -> None:
    for decorator in ("", "@through"):
        if decorator and "await" in lines:
            continue
        with pytest.raises(InvalidDag, match=r"line \d+ of '.*asks .*a value only when.*in a task"):
            build(dag(written(lines, decorator)))


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
