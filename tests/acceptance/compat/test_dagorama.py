"""`dagcelery.compat.dagorama`: dagorama's modules, and what was wrong in them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from dagcelery import Run
from dagcelery.compat.dagorama import cli, hot_reload, inspection
from dagcelery.compat.dagorama.code_signature import calculate_function_hash
from dagcelery.compat.dagorama.decorators import dagorama
from dagcelery.compat.dagorama.definition import DAGDefinition, DAGInstance, as_it_was, generate_instance_id, resolve
from dagcelery.compat.dagorama.logging import get_default_console_width, get_logger
from dagcelery.compat.dagorama.models.arguments import DAGArguments
from dagcelery.compat.dagorama.models.promise import DAGPromise
from dagcelery.compat.dagorama.retry import ExponentialRetry, StaticRetry
from dagcelery.compat.dagorama.runner import (
    CodeMismatchException,
    execute_worker,
    execute_worker_async,
    launch_workers,
)
from dagcelery.compat.dagorama.serializer import function_to_name, name_to_function, register_definition
from dagcelery.compat.dagorama_broker.launch import launch_broker
from dagcelery.errors import InvalidParameters, NodeFailed
from dagcelery.local import Cluster

calls: list[Any] = []


class OwnError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")


class Sample(DAGDefinition):
    """1 -> 2 -> (2, 3) -> (4, 5) -> 9, if the constructor was given nothing else."""

    def __init__(self, first: int = 1) -> None:
        self.first = first

    @dagorama().syncfn
    def entrypoint(self, number: int) -> int:
        return self.linear_continue(number)

    @dagorama().syncfn
    def linear_continue(self, number: int) -> int:
        return self.loop_consolidate([self.loop_map(number + self.first + i) for i in range(2)])

    @dagorama().syncfn
    def loop_map(self, number: int) -> int:
        return self.helper(number)

    def helper(self, number: int) -> int:
        assert isinstance(self, DAGInstance)
        return number + 2

    @dagorama().syncfn
    def loop_consolidate(self, numbers: list[int]) -> int:
        return sum(numbers)


class Awaited(DAGDefinition):
    @dagorama().asyncfn
    async def entrypoint(self, x: int) -> int:
        return await self.slow(x)

    @dagorama().asyncfn
    async def slow(self, x: int) -> int:
        await asyncio.sleep(0)
        return x + 1


class Bare(DAGDefinition):
    @dagorama
    def entrypoint(self, x: Any) -> Any:
        promise: Any = self.handed(x)
        assert isinstance(promise, DAGPromise)
        return promise

    @dagorama()
    async def handed(self, x: Any) -> Any:
        return x


class Starred(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, first: int, *others: int, scale: int = 1, **named: Any) -> Any:
        return self.inner(self.inner(first), *others, scale, **named)

    @dagorama().syncfn
    def inner(self, first: Any, /, *others: Any, **named: Any) -> Any:
        return first, others, named


class Placed(DAGDefinition):
    """Its methods wait on four queues: two of their own, a named one, that of a taint."""

    @dagorama().syncfn
    def entrypoint(self) -> Any:
        return self.joined([self.named(), self.tainted(), self.both()])

    @dagorama(queue_name="test_queue").syncfn
    def named(self) -> str:
        return "named"

    @dagorama(taint_name="test_taint").syncfn
    def tainted(self) -> str:
        return "tainted"

    @dagorama(queue_name="test_queue_2", taint_name="test_taint").syncfn
    def both(self) -> str:
        return "both"

    @dagorama().syncfn
    def joined(self, parts: list[str]) -> str:
        return " ".join(parts)


class Failing(DAGDefinition):
    @dagorama(retry=StaticRetry(max_attempts=2, interval=0)).syncfn
    def entrypoint(self, error: Exception) -> None:
        calls.append(error)
        raise error


class Patient(DAGDefinition):
    @dagorama(retry=StaticRetry(max_attempts=2, interval=60)).syncfn
    def entrypoint(self) -> None:
        raise ValueError("no")


class Plain(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> Any:
        calls.append(threading.current_thread())
        return self.first  # type: ignore[attr-defined]


@pytest.fixture
def broker() -> Iterator[None]:
    calls.clear()
    with launch_broker():
        yield


def work(**options: Any) -> None:
    execute_worker(infinite_loop=False, **options)


@pytest.mark.usefixtures("broker")
def test_a_worker_works_in_this_process_until_nothing_is_left() -> None:
    found = [Sample()(1), Sample(2)(1)]
    assert [resolve(*each) for each in found] == [None, None]
    work(catch_exceptions=False)
    assert [resolve(*each) for each in found] == [9, 11]
    instance, promise = found[0]
    assert (isinstance(instance, DAGInstance), isinstance(instance.definition, Sample)) == (True, True)
    assert instance.first == 1
    assert instance.instance_id == promise.identifier
    assert promise.function_name == f"{__name__}:Sample.entrypoint"
    assert promise.arguments == DAGArguments((1,), {})


@pytest.mark.usefixtures("broker")
def test_earlier_calls_are_worked_off_first() -> None:
    found = [Sample()(1) for _ in range(3)]
    work()
    times = [Run[Any](promise.identifier.hex).status().started or 0 for _, promise in found]
    assert times == sorted(times)


@pytest.mark.usefixtures("broker")
def test_an_object_that_was_registered_last_stands_for_those_of_its_class() -> None:
    plain = Plain()
    register_definition(plain)
    found = plain()
    for number in (1, 2):
        other = register_definition(Plain())
        other.first = number  # type: ignore[attr-defined]
    work(catch_exceptions=False)
    assert resolve(*found) == 2
    assert calls == [threading.current_thread()]


@pytest.mark.usefixtures("broker")
def test_a_method_of_an_instance_can_be_the_beginning() -> None:
    instance = DAGInstance(generate_instance_id(), Sample())
    promise = instance.loop_map(1)
    work()
    assert resolve(instance, promise) == 3
    assert instance.loop_map(1, greedy_execution=True) == instance.helper(1) == 3
    instance.first = 5
    assert instance.definition.first == 5
    del instance.first
    with pytest.raises(AttributeError):
        _ = instance.first


@pytest.mark.usefixtures("broker")
def test_a_definition_is_not_an_instance_and_promises_are_of_one_run() -> None:
    with pytest.raises(ValueError, match="should only be called as part of a DAGInstance"):
        Sample().loop_map(1)
    _, promise = Bare()(1)
    with pytest.raises(ValueError, match="belongs to another run"):
        Bare()([promise])


@pytest.mark.usefixtures("broker")
def test_methods_with_starred_arguments() -> None:
    found = Starred()(1, 2, 3, scale=4, key="k")
    work(catch_exceptions=False)
    assert resolve(*found) == ((1, (), {}), (2, 3, 4), {"key": "k"})
    with pytest.raises(InvalidParameters, match="missing a required argument: 'first'"):
        Starred()()
    with pytest.raises(InvalidParameters, match="multiple values for argument 'others'"):
        Starred()(1, 2, others=3)


@pytest.mark.usefixtures("broker")
def test_async_methods() -> None:
    async def run() -> Any:
        found = await Awaited()(1)
        await execute_worker_async(infinite_loop=False, catch_exceptions=False)
        return resolve(*found), await found[0].slow(1)

    value, promise = asyncio.run(run())
    assert value == 2
    assert isinstance(promise, DAGPromise)


@pytest.mark.usefixtures("broker")
def test_falsy_results_are_told_from_what_is_pending() -> None:
    values = [0, False, "", [], {}, {1, 2}]
    found = [Bare()(value) for value in values]
    work(catch_exceptions=False)
    assert [resolve(*each) for each in found] == values


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("error", [ValueError("no"), OwnError(3)])
def test_an_exception_is_raised_as_it_was(error: Exception) -> None:
    found = Failing()(error)
    with pytest.raises(type(error), match=str(error)) as caught:
        work(catch_exceptions=False)
    assert not isinstance(caught.value, NodeFailed)
    work()
    assert len(calls) == 2
    with pytest.raises(NodeFailed, match=f"node entrypoint failed with .*{error}") as told:
        resolve(*found)
    assert isinstance(told.value, type(error))


@pytest.mark.usefixtures("broker")
def test_what_is_to_be_tried_again_later_is_left() -> None:
    found = Patient()()
    work()
    assert resolve(*found) is None


@pytest.mark.usefixtures("broker")
def test_a_function_that_is_not_the_one_that_was_called_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Sample()(1)
    function: Any = Sample.entrypoint
    with monkeypatch.context() as changed:
        changed.setattr(function.original_fn, "__code__", (lambda self, number: 3).__code__)
        with pytest.raises(CodeMismatchException):
            work()
    monkeypatch.setattr(function.original_fn, "__name__", "other")
    with pytest.raises(CodeMismatchException):
        work()


HERE = f"{__name__}:Placed"


@pytest.mark.usefixtures("broker")
def test_each_function_has_a_queue_that_workers_consume_unless_it_is_left_out() -> None:
    found = Placed()()
    work(exclude_queues=[f"{HERE}.entrypoint"])
    assert Run[Any](found[1].identifier.hex).state == "pending"
    work(include_queues=[f"{HERE}.entrypoint"])
    work(queue_tolerations=["test_taint"], exclude_queues=["test_queue", f"{HERE}.joined"])
    work(include_queues=["test_queue"])
    work(exclude_queues=[f"{HERE}.joined"])
    assert resolve(*found) is None
    work()
    assert resolve(*found) == "named tainted both"
    with pytest.raises(InvalidParameters, match="waits with others on the queue of its taint"):
        work(queue_tolerations=["test_taint"], exclude_queues=[f"{HERE}.tainted"])


@pytest.mark.usefixtures("broker")
def test_launched_workers_get_what_is_called_later_and_by_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Sample()(1)
    with launch_workers(2, exit_on_completion=True) as workers:
        monkeypatch.setattr("dagcelery.compat.dagorama.queues.PLACES", {})
        later = type("Later", (DAGDefinition,), {"entrypoint": dagorama().syncfn(_later)})
        _, promise = later()()
        assert Run[Any](promise.identifier.hex).result(timeout=30) == "later"
        for worker in workers:
            worker.join()
        assert [worker.is_alive() for worker in workers] == [False, False]
    assert resolve(*found) == 9


def _later(self: Any) -> str:
    return "later"


def test_a_broker_that_is_configured_is_used(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    with launch_broker():
        found = Sample()(1)
        work()
    assert resolve(*found) == 9


@pytest.mark.parametrize("name", ["missing.Error", "ExceptionGroup", "KeyboardInterrupt", "os.path", ""])
def test_an_error_stays_plain_where_its_class_cannot_be_had(name: str) -> None:
    error = NodeFailed("node", name, "no")
    assert as_it_was(error) is error


def test_the_commands_take_the_old_options(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(cli, "execute_worker", lambda *queues: asked.append(queues))
    monkeypatch.setattr(hot_reload, "run_again", lambda command, folders: asked.append((command[1:], folders)))
    told = ["--include-queue", "a", "--include-queue", "b", "--exclude-queue", "c", "--toleration", "GPU"]
    assert CliRunner().invoke(cli.worker, told).exit_code == 0
    assert CliRunner().invoke(hot_reload.run_hot_reload_worker, ["--watch-dir", "src"]).exit_code == 0
    assert asked == [(("c",), ("a", "b"), ("GPU",)), (["-m", "dagcelery.compat.dagorama.cli"], ["src"])]


def test_retries_count_calls() -> None:
    assert StaticRetry(max_attempts=2, interval=1).as_message().max_attempts == 2
    wait = ExponentialRetry(max_attempts=2, base_interval=3).as_message().wait
    assert (wait.base, wait.factor, wait.jitter) == (3, 3, True)


def test_decorators_refuse_functions_of_the_other_kind() -> None:
    async def later() -> None: ...

    with pytest.raises(ValueError, match="asyncfn is required"):
        dagorama().syncfn(later)
    with pytest.raises(ValueError, match="syncfn is required"):
        dagorama().asyncfn(lambda: None)  # type: ignore[arg-type, return-value]


def test_at_least_one_worker_is_launched() -> None:
    with pytest.raises(InvalidParameters, match="0"), launch_workers(0):
        pass


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize(
    ("mistaken", "told"),
    [
        (lambda: dagorama(retry=3), "retry=3: does not say how to try again"),  # type: ignore[call-overload]
        (lambda: dagorama(queue_name=["a"]), "is not the name of a queue"),  # type: ignore[call-overload]
        (lambda: resolve(None, "promise"), "'promise': is not a promise"),  # type: ignore[arg-type]
        (lambda: work(include_queues=[3]), "holds 3"),
        (lambda: work(exclude_queues="celery", include_queues="celery"), "no queue left"),
    ],
)
def test_bad_input_is_told(mistaken: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        mistaken()


def test_promises_are_found_replaced_and_reduced() -> None:
    promise = DAGPromise(generate_instance_id(), "f", DAGArguments([], {}))
    nested = [{"a": promise}, (promise, 3), "text"]
    assert inspection.find_promises(nested) == [promise, promise]
    values = {str(promise.identifier): 5}
    assert inspection.resolve_promises(nested, values) == [{"a": 5}, (5, 3), "text"]
    with pytest.raises(ValueError, match="Unexpected promise"):
        inspection.resolve_promises(nested, {})
    arguments = DAGArguments([promise], {"b": 3})
    bare = DAGArguments([DAGPromise(promise.identifier)], {"b": 3})
    assert DAGArguments.from_server_bytes(arguments.to_server_bytes()) == bare
    assert inspection.verify_function_call(lambda a, b: None, [1], {"b": 2})
    with pytest.raises(TypeError):
        inspection.verify_function_call(lambda a, b: None, [1], {"c": 2})


def test_functions_are_found_by_name() -> None:
    assert function_to_name(Sample()) == function_to_name(Sample) == f"{__name__}:Sample"
    identifier = UUID(int=3)
    found = name_to_function(f"{__name__}:Sample.helper", identifier)
    assert (found(1), found.__self__.instance_id) == (3, identifier)
    with pytest.raises(ValueError, match="Unable to resolve"):
        name_to_function(f"{__name__}:Sample.missing", identifier)


def test_a_hash_is_of_a_functions_name_and_code_and_perhaps_of_packages() -> None:
    def one() -> int:
        return 1

    def two() -> int:
        return 1

    assert calculate_function_hash(one) != calculate_function_hash(two)
    two.__name__ = "one"
    assert calculate_function_hash(one) == calculate_function_hash(two)
    assert calculate_function_hash(one) != calculate_function_hash(one, include_package_versions=True)


def test_the_level_of_the_log_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for level, told in (("ERROR", 0), ("WARNING", 1)):
        monkeypatch.setenv("DAGORAMA_LOG_LEVEL", level)
        get_logger().warning("told")
        assert capsys.readouterr().err.count("told") == told
    monkeypatch.setenv("DAGORAMA_LOG_LEVEL", "LOUD")
    with pytest.raises(ValueError, match="LOUD"):
        get_logger()
    assert get_default_console_width(70) > 0
    assert logging.getLogger("Dagorama").level == logging.WARNING
