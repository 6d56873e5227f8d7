"""Bodies that ask only what is there: nothing in them is refused, and they mean what plain Python means."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from dagcelery import dag
from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional import source_code

from .vocabulary import add, double, echo

BODIES: dict[str, Callable[..., Any]] = {}
SETTINGS: dict[str, Any] = {"rate": 0.1}
IS_STRICT = False
log = logging.getLogger(__name__)


def right(body: Callable[..., Any]) -> Callable[..., Any]:
    BODIES[body.__name__] = body
    return body


def with_more(n: Any, more: Any = None) -> Any:
    return double(n) if more is None else add(n, more)


def checked(n: Any, is_checked: bool = False) -> Any:
    if is_checked and n is None:
        raise ValueError
    if is_checked:  # noqa: SIM102
        if not isinstance(n, int):
            raise TypeError
    return double(n)


def put_none(values: list[Any]) -> None:
    values.append(None)


class Pipe:
    """Does one task after another."""

    last: Any = None

    def then(self, step: Callable[..., Any], *more: Any) -> Pipe:
        self.last = step(*more) if self.last is None else step(self.last, *more)
        return self


@right
def a_name_that_is_none_at_first(n: Any) -> Any:
    last = None
    for k in range(4):
        last = add(n, k) if last is None else add(last, k)
    return last


@right
def what_a_loop_that_was_left_found(n: Any) -> Any:
    for k in [1, 0]:
        if k == 1:
            found = None
            break
        found = double(n)
    return echo(0) if found is None else found


@right
def a_loop_without_an_end(n: Any) -> Any:
    found = None
    while True:
        if found is not None:
            return found
        found = double(n)


@right
def a_name_in_a_handler(n: Any) -> Any:
    found = double(n)
    try:
        found = None
        found = SETTINGS["nothing"]
    except KeyError:
        return echo("none" if found is None else "some")


@right
def a_name_that_another_function_changes(n: Any) -> Any:
    found = double(n)

    def reset() -> None:
        nonlocal found
        found = None

    reset()
    return echo("none" if found is None else "some")


@right
def a_list_that_another_function_changes(n: Any) -> Any:
    values: list[Any] = [double(n)]

    def more() -> None:
        values.append(None)

    more()
    put_none(values)
    return [each for each in values if each is not None]


@right
def a_list_that_is_changed_in_place(n: Any) -> Any:
    values: list[Any] = [double(n), double(n), double(n)]
    values[0] = None
    values.insert(0, None)
    values += [None]
    del values[-2]
    return [each for each in values if each is not None]


@right
def texts_of_errors_and_of_the_log(n: Any) -> Any:
    made = double(n)
    if IS_STRICT:
        raise ValueError(f"{made!r} of {type(made)}")
    assert SETTINGS is not None, f"{made!r}"
    log.debug(f"{made!r}")
    logging.getLogger("shop").info("made %s", [repr(made)])
    print(repr(made), type(made), file=sys.stderr)
    return made


@right
def a_question_that_is_never_asked(n: Any) -> Any:
    if IS_STRICT and n is None:
        return None
    if not IS_STRICT or isinstance(n, int):
        return checked(n)
    return repr(n)


@right
def a_decision_by_a_value_that_is_there(n: Any) -> Any:
    return [with_more(n), with_more(n, 3), *(double(n) if k is None else add(n, k) for k in [None, 2])]


@right
def an_object_that_keeps_outputs(n: Any) -> Any:
    return Pipe().then(double, n).then(add, 4).last


@right
def outputs_kept_by_plain_keys(n: Any) -> Any:
    known: dict[str, Any] = {}
    groups = defaultdict(list)
    for at, name in enumerate(["a", "b", "a"]):
        if name not in known:
            known[name] = add(n, at)
        groups[name].append(known.get(name))
    return [known, groups["a"], "none" if known.get("c") is None else "some"]


@right
def names_that_are_bound_anew(n: Any) -> Any:
    one, other = None, double(n)
    one, other = other, one
    kept = [one]
    with contextlib.nullcontext(None) as one:
        kept.append(echo("none" if one is None else "some"))
    try:
        int("bad")
    except ValueError as one:
        kept.append(echo("none" if other is None else "some"))
    return kept


@right
def the_first_of_none(n: Any) -> Any:
    made = [("a", double(n))]
    found = next((each for name, each in made if name == "b"), None)
    return echo("none" if found is None else "some")


@pytest.mark.parametrize("name", BODIES)
def test_what_may_be_asked_is_answered_as_python_does(name: str) -> None:
    node = dag(BODIES[name])
    assert node.invoke(n=2) == node(n=2)


def test_a_dag_that_returns_nothing_is_asked_nothing() -> None:
    @dag
    def silent(n: int) -> None:
        double(n)

    @dag
    def d(n: int) -> Any:
        return echo("none" if silent(n) is None else "some")  # type: ignore[func-returns-value]

    with pytest.raises(InvalidDag, match="asks which object 'silent\\(n\\)' is"):
        d.invoke(n=1)


def test_a_module_is_looked_through_once_for_all_its_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    starts, looked_at = source_code._starts, []

    def counted(node: Any) -> Any:
        looked_at.append(node)
        return starts(node)

    source_code._module.cache_clear()
    source_code.function_node.cache_clear()
    monkeypatch.setattr(source_code, "_starts", counted)
    found = [source_code.function_node(body.__code__) for body in BODIES.values()]
    assert [each for each in found if each is not None]  # pytest writes those anew that have an assert
    assert len(looked_at) == len(set(map(id, looked_at)))
