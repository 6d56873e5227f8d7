"""Options reach workers and the store as plain data: those that were set, and no others."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import pytest

from dagcelery.errors import NotConfigured
from dagcelery.hooks import mail
from dagcelery.model import (
    DAG,
    Cache,
    DagOptions,
    FromParam,
    Retry,
    Task,
    TaskOptions,
    Timeout,
    exponential,
    static,
)
from dagcelery.planner.compile import plan
from dagcelery.planner.encoding import decode_plan, encode_plan
from dagcelery.planner.plan import Step
from dagcelery.planner.topology import topology
from dagcelery.store.records import START, StepEntry
from dagcelery.store.wire import topology_fields, topology_of

from .graphs import each, graph, lister, map_reduce, numbers, placed, square, task


class OutOfStock(Exception):
    """An error of the user's own."""


def told(*args: object) -> None: ...


def noted(*args: object) -> None: ...


def keyed(x: int) -> str:
    return str(x)


def mapped(options: TaskOptions, /, **more: Any) -> DAG:
    """The squares of range(n), by a step with these options."""
    nodes = {"numbers": lister(numbers, n=FromParam()), "square": task(square, options, x=each("numbers"))}
    return graph(nodes, "square", "n", **more)


def once(options: TaskOptions, /, **more: Any) -> DAG:
    return graph({"square": task(square, options, x=FromParam("n"))}, "square", "n", **more)


def the_step(dag: DAG | Task) -> Step:
    return plan(dag).bodies[0].steps[-1]


def entry(dag: DAG) -> Mapping[str, Any]:
    """What the topology says of the last step, and whether the store keeps the very same."""
    planned = plan(dag)
    step, table = len(planned.bodies[0].steps) - 1, topology(planned)[0]
    kept = topology_of(dict(topology_fields(table)))
    names = ("retry", "hard_limit", "start_within", "min_success")
    told, stored = ({name: getattr(body[step], name) for name in names} for body in (table, kept))
    assert told == stored
    return {name: value for name, value in told.items() if value is not None}


def start(dag: DAG, body: int = 0) -> Mapping[str, Any]:
    """What the store is told of the run at a scope's start."""
    names = ("fail_fast", "has_hooks", "keeps_outputs_only")
    default, said = StepEntry(""), topology(plan(dag))[body][START]
    return {name: getattr(said, name) for name in names if getattr(said, name) != getattr(default, name)}


@pytest.mark.parametrize("options", [TaskOptions(), TaskOptions(by_value=("m",), min_success=1)])
def test_options_that_were_not_set_are_left_out(options: TaskOptions) -> None:
    planned = plan(mapped(options))
    assert the_step(mapped(options)).options == planned.options == {}
    assert entry(mapped(options)) == start(mapped(options)) == {}
    assert '"z"' not in encode_plan(planned).decode()


def test_a_retry_is_its_numbers_and_the_names_of_its_errors() -> None:
    retry = Retry(5, exponential(2, 30, 3, jitter=False), on=(OSError, OutOfStock), give_up_on=ValueError)
    dag = once(TaskOptions(retry=retry))
    assert the_step(dag).options["retry"] == {
        "max_attempts": 5,
        "wait": {"base": 2.0, "factor": 3.0, "maximum": 30.0, "jitter": False},
        "on": ["builtins:OSError", f"{__name__}:OutOfStock"],
        "give_up_on": ["builtins:ValueError"],
    }
    assert entry(dag) == {
        "retry": {"max_attempts": 5, "base": 2.0, "factor": 3.0, "maximum": 30.0, "jitter": False, "time_limit": False}
    }


def test_a_static_wait_has_the_factor_one() -> None:
    retry = entry(once(TaskOptions(retry=Retry(wait=static(5)))))["retry"]
    assert retry == {"max_attempts": 3, "base": 5.0, "factor": 1.0, "maximum": 5.0, "jitter": False, "time_limit": True}


def test_the_names_of_an_error_are_those_that_an_instance_of_it_has_on_a_worker() -> None:
    class Inner(Exception): ...

    retry = the_step(once(TaskOptions(retry=Retry(on=Inner)))).options["retry"]
    assert retry["on"] == [f"{__name__}:{Inner.__qualname__}"]


def limits() -> tuple[type[Exception], type[Exception]]:
    from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

    return TimeLimitExceeded, SoftTimeLimitExceeded


@pytest.mark.parametrize(
    ("retry", "retried"),
    [
        (Retry(), 1),
        (Retry(on=BaseException), 1),
        (Retry(on=(ValueError, TimeoutError)), 1),
        (Retry(on=limits()[0]), 1),
        (Retry(on=limits()[1]), 0),
        (Retry(on=(OSError, ValueError)), 0),
        (Retry(give_up_on=TimeoutError), 0),
        (Retry(give_up_on=limits()[0]), 0),
        (Retry(give_up_on=ValueError), 1),
    ],
)
def test_a_hard_limit_is_retried_where_the_errors_say_so(retry: Retry, retried: int) -> None:
    assert entry(once(TaskOptions(retry=retry)))["retry"]["time_limit"] == retried


@pytest.mark.parametrize(
    ("timeout", "carried", "limit"),
    [
        (5, {"hard": 5.0}, {"hard_limit": 5.0}),
        (Timeout(2, 5), {"soft": 2.0, "hard": 5.0}, {"hard_limit": 5.0}),
        (Timeout(soft=2), {"soft": 2.0}, {}),
    ],
)
def test_the_store_is_told_the_hard_limit_only(
    timeout: Any, carried: dict[str, float], limit: dict[str, float]
) -> None:
    dag = once(TaskOptions(timeout=timeout))
    assert the_step(dag).options == {"timeout": carried}
    assert entry(dag) == limit


def test_bounds_are_numbers() -> None:
    dag = mapped(TaskOptions(start_within=60, max_concurrent=4, min_success=0.5))
    assert the_step(dag).options == {"start_within": 60.0, "max_concurrent": 4, "min_success": 0.5}
    assert entry(dag) == {"start_within": 60.0, "min_success": 0.5}


def test_to_skip_items_that_fail_is_to_need_none() -> None:
    assert entry(mapped(TaskOptions(on_item_failure="skip"))) == {"min_success": 0.0}


@pytest.mark.parametrize("options", [TaskOptions(min_success=0.5), TaskOptions(on_item_failure="skip")])
def test_a_task_that_runs_by_itself_has_no_share_of_items(options: TaskOptions) -> None:
    assert plan(task(square, options, x=FromParam("n"))).bodies[0].steps[0].options == {}


def test_hooks_are_functions_of_the_plan() -> None:
    planned = plan(once(TaskOptions(retry=Retry(), on_success=told, on_failure=told, on_retry=noted)))
    hooks = planned.bodies[0].steps[0].options["hooks"]
    assert hooks == {"success": [1, {}], "failure": [1, {}], "retry": [2, {}]}
    assert [function.qualname for function in planned.functions] == ["square", "told", "noted"]


def test_a_partial_of_a_named_function_is_a_hook_with_arguments_and_needs_no_key() -> None:
    channels = partial(told, channels=["#ops"])
    planned = decode_plan(encode_plan(plan(once(TaskOptions(on_success=channels, on_failure=told))), signed=False))
    assert planned.bodies[0].steps[0].options["hooks"] == {"success": [1, {"channels": ["#ops"]}], "failure": [1, {}]}
    opaque = partial(told, channels=object())
    with pytest.raises(NotConfigured, match=r"partial\(told\) has to travel by value"):
        encode_plan(plan(once(TaskOptions(on_success=opaque))), signed=False)


def test_the_code_of_our_own_hooks_is_not_compared_so_that_runs_outlive_an_upgrade() -> None:
    _, hook = plan(once(TaskOptions(on_failure=mail("ops@example.com")))).functions
    assert (hook.module, hook.qualname, hook.hash) == ("dagcelery.hooks", "send_mail", "")


def test_a_hook_that_nobody_can_import_travels_by_value_and_needs_a_key() -> None:
    planned = plan(once(TaskOptions(on_success=lambda: 7)))
    blob = decode_plan(encode_plan(planned)).functions[1].blob
    assert blob is not None
    assert pickle.loads(blob)() == 7
    with pytest.raises(NotConfigured, match="lambda"):
        encode_plan(planned, signed=False)


def test_the_options_of_the_dag_are_those_of_the_plan() -> None:
    options = DagOptions(fail_fast=False, max_active_runs=2, on_success=told, on_failure=noted, keep="outputs")
    dag = once(TaskOptions(), options=options)
    expected = {
        "fail_fast": False,
        "max_active_runs": 2,
        "keep": "outputs",
        "hooks": {"success": [1, {}], "failure": [2, {}]},
    }
    assert plan(dag).options == expected
    assert start(dag) == {"fail_fast": False, "has_hooks": True, "keeps_outputs_only": True}


@pytest.mark.parametrize("hook", ["on_success", "on_failure"])
def test_the_store_is_told_of_a_dags_hooks(hook: Literal["on_success", "on_failure"]) -> None:
    hooks: dict[str, Callable[..., object]] = {hook: told}
    assert start(once(TaskOptions(), options=DagOptions(**hooks))) == {"has_hooks": True}  # type: ignore[arg-type]


def test_options_of_nested_dags_are_ignored_but_not_those_of_their_tasks() -> None:
    options = DagOptions(fail_fast=False, keep="outputs", on_success=told)
    inner = once(TaskOptions(max_concurrent=1), options=options)
    dag = graph(
        {
            "numbers": lister(numbers, n=FromParam()),
            "once": placed(inner, n=FromParam("n")),
            "each": placed(inner, n=each("numbers")),
        },
        "each",
        "n",
    )
    planned = plan(dag)
    assert planned.options == start(dag) == start(dag, 1) == {}
    assert [step.options for body in planned.bodies for step in body.steps if step.name.endswith("square")] == [
        {"max_concurrent": 1},
        {"max_concurrent": 1},
    ]


def test_a_mapped_dags_scopes_start_as_ever() -> None:
    inner = placed(map_reduce(), n=each("numbers"))
    nodes = {"numbers": lister(numbers, n=FromParam()), "inner": inner}
    dag = graph(nodes, "inner", "n", options=DagOptions(fail_fast=False))
    assert (start(dag), start(dag, 1)) == ({"fail_fast": False}, {})


def test_a_task_alone_keeps_its_options() -> None:
    alone = task(square, TaskOptions(retry=Retry(2), timeout=1), x=FromParam("x"))
    assert sorted(the_step(alone).options) == ["retry", "timeout"]


def test_options_survive_encoding_and_count_in_the_digest() -> None:
    options = TaskOptions(retry=Retry(), timeout=9, start_within=1, max_concurrent=3, on_failure=told)
    planned = plan(mapped(options, options=DagOptions(keep="outputs", on_success=noted)))
    assert decode_plan(encode_plan(planned)) == planned
    others = [plan(mapped(options)), plan(mapped(TaskOptions(), options=DagOptions(keep="outputs")))]
    assert len({encode_plan(planned), *(encode_plan(other) for other in others)}) == 3


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        (Cache(60), {"ttl": 60.0, "max_bytes": 16 * 1024 * 1024}),
        (Cache(0.5, key="v2", max_bytes=100), {"ttl": 0.5, "max_bytes": 100, "key": "v2"}),
        (Cache(60, key=keyed, max_bytes=100), {"ttl": 60.0, "max_bytes": 100, "key_function": 2}),
    ],
)
def test_a_cache_names_its_key_or_the_function_that_makes_one(cache: Cache, said: Mapping[str, Any]) -> None:
    planned = plan(mapped(TaskOptions(cache=cache)))
    again = decode_plan(encode_plan(planned))
    assert again.bodies[0].steps[-1].options == {"cache": said}
    assert "key_function" not in said or again.functions[said["key_function"]].qualname == "keyed"
