"""What is called is the outermost function, and what its callers may give is what plain Python lets them give."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cloudpickle
import pytest

import dagcelery
from dagcelery import AsPickle, build, dag, task
from dagcelery.errors import InvalidDag, InvalidParameters
from dagcelery.signatures import Binding, parsed


def timed(fn: Callable[..., Any]) -> Any:
    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return inner


def connected(fn: Callable[..., Any]) -> Any:
    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return fn("connection", *args, **kwargs)

    return inner


def logged(fn: Callable[..., Any]) -> Any:
    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, log="log", **kwargs)

    return inner


def doubled(fn: Callable[..., Any]) -> Any:
    @functools.wraps(fn)
    def inner(value: int) -> Any:
        return fn(value, 2 * value)

    return inner


def by_name(fn: Callable[..., Any]) -> Any:
    @functools.wraps(fn)
    def inner(**kwargs: Any) -> Any:
        return fn(**kwargs)

    return inner


def counted(fn: Callable[..., Any]) -> Any:
    @functools.wraps(fn)
    def inner(*args: Any, times: int = 2, **kwargs: Any) -> Any:
        return [fn(*args, **kwargs)] * times

    return inner


def with_first(fn: Callable[..., Any]) -> Any:
    @functools.wraps(fn)
    def inner(x: Any, *args: Any, **kwargs: Any) -> Any:
        return fn(x + 1, *args, **kwargs)

    return inner


def with_its_own(fn: Callable[..., Any]) -> Any:
    @functools.wraps(fn)
    def inner(mine: Any, *args: Any, **kwargs: Any) -> Any:
        return [mine, fn(*args, **kwargs)]

    return inner


class Counted:
    def __init__(self, fn: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)


def told(fn: Callable[..., Any]) -> Any:
    """A decorator that says itself what is left to give, as those of libraries do."""

    def inner(*args: Any, **kwargs: Any) -> Any:
        return fn("told", *args, **kwargs)

    functools.update_wrapper(inner, fn)
    found = inspect.signature(fn)
    inner.__signature__ = found.replace(parameters=list(found.parameters.values())[1:])  # type: ignore[attr-defined]
    return inner


def pair(x: int, y: int) -> list[Any]:
    return [x, y]


def row(first: str, x: int, y: int = 1) -> list[Any]:
    return [first, x, y]


def noted(x: int, y: int = 1, *, log: str) -> list[Any]:
    return [x, y, log]


@pytest.mark.parametrize(
    ("fn", "args", "kwargs"),
    [
        pytest.param(timed(pair), (1, 2), {}, id="passes all on"),
        pytest.param(timed(pair), (), {"x": 1, "y": 2}, id="passes all on by name"),
        pytest.param(doubled(pair), (1,), {}, id="a parameter of its own"),
        pytest.param(doubled(pair), (), {"value": 1}, id="a parameter of its own by name"),
        pytest.param(timed(doubled(pair)), (1,), {}, id="passes on to one with a parameter of its own"),
        pytest.param(connected(row), (1,), {}, id="gives the first argument"),
        pytest.param(connected(row), (), {"x": 1, "y": 2}, id="gives the first argument, the others by name"),
        pytest.param(timed(connected(row)), (1, 3), {}, id="passes on to one that gives the first argument"),
        pytest.param(connected(timed(row)), (1, 3), {}, id="gives the first argument to one that passes on"),
        pytest.param(logged(noted), (1,), {}, id="gives an argument by name"),
        pytest.param(by_name(pair), (), {"x": 1, "y": 2}, id="takes names only"),
        pytest.param(counted(pair), (1, 2), {}, id="an option of its own, left out"),
        pytest.param(counted(pair), (1,), {"y": 2, "times": 3}, id="an option of its own"),
        pytest.param(with_first(pair), (1, 2), {}, id="names the first parameter, too"),
        pytest.param(with_first(pair), (), {"y": 2, "x": 1}, id="names the first parameter, too, by name"),
        pytest.param(with_its_own(pair), (1, 2, 3), {}, id="a first parameter of its own"),
        pytest.param(with_its_own(timed(row)), (1, "a"), {"x": 3}, id="a first parameter of its own before others"),
        pytest.param(told(row), (1,), {}, id="has a signature"),
        pytest.param(timed(told(row)), (1,), {}, id="passes on to one that has a signature"),
        pytest.param(doubled(told(row)), (1,), {}, id="a parameter of its own, but the other's signature"),
        pytest.param(Counted(pair), (1, 2), {}, id="an object that passes on"),
        pytest.param(functools.cache(pair), (1,), {"y": 2}, id="cached"),
        pytest.param(functools.partial(timed(pair), 1), (2,), {}, id="a partial of one that passes on"),
        pytest.param(functools.partial(doubled(pair)), (2,), {}, id="a partial of one with a parameter of its own"),
    ],
)
def test_a_task_takes_what_its_outermost_function_takes(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    decorated = task(fn)
    plain = fn(*args, **kwargs)

    @dag
    def uses() -> Any:
        return decorated(*args, **kwargs)

    inspect.signature(decorated).bind(*args, **kwargs)
    assert decorated(*args, **kwargs) == plain
    assert decorated.invoke(*args, **kwargs) == plain
    assert uses.invoke() == plain


@pytest.mark.parametrize(
    ("fn", "args", "kwargs"),
    [
        (timed(pair), (1,), {}),
        (doubled(pair), (), {"x": 1, "y": 2}),
        (connected(row), (), {"first": "mine", "x": 1}),
        (logged(noted), (1,), {"log": "mine"}),
        (by_name(pair), (1, 2), {}),
        (with_its_own(pair), (1, 2), {}),
        (with_first(pair), (1,), {}),
        (counted(pair), (1, 2), {"time": 3}),
    ],
)
def test_what_plain_python_refuses_is_refused_before_anything_runs(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    decorated = task(fn)

    @dag
    def uses() -> Any:
        return decorated(*args, **kwargs)

    with pytest.raises(TypeError):
        fn(*args, **kwargs)
    with pytest.raises(InvalidParameters):
        decorated.invoke(*args, **kwargs)
    with pytest.raises(InvalidDag):
        build(uses)


def test_a_dag_takes_what_its_outermost_function_takes() -> None:
    pairs = task(pair)

    def split(x: Any, y: Any) -> Any:
        return pairs(x=x, y=y)

    def swapped(fn: Callable[..., Any]) -> Any:
        @functools.wraps(fn)
        def inner(a: Any, b: Any) -> Any:
            return fn(b, a)

        return inner

    made = dag(swapped(split))

    assert made(1, 2) == [2, 1]
    assert made.invoke(1, b=2) == [2, 1]
    assert made.invoke(a=1, b=2) == [2, 1]


def test_a_wrapper_that_drops_names_is_refused_where_it_is_decorated() -> None:
    def positional(fn: Callable[..., Any]) -> Any:
        @functools.wraps(fn)
        def inner(*args: Any) -> Any:
            return fn(*args)

        return inner

    with pytest.raises(InvalidDag, match=r"'\*args' of pair\(.*cannot be given by name.*also take \*\*kwargs"):
        task(positional(pair))


def test_a_wrapper_whose_source_cannot_be_read_is_refused_in_a_sentence() -> None:
    found: dict[str, Any] = {}
    exec("def inner(*args, **kwargs): return fn('hidden', *args, **kwargs)", {"fn": row}, found)
    hidden = task(functools.wraps(row)(found["inner"]))

    assert hidden(1) == ["hidden", 1, 1]
    with pytest.raises(InvalidParameters, match=r"'x'.*where a decorator gives one of these itself, let its function"):
        hidden.invoke(1)


@pytest.mark.parametrize("use", [lambda found: dagcelery.invoke(found, {"x": 1, "y": 2}), build])
def test_a_decorator_above_task_is_told_to_go_beneath_it(use: Callable[[Any], Any]) -> None:
    with pytest.raises(InvalidDag, match=r"put @task or @dag on top of its other decorators"):
        use(timed(task(pair)))


class Shop:
    rate = 3

    def __init__(self, rate: int = 5) -> None:
        self.rate = rate

    @task
    @staticmethod
    def plain(x: int) -> int:
        return x

    @staticmethod
    @task
    def plain_outside(x: int) -> int:
        return x

    @task
    @classmethod
    def of_class(cls, x: int) -> int:
        return cls.rate * x

    @task
    def of_object(self, x: int) -> int:
        return self.rate * x

    @task
    @timed
    def of_wrapped(self, x: int) -> int:
        return self.rate * x

    @task
    def both(self, x: int, y: int) -> tuple[int, int, int]:
        return self.rate, x, y

    some = functools.partialmethod(both, 1)


@dag(serializer=AsPickle())
def shopping(x: Any) -> Any:
    here = Shop()
    return [
        *[Shop.plain(x), here.plain(x), here.plain_outside(x)],  # type: ignore[call-arg,arg-type]
        *[Shop.of_class(x), here.of_class(x), here.of_object(x), here.of_wrapped(x), here.some(x)],
    ]


def test_methods_of_all_kinds_are_tasks() -> None:
    assert shopping(2) == [2, 2, 2, 6, 6, 10, 10, (5, 1, 2)]
    assert shopping.invoke(2) == shopping(2)
    assert Shop.plain.invoke(2) == 2
    assert Shop().plain.invoke(2) == 2  # type: ignore[call-arg,arg-type]
    assert Shop().of_object.invoke(x=2) == 10


def test_python_says_of_an_async_task_that_it_is_async() -> None:
    # `inspect` asks the function's own code before Python 3.12.
    is_async = asyncio.iscoroutinefunction if sys.version_info < (3, 12) else inspect.iscoroutinefunction
    fetched = task(fetch)

    assert is_async(fetched)
    assert is_async(fetched.options(queue="io"))
    assert is_async(cloudpickle.loads(cloudpickle.dumps(fetched.options(queue="io"))))
    assert is_async(Fetching().fetch)
    assert not is_async(task(pair))
    assert not is_async(task(timed(pair)))


async def fetch(url: str) -> str:
    return url


class Fetching:
    @task
    async def fetch(self, url: str) -> str:
        return url


@pytest.mark.parametrize("decorate", [task, dag, task(dynamic=True)])
def test_an_async_generator_is_refused_where_it_is_decorated(decorate: Callable[[Any], Any]) -> None:
    async def pages(n: int) -> Any:
        yield n

    with pytest.raises(InvalidDag, match=r"'pages': is an async generator.*return them as a list"):
        decorate(pages)


def test_an_async_generator_may_be_collected_by_a_decorator() -> None:
    def collected(fn: Callable[..., Any]) -> Any:
        @functools.wraps(fn)
        async def inner(*args: Any, **kwargs: Any) -> list[Any]:
            return [each async for each in fn(*args, **kwargs)]

        return inner

    async def pages(n: int) -> Any:
        for page in range(n):
            yield page

    assert task(collected(pages)).invoke(2) == [0, 1]


def test_the_body_of_a_dag_may_yield_what_it_gives_back() -> None:
    @dag
    def each(n: int) -> Any:
        yield task(pair)(n, 1)
        yield n

    assert each.invoke(2) == list(each(2)) == [[2, 1], 2]


def test_what_was_written_onto_a_function_does_not_replace_what_a_task_can() -> None:
    def power(x: int) -> int:
        return x * x

    own = ("invoke", "submit", "options", "after", "fn", "static", "forget", "_fn", "_bound", "_options", "_signature")
    for name in own:
        setattr(power, name, "mine")
    power.version = 3  # type: ignore[attr-defined]

    for made in (task(power), task(functools.wraps(task(power))(lambda x: x * x))):
        assert made.invoke(3) == made(3) == 9
        assert made.options(queue="gpu").fn(2) == 4
        assert made.version == 3
    assert dag(power)(3) == 9
    assert dag(power).static == ()


TAKEN = ("self", "cls", "node", "params", "args", "kwargs", "fn", "key", "client", "name", "arguments", "function")


@pytest.mark.parametrize("name", TAKEN)
def test_a_parameter_may_have_any_name(name: str) -> None:
    found: dict[str, Any] = {}
    exec(f"def same({name}): return {name}\ndef uses({name}): return inner({name})", found)
    same = found["inner"] = task(found["same"])
    uses = dag(found["uses"])

    assert same(**{name: 1}) == same.invoke(**{name: 1}) == same.invoke(1) == 1
    assert uses(**{name: 1}) == uses.invoke(**{name: 1}) == uses.invoke(1) == 1


@pytest.mark.parametrize("name", [*TAKEN, "rest"])
def test_a_key_of_the_rest_may_have_any_name(name: str) -> None:
    @task
    def collected(**rest: int) -> dict[str, int]:
        return rest

    @dag
    def uses() -> Any:
        return collected(**{name: 1, "other": 2})

    assert collected.invoke(**{name: 1, "other": 2}) == {name: 1, "other": 2}
    assert uses.invoke() == {name: 1, "other": 2}


def test_a_static_parameter_may_be_called_self() -> None:
    @dag(static=("self",))
    def repeated(self: int, x: int) -> Any:
        return [task(pair)(x, each) for each in range(self)]

    assert repeated.invoke(self=2, x=5) == [[5, 0], [5, 1]]


@pytest.mark.parametrize("name", ["संख्या", "ข้อมูล", "größe", "数", "ﬁ", "x·y", "_1", "பெயர்", "ગુજરાતી"])
def test_whatever_python_calls_a_name_is_a_name(name: str) -> None:
    found: dict[str, Any] = {}
    exec(f"def {name}({name}): return {name}", found)
    (made,) = [each for key, each in found.items() if key != "__builtins__"]
    same = task(made)
    found["inner"] = same
    exec(f"def {name}({name}): return {{'{name}': inner({name})}}", found)
    uses = dag(found[made.__name__])

    assert same.invoke(1) == 1
    assert uses.invoke(1) == {name: 1}
    assert list(build(uses).nodes) == [made.__name__]


def test_threads_read_sources_side_by_side() -> None:
    source = "def f(x):\n" + "".join(f"    x = [[({number}, x)], {{'a': lambda y: (y, x)}}]\n" for number in range(150))
    with ThreadPoolExecutor(8) as threads:
        trees = list(threads.map(lambda _: parsed(source), range(24)))
    assert {len(tree.body) for tree in trees} == {1}


def bound(bind: Callable[..., Any], args: tuple[int, ...], kwargs: dict[str, int]) -> list[Any] | None:
    try:
        return list(bind(args, kwargs).items())
    except TypeError:
        return None


@pytest.mark.parametrize(
    "text", ["", "a", "a, b=1", "a, *, b", "a=1, *, b=2", "a, /, b", "a, /, **rest", "a, *args, b=1, **rest", "**rest"]
)
def test_arguments_are_bound_as_inspect_binds_them(text: str) -> None:
    signature = inspect.signature(eval(f"lambda {text}: None"))
    binding = Binding(signature)
    for args in ((), (1,), (1, 2), (1, 2, 3)):
        for names in ((), ("a",), ("b",), ("b", "a"), ("x",), ("rest", "a")):
            given = args, dict.fromkeys(names, 4)
            expected = bound(lambda args, kwargs: signature.bind(*args, **kwargs).arguments, *given)
            assert bound(binding.arguments, *given) == expected
            assert args or expected is not None or not binding.fits(given[1].keys())
