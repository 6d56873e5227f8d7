"""An option that cannot be is refused where it is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from dagcelery import DAG, AsPickle, Run, Serialize, Task, dag, runs, submit, task
from dagcelery.client import Client, forget, set_default
from dagcelery.errors import InvalidParameters
from dagcelery.model.options import TaskOptions

from .telling import Bad
from .vocabulary import echo, map_reduce, power


def plain() -> None: ...


def on_a_task(**options: Any) -> Any:
    return lambda: task(**options)(plain)


def on_a_dag(**options: Any) -> Any:
    return lambda: dag(**options)(plain)


WORDS = "give words"

REFUSED = {
    "a queue and a taint": Bad(
        on_a_task(queue="big", taint="gpu"), "queue='big' with taint='gpu'", "two places", "give either"
    ),
    "a queue and a taint, for one use": Bad(
        lambda: power.options(queue="big", taint="gpu"), "queue='big' with taint='gpu'", "two places", "give either"
    ),
    "a number for a queue": Bad(on_a_task(queue=3), "queue=3", "not the name of a queue", "a word such as 'gpu'"),
    "an empty queue": Bad(on_a_task(queue=" "), "queue=' '", "not the name of a queue", "a word such as 'gpu'"),
    "a number for a taint": Bad(on_a_task(taint=3), "taint=3", "neither a word nor several", WORDS),
    "a number among taints": Bad(on_a_task(taint=["gpu", 3]), "taint", "holds 3, which is not a word", WORDS),
    "None for a taint": Bad(on_a_task(taint=None), "taint=None", "neither a word nor several", WORDS),
    "None for a taint, for one use": Bad(lambda: power.options(taint=None), "taint=None", "neither a word", WORDS),
    "a taint with a plus": Bad(on_a_task(taint="a+b"), "taint='a+b'", "'+', which joins taints", "('a', 'b')"),
    "a number for modules by value": Bad(on_a_task(by_value=3), "by_value=3", "neither a word nor several", WORDS),
    "no number of outputs": Bad(on_a_task(outputs="2"), "outputs='2' of 'plain'", "not a number", "1 or more"),
    "no outputs": Bad(on_a_task(outputs=0), "outputs=0 of 'plain'", "not a number of values", "1 or more"),
    "a truth for a number of outputs": Bad(on_a_task(outputs=True), "outputs=True", "not a number", "1 or more"),
    "a word for a serializer": Bad(on_a_task(serializer="json"), "'json'", "not a serializer", "AsPickle()"),
    "a class for a serializer": Bad(on_a_task(serializer=AsPickle), "AsPickle'", "not a serializer", "AsPickle()"),
    "a word for a part's serializer": Bad(
        on_a_task(serializer=Serialize(a="json")), "'json'", "not a serializer", "AsPickle()"
    ),
    "a DAG's serializer for parts": Bad(
        on_a_dag(serializer=Serialize(a=AsPickle())), "Serialize(", "one task's value", "give one serializer"
    ),
    "a word for a deadline": Bad(on_a_dag(deadline="60"), "deadline='60'", "is not a time", "seconds"),
    "no time for a deadline": Bad(on_a_dag(deadline=0), "deadline=0", "is not a time", "seconds"),
    "a truth for a deadline": Bad(on_a_dag(deadline=True), "deadline=True", "is not a time", "seconds"),
    "no end for a deadline": Bad(on_a_dag(deadline=float("inf")), "deadline=inf", "is not a time", "seconds"),
    "less than no time, for one use": Bad(
        lambda: map_reduce.options(deadline=-1), "deadline=-1", "is not a time", "seconds"
    ),
    "a number for static parameters": Bad(on_a_dag(static=3), "static=3", "neither a word nor several", WORDS),
    "a static parameter of another name": Bad(
        lambda: dag(static="fold")(lambda folds: echo(folds)), "static='fold'", "not one of its", "mean 'folds'"
    ),
    "a dict for a task's options": Bad(
        lambda: Task(plain, options={"queue": "big"}),
        "options={'queue': 'big'}",
        "not a TaskOptions",
        "TaskOptions(...)",
    ),
    "a task's options for a DAG's": Bad(
        lambda: DAG({"a": Task(plain)}, options=TaskOptions()),
        "options=TaskOptions(",
        "not a DagOptions",
        "DagOptions(",
    ),
    "a word for how to try again": Bad(on_a_task(retry="often"), "retry='often'", "how to try again", "Retry("),
    "a word for a time limit": Bad(on_a_task(timeout="60"), "timeout='60'", "is not a time", "seconds"),
    "more than all items": Bad(on_a_task(min_success=1.5), "min_success=1.5", "a share", "from 0 to 1"),
    "a word for failed items": Bad(on_a_task(on_item_failure="shrug"), "'shrug'", "is unknown", "'skip'"),
    "no number of pieces at once": Bad(on_a_task(max_concurrent=0), "max_concurrent=0", "not a number of times", "1"),
    "no number of runs at once": Bad(
        on_a_dag(max_active_runs="2"), "max_active_runs='2'", "not a number of times", "1"
    ),
    "a number for a cache": Bad(on_a_task(cache=3600), "cache=3600", "how long results", "Cache(ttl=3600)"),
    "a word for a hook": Bad(on_a_task(on_success="tell"), "on_success='tell'", "cannot be called", "a function"),
    "a word for what is kept": Bad(on_a_dag(keep="some"), "keep='some'", "is unknown", "'outputs'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_option_is_refused_where_it_is_said(name: str) -> None:
    REFUSED[name].is_refused()


@pytest.mark.parametrize("name", ["a number for a taint", "a dict for a task's options"])
def test_an_option_of_a_wrong_type_is_a_type_error_too(name: str) -> None:
    with pytest.raises(TypeError):
        REFUSED[name].do()


SUBMITTED = {
    "a number to be forgotten": Bad(lambda: forget(cast(Any, 3)), "task=3", "is not a task", "'module:name'"),
    "a word to be forgotten": Bad(lambda: forget("fetch"), "task='fetch'", "is not a task", "'module:name'"),
    "a number for a key": Bad(
        lambda: map_reduce.options(key=3).submit(n=3), "key=3", "not a non-empty str", "'order-42'"
    ),
    "an empty key": Bad(lambda: submit(map_reduce, {"n": 3}, key=""), "key=''", "not a non-empty str", "'order-42'"),
    "a word for a client": Bad(
        lambda: submit(map_reduce, {"n": 3}, client="me"), "client='me'", "not a Client", "what attach(app) returned"
    ),
    "a number for a run": Bad(lambda: Run(3), "run id 3", "not a str", "submit(...).id"),
    "a byte that is no text for a run": Bad(lambda: Run("\udcff"), r"'\udcff'", "a lone surrogate", "submit(...).id"),
    "a number for a reason": Bad(lambda: Run("a").cancel(cast(Any, 3)), "reason=3", "not a str", "give a sentence"),
    "a byte that is no text for a reason": Bad(
        lambda: Run("a").cancel("\udcff"), r"reason='\udcff'", "a lone surrogate", "give a sentence"
    ),
    "a byte that is no text for a DAG": Bad(
        lambda: runs("\udcff"), r"dag='\udcff'", "a lone surrogate", "pkg.mod:name"
    ),
}


@pytest.mark.parametrize("name", SUBMITTED)
def test_a_bad_option_of_a_submission_is_refused(name: str, client_of: Callable[..., Client]) -> None:
    replaced = set_default(client_of())
    try:
        bad = SUBMITTED[name]
        Bad(bad.do, bad.culprit, bad.wrong, bad.right, InvalidParameters).is_refused()
    finally:
        set_default(replaced)
