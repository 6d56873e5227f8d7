"""Of an annotation everything is read that can be, though a name in it is there for type checkers only."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from dagcelery import AsPickle, build, dag, task
from dagcelery.model import FromParam, Task
from dagcelery.signatures import hints

if TYPE_CHECKING:
    from nowhere import Row, rows  # type: ignore[import-not-found]


def of(decorated: Any) -> Task:
    (node,) = build(decorated).nodes.values()
    assert isinstance(node, Task)
    return node


def serializer(decorated: Any, name: str) -> object:
    source = build(decorated).inputs[name]
    assert isinstance(source, FromParam)
    return source.serializer


def functions_annotated_by(flags: int) -> dict[str, Any]:
    file = Path(__file__).with_name("annotated.py")
    names: dict[str, Any] = {"__name__": f"{__package__}.annotated"}
    exec(compile(file.read_text(), file, "exec", flags, dont_inherit=True), names)
    return names


TEXTS = pytest.param(functions_annotated_by(annotations.compiler_flag), id="texts")
WAYS = [TEXTS, pytest.param(functions_annotated_by(0), id="evaluated")] if sys.version_info >= (3, 14) else [TEXTS]


@pytest.mark.parametrize("names", WAYS)
def test_a_serializer_is_read_beside_a_name_that_cannot_be(names: dict[str, Any]) -> None:
    assert serializer(names["pickled"], "xs") == AsPickle()
    assert of(names["pickled"]).outputs["return_value"].serializer == AsPickle()
    assert names["pickled"].invoke({1, 2}) == {"1": 1, "2": 2}


@pytest.mark.parametrize("names", WAYS)
def test_laziness_is_read_beside_a_name_that_cannot_be(names: dict[str, Any]) -> None:
    assert of(names["lazy"]).options.lazy == {"xs", "ys"}


@pytest.mark.parametrize("names", WAYS)
def test_a_tuple_has_its_parts_beside_a_name_that_cannot_be_read(names: dict[str, Any]) -> None:
    several, parts = names["several"], names["parts"]

    @dag(serializer=AsPickle())
    def uses(n: int) -> Any:
        a, b = several(n)
        train, test = parts(n)
        return [b, a, test, train]

    assert uses.invoke(1) == uses(1) == [2, 1, [1], [1]]


def test_what_is_quoted_in_part_is_read_as_well() -> None:
    def quoted(xs: object, ys: object) -> object:
        raise NotImplementedError

    quoted.__annotations__ = {
        "xs": Annotated[Iterable["Row"], AsPickle()],
        "ys": Annotated["Iterable[Row]", 1],
        "return": list["Pair"],
    }

    assert of(task(quoted)).options.lazy == {"xs", "ys"}
    assert hints(quoted)["return"] == list[Pair]


def test_an_annotation_that_raises_takes_nothing_from_the_others() -> None:
    def odd(a: 1 / 0, b: Iterable[int], c: Any["x"], d: Row | None) -> rows.Table:  # type: ignore[valid-type]  # noqa
        raise NotImplementedError

    assert hints(odd) == {"b": Iterable[int]}


def test_what_is_imported_later_is_read_then() -> None:
    def late(xs: NotYet) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert hints(late) == {}
    globals()["NotYet"] = Iterable[int]
    try:
        assert hints(late) == {"xs": Iterable[int]}
    finally:
        del globals()["NotYet"]


def test_annotations_may_name_what_a_function_captures() -> None:
    local = AsPickle()

    def captures(x: Annotated[Row, local]) -> object:
        return local

    assert serializer(task(captures), "x") is local


def test_annotations_are_those_of_the_function_that_names_the_parameters() -> None:
    def wrapped(fn: Callable[..., Any]) -> Callable[..., Any]:
        def inner(xs: Iterable[int]) -> Annotated[object, AsPickle()]:
            return fn(xs)

        inner.__wrapped__ = fn  # type: ignore[attr-defined]
        return inner

    def inside(xs: Annotated[list[int], AsPickle()]) -> int:
        return len(xs)

    found = of(task(wrapped(inside)))

    assert found.options.lazy == {"xs"}
    assert found.outputs["return_value"].serializer == AsPickle()


def timed(fn: Callable[..., Any]) -> Callable[..., Any]:
    inner: Callable[..., Any] = eval("lambda *args, **kwargs: fn(*args, **kwargs)", {"fn": fn})
    return functools.wraps(fn)(inner)


def test_wrappers_of_other_modules_keep_the_names_of_the_functions_own() -> None:
    def inside(xs: MODULE_ONLY) -> None: ...  # type: ignore[valid-type]

    assert hints(timed(inside)) == {"xs": MODULE_ONLY}
    assert hints(functools.partial(timed(inside))) == {"xs": MODULE_ONLY}


def test_a_class_is_annotated_by_its_constructor() -> None:
    class Model:
        xs: int = 0

        def __init__(self, xs: Iterable[Row]) -> None:
            self.total = sum(xs)

    assert of(task(Model)).options.lazy == {"xs"}


MODULE_ONLY = Iterable[str]
Pair = tuple[int, int]
