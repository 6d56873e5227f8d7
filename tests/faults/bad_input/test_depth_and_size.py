"""Values that contain themselves, nest deeply or have no text are carried, or refused by name: never a bare error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

import pytest

from dagcelery import AsPickle, Cache, Retry, dag, task
from dagcelery.client import invoke
from dagcelery.errors import DagceleryError, InvalidDag, NodeFailed, SerializationError
from dagcelery.model import DAG, FromParam, ListOf, Literal, Task

BIG = 10**5000


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@task
def look(x: Any) -> int:
    return 1


@task
def pair(x: Any, y: Any) -> int:
    return 1


def nested(levels: int, wrap: Callable[[Any], Any] = lambda value: [value]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "lists": lambda value: [value],
    "tuples": lambda value: (value,),
    "dicts": lambda value: {"k": value},
    "lists in tuples": lambda value: ([value],),
    "both": lambda value: {"k": (value, [value])} if isinstance(value, int) else {"k": [value]},
}


def depth_of(value: Any) -> int:
    levels = 0
    while isinstance(value, list):
        value, levels = value[0], levels + 1
    return levels


def circle() -> Any:
    row: list[Any] = [1]
    row.append({"rows": (row,)})
    return row


def with_literal(value: Any) -> Any:
    @dag
    def holding(n: int = 1) -> Any:
        return look(value)

    return holding


def with_literal_in_a_loop(value: Any) -> Any:
    @dag
    def holding(xs: list[int]) -> Any:
        return [pair(x, value) for x in xs]

    return holding


def returning(value: Any) -> Any:
    @dag
    def giving(n: int = 1) -> Any:
        look(n)
        return value

    return giving


def with_default(value: Any) -> Any:
    @task
    def having(n: int = 1, x: Any = value) -> int:
        return 1

    return having


def declared(value: Any) -> DAG:
    return DAG(
        {"look": Task(lambda x: 1, {"x": FromParam("x", default_value=value)})},
        {"x": FromParam("x", default_value=value)},
    )


PLACES: dict[str, Callable[[Any], Any]] = {
    "a literal": lambda value: with_literal(value).invoke(),
    "a literal in a loop": lambda value: with_literal_in_a_loop(value).invoke(xs=[1, 2]),
    "what a body returns": lambda value: returning(value).invoke(),
    "a default": lambda value: with_default(value).invoke(),
    "a declared literal": lambda value: Task(lambda x: 1, {"x": Literal(value)}),
    "a declared default": declared,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_value_that_contains_itself_is_refused_with_the_place(place: str) -> None:
    with pytest.raises(InvalidDag, match=r"contains itself at \[1\]\['rows'\]\[0\]; break the cycle"):
        PLACES[place](circle())


@pytest.mark.parametrize("kind", WRAPPERS)
@pytest.mark.parametrize("place", PLACES)
def test_a_value_that_is_nested_deeply_works_up_to_a_bound_that_is_told(place: str, kind: str) -> None:
    PLACES[place](nested(40, WRAPPERS[kind]))
    for levels in (250, 5000):
        with pytest.raises(InvalidDag, match=r"is nested more than 100 levels deep, at .*; make it flatter"):
            PLACES[place](nested(levels, WRAPPERS[kind]))


def test_sources_that_are_nested_deeply_are_refused() -> None:
    source: Any = FromParam()
    for _ in range(2000):
        source = ListOf((source,))
    with pytest.raises(InvalidDag, match="nests lists or dicts of sources more deeply than Python can follow"):
        DAG({"look": Task(lambda x: 1, {"x": FromParam()})}, {"x": FromParam()}, returns=source)


@pytest.mark.parametrize("kind", ["lists", "tuples", "dicts"])
def test_parameters_and_results_may_be_deep(kind: str) -> None:
    value = nested(250, WRAPPERS[kind])

    @task
    def same(x: Any) -> Any:
        return x

    @task(serializer=AsPickle())
    def pickled(x: Annotated[Any, AsPickle()]) -> Any:
        return x

    assert pickled.invoke(value) == value
    assert str(same.invoke(value)).replace("(", "[").replace(",)", "]").replace(")", "]") == str(value).replace(
        "(", "["
    ).replace(",)", "]").replace(")", "]")


def made(what: str) -> Any:
    return {"a circle": circle, "depth": lambda: nested(5000), "an int": lambda: [{"when": BIG}]}[what]()


@task
def give(what: str) -> Any:
    return made(what)


@task(serializer=AsPickle())
def give_pickled(what: str) -> Any:
    return made(what)


REFUSED = {
    "a circle": r"at \[1\]\['rows'\]\[0\]: contains itself",
    "depth": "is nested too deeply for JSON",
    "an int": r"at \[0\]\['when'\]: is an int of about 5,001 digits",
}


@pytest.mark.parametrize("what", REFUSED)
def test_parameters_and_results_that_json_cannot_say_are_named_with_their_path(what: str) -> None:
    with pytest.raises(SerializationError, match=REFUSED[what]):
        look.invoke(made(what))
    with pytest.raises(NodeFailed, match=REFUSED[what]):
        give.invoke(what)


def test_pickle_carries_circles_and_large_ints_and_names_what_is_too_deep() -> None:
    row = give_pickled.invoke("a circle")
    assert row[1]["rows"][0] is row
    assert give_pickled.invoke("an int") == [{"when": BIG}]
    try:  # how deep pickle goes is up to Python: 3.14 goes deeper
        told = str(depth_of(give_pickled.invoke("depth")))
    except NodeFailed as error:
        told = str(error)
    assert re.search(r"cannot be pickled: .*deep recursion|^5000$", told)


@pytest.mark.parametrize("value", [BIG, [BIG], {BIG}, {"a": BIG}, {BIG: 1}, (BIG, {BIG, -BIG}), {(BIG,)}], ids=type)
def test_a_literal_may_be_an_int_of_any_size(value: Any) -> None:
    @task
    def is_it(x: Any) -> bool:
        return bool(x == value)

    @dag
    def holding(xs: list[int]) -> Any:
        return [is_it(value), [pair(x, value) for x in xs]]

    assert holding.invoke(xs=[1, 2]) == [True, [1, 1]]


def test_a_default_that_json_cannot_say_is_refused_with_its_name() -> None:
    with pytest.raises(SerializationError, match="parameter 'x': is an int of about 5,001 digits"):
        with_default(BIG).invoke()


# -- DAGs in DAGs -------------------------------------------------------------------------------
def within(levels: int, *, is_mapped: bool) -> Any:
    inner: Any = look

    def wrapped(inner: Any) -> Any:
        @dag
        def outer(x: Any) -> Any:
            return [inner(one) for one in x] if is_mapped else inner(x)

        return outer

    for _ in range(levels):
        inner = wrapped(inner)
    return inner


@pytest.mark.parametrize("is_mapped", [False, True])
def test_dags_may_be_nested_up_to_a_bound_that_is_told(is_mapped: bool) -> None:
    value = nested(30)
    assert str(within(30, is_mapped=is_mapped).invoke(value)) == (str(value) if is_mapped else "1")
    for levels in (150, 1500):
        with pytest.raises(InvalidDag, match=r"is nested in 100 others|nests DAGs .* more deeply than Python"):
            within(levels, is_mapped=is_mapped).invoke(value)


def test_dags_that_are_declared_are_nested_as_deeply_as_can_be_planned() -> None:
    inner: Any = Task(lambda x: 1, {"x": FromParam("x")})
    for _ in range(5000):
        inner = DAG({"inner": inner}, {"x": FromParam("x")})
    try:
        invoke(inner, {"x": 1})
    except InvalidDag as error:
        assert "more deeply" in str(error)  # noqa: PT017


# -- options and calls --------------------------------------------------------------------------
TOLD: dict[str, Callable[[Any], Any]] = {
    "queue": lambda value: task(queue=value)(lambda x: x),
    "timeout": lambda value: task(timeout=value)(lambda x: x),
    "taint": lambda value: task(taint=value)(lambda x: x),
    "taints": lambda value: task(taint=[value])(lambda x: x),
    "serializer": lambda value: task(serializer=value)(lambda x: x),
    "retry": lambda value: task(retry=value)(lambda x: x),
    "attempts": lambda value: Retry(max_attempts=value),
    "cache": lambda value: task(cache=value)(lambda x: x),
    "ttl": lambda value: Cache(ttl=value),
    "cache key": lambda value: Cache(ttl=1, key=value),
    "hook": lambda value: dag(on_success=value)(lambda x: look(x)),
    "decorated": lambda value: task(value),
    "deadline": lambda value: with_literal(1).options(deadline=value),
    "invoked": lambda value: invoke(value),
    "invoked parameters": lambda value: invoke(with_literal(1), value),
    "a parameter's name": lambda value: invoke(with_literal(1), {value: 1}),
    "a node's name": lambda value: DAG({value: Task(lambda: 1)}),
    "an output's key": lambda value: returning(1) and _indexed(value).invoke(),
}


def _indexed(key: Any) -> Any:
    @dag
    def asking(n: int = 1) -> Any:
        return give("an int")[key]

    return asking


@pytest.mark.parametrize("value", [BIG, -BIG, Broken()], ids=["large", "negative", "broken"])
@pytest.mark.parametrize("option", TOLD)
def test_what_is_said_of_an_option_never_fails_itself(option: str, value: Any) -> None:
    try:
        TOLD[option](value)
    except DagceleryError as error:
        assert len(str(error)) < 1000  # noqa: PT017
        assert "4300" not in str(error)  # noqa: PT017
    else:
        assert option in ("ttl", "attempts")  # large ones are ordinary numbers
