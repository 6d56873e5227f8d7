"""Code that changed is never taken for the same: objects are told by their data and class, code never by its name."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import functools
import importlib
import json
import operator
import pathlib
import re
import sys
import types
import typing
import uuid
from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Annotated, Any

import numpy
import pandas
import pytest

from dagcelery import AsPickle, Cache, task
from dagcelery.payload.fingerprints import fingerprint, fingerprint_captures
from dagcelery.store.cache import OF_THIS_PROCESS

MODULE = """
    import dataclasses, enum, functools
    from dagcelery import task

    def fn(x): return x + 1
    {decorated}
    def wrapped(x): return fn(x)

    @task
    def job(x): return x + 1

    class Base:
        def inherited(self, x): return x + {by}

    class Scaler(Base):
        limit = {by}
        def __init__(self, by): self.by = by
        def method(self, x): return x + self.by
        def __call__(self, x): return self.inherited(x)
        @classmethod
        def made(cls, x): return x
        @staticmethod
        def free(x): return x
        @property
        def double(self): return self.by * {by}
        @functools.lru_cache
        def wrapped(self): return {by}

    @dataclasses.dataclass(frozen=True)
    class Data:
        by: object
        def total(self): return self.by + {by}

    class Color(enum.Enum):
        RED = 1
        def shown(self): return {by}

    class Named:
        def __reduce__(self): return "NAMED"
        def __call__(self, x): return x

    NAMED = Named()
"""
Edit = Callable[[int], types.ModuleType]


@pytest.fixture
def edit(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    """Write the user's module anew, with another number in its code, and import it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def edited(by: int) -> types.ModuleType:
        (tmp_path / "edited_code.py").write_text(dedent(MODULE).format(by=by, decorated="@functools.lru_cache"))
        sys.modules.pop("edited_code", None)
        importlib.invalidate_caches()
        return importlib.import_module("edited_code")

    yield edited
    sys.modules.pop("edited_code", None)


HELD_CODE: dict[str, Callable[[Any], Any]] = {
    "a function": lambda m: m.fn,
    "a wrapped function": lambda m: m.wrapped,
    "a class": lambda m: m.Scaler,
    "a class of enums": lambda m: m.Color,
    "a task": lambda m: m.job,
    "a module": lambda m: m,
    "a bound method": lambda m: m.Scaler(1).method,
    "a class method": lambda m: m.Scaler.made,
    "a static method": lambda m: m.Scaler.free,
    "a partial": lambda m: functools.partial(m.fn, 1),
    "a partial of a class": lambda m: functools.partial(m.Scaler, 1),
    "a partial of a partial": lambda m: functools.partial(functools.partial(m.fn), 1),
    "a default factory": lambda m: collections.defaultdict(m.Scaler),
    "what is pickled as a name": lambda m: m.NAMED,
    "a bound task": lambda m: [m.job.options(name="other")],
    "a lambda": lambda _: lambda x: x,
    "a generator": lambda _: (x for x in ()),
    "compiled code": lambda m: m.fn.__code__,
    "a generic alias": lambda m: list[m.Scaler],
    "a function of an installed library": lambda _: numpy.mean,
}


@pytest.mark.parametrize("kind", HELD_CODE)
def test_code_among_the_arguments_cannot_be_told_however_deep_it_lies(kind: str, edit: Edit) -> None:
    module = edit(1)
    code = HELD_CODE[kind](module)
    for value in (code, [code], {"k": (code,)}, {1: {2: [code]}}, module.Data(code), [module.Data([{"a": code}])]):
        assert fingerprint({"x": value}) is None


OBJECTS: dict[str, Callable[[Any], Any]] = {
    "an instance": lambda m: m.Scaler(1),
    "a dataclass": lambda m: m.Data(1),
    "an instance within others": lambda m: m.Data([{"a": m.Scaler(1)}]),
    "an enum member": lambda m: m.Color.RED,
    "an ordered dict of them": lambda m: collections.OrderedDict(a=m.Color.RED),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_is_told_by_its_data_and_by_the_code_of_its_class(kind: str, edit: Edit) -> None:
    make = OBJECTS[kind]
    before = fingerprint({"x": make(edit(1))})
    assert before == fingerprint({"x": make(edit(1))}) != fingerprint({"x": make(edit(2))})
    assert before is not None


@pytest.mark.parametrize("member", ["inherited", "limit", "double", "wrapped"])
def test_each_member_of_a_class_counts_inherited_ones_too(member: str, edit: Edit) -> None:
    module = edit(1)
    before = fingerprint({"x": module.Scaler(1)})
    other = edit(2)
    owner, from_ = (module.Base, other.Base) if member == "inherited" else (module.Scaler, other.Scaler)
    sys.modules["edited_code"] = module
    setattr(owner, member, vars(from_)[member])
    assert None is not fingerprint({"x": module.Scaler(1)}) != before


class Weekday(enum.IntFlag):
    MONDAY = 1
    TUESDAY = 2


DATA: list[Any] = [
    datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    decimal.Decimal("1.10"),
    uuid.UUID(int=1),
    pathlib.PurePosixPath("a/b"),
    re.compile("a+"),
    collections.Counter("abca"),
    collections.defaultdict(list, a=[1]),
    functools.partial(int, base=2),
    operator.itemgetter(1),
    len,
    json.dumps,
    int,
    list[int],
    int | None,
    typing.Union[int, None],  # noqa: UP007
    bytearray(b"a"),
    range(3),
    ...,
    Weekday.MONDAY | Weekday.TUESDAY,
    numpy.arange(3),
    numpy.float64(1),
    numpy.dtype("int64"),
    pandas.DataFrame({"a": [1, None], "b": ["x", pandas.NA], "c": pandas.Timestamp(0)}),
]


@pytest.mark.parametrize("value", DATA, ids=lambda value: type(value).__name__)
def test_data_and_code_of_python_itself_can_be_told(value: Any) -> None:
    assert None is not fingerprint({"x": value}) == fingerprint({"x": value})


def test_objects_of_installed_libraries_are_told_by_their_data() -> None:
    frame = pandas.DataFrame({"a": [1, 2]})
    assert fingerprint({"x": frame}) == fingerprint({"x": frame.copy()}) != fingerprint({"x": frame + 1})


HELD_BY: dict[str, Callable[[Any], Any]] = {
    "a class": lambda m: m.Data,
    "a list of functions": lambda m: [m.wrapped.__wrapped__, m.Scaler.free],
    "a task": lambda m: m.job,
    "a method of a class": lambda m: {"a": m.Scaler(1).method},
}


@pytest.mark.parametrize("kind", HELD_BY)
def test_code_that_a_function_holds_is_told_by_what_it_does(kind: str, edit: Edit) -> None:
    def holding(value: Any) -> Callable[[], Any]:
        return lambda: value

    make = HELD_BY[kind]
    before = fingerprint_captures(holding(make(edit(1))))
    assert None is not before == fingerprint_captures(holding(make(edit(1))))
    if kind in ("a class", "a method of a class"):
        assert before != fingerprint_captures(holding(make(edit(2))))


def test_a_task_that_a_function_holds_is_told_by_its_own_function() -> None:
    def holding(fn: Callable[[int], int]) -> Callable[[], Any]:
        kept = [task(fn)]
        return lambda: kept

    assert fingerprint_captures(holding(lambda x: x + 1)) != fingerprint_captures(holding(lambda x: x + 2))


# -- in a cached task ---------------------------------------------------------------------------
@task(cache=Cache(ttl=60))
def apply(fn: Annotated[Any, AsPickle()], x: int) -> Any:
    return int(fn(x))


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    OF_THIS_PROCESS.clear()


CALLED: dict[str, Callable[[Any], Any]] = {
    "a function": lambda m: m.answer,
    "a class": lambda m: m.Answer,
    "a task": lambda m: m.job,
    "a partial": lambda m: functools.partial(m.answer),
    "an object": lambda m: m.Answer(1).ask,
    "a callable object": lambda m: m.Ask(),
}


@pytest.mark.parametrize("kind", CALLED)
def test_a_cached_task_calls_the_code_that_it_is_given_as_it_is_now(
    kind: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
        from dagcelery import task
        def helper(x): return x + {by}
        def answer(x): return helper(x)
        @task
        def job(x): return x + {by}
        class Answer(int):
            def __new__(cls, x): return super().__new__(cls, x + {by})
            def ask(self, x): return x + {by}
        class Ask:
            def __call__(self, x): return x + {by}
    """
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for by in (1, 2):
        (tmp_path / "edited_answers.py").write_text(dedent(source).format(by=by))
        sys.modules.pop("edited_answers", None)
        importlib.invalidate_caches()
        module = importlib.import_module("edited_answers")
        monkeypatch.setitem(sys.modules, "edited_answers", module)
        assert apply.invoke(CALLED[kind](module), 1) == 1 + by


COUNTED: list[Any] = []


@task(cache=Cache(ttl=60))
def counted(x: Annotated[Any, AsPickle()]) -> int:
    COUNTED.append(x)
    return len(COUNTED)


def test_a_cached_task_still_finds_what_it_made_of_data() -> None:
    COUNTED.clear()
    assert [counted.invoke(value) for value in (DATA[0], DATA[0], DATA[2], DATA[2])] == [1, 1, 2, 2]
