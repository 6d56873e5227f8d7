"""`dagcelery.compat.dagorama`: dagorama's modules, and what was wrong in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dagcelery import Run, TaskFunction
from dagcelery.compat.dagorama.decorators import dagorama
from dagcelery.compat.dagorama.definition import DAGDefinition, resolve
from dagcelery.compat.dagorama.retry import ExponentialRetry, StaticRetry
from dagcelery.compat.dagorama.runner import execute_worker, execute_worker_async, launch_workers
from dagcelery.compat.dagorama.serializer import register_definition
from dagcelery.compat.dagorama_broker.launch import launch_broker
from dagcelery.errors import InvalidParameters, NodeFailed
from dagcelery.local import Cluster


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
        return number + 2

    @dagorama().syncfn
    def loop_consolidate(self, numbers: list[int]) -> int:
        return sum(numbers)


REGISTERED = register_definition(Sample(3))


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
        return self.handed(x)

    @dagorama()
    async def handed(self, x: Any) -> Any:
        return x


class Elsewhere(DAGDefinition):
    @dagorama(queue_name="test_queue").syncfn
    def entrypoint(self) -> int:
        return 10


class Tainted(DAGDefinition):
    @dagorama(taint_name="test_taint").syncfn
    def entrypoint(self) -> int:
        return 10


class Failing(DAGDefinition):
    @dagorama(retry=StaticRetry(max_attempts=2, interval=0)).syncfn
    def entrypoint(self) -> None:
        raise ValueError("no")


@pytest.fixture(scope="module")
def broker() -> Iterator[None]:
    with launch_broker():
        yield


Found = tuple[Any, Any]


@pytest.fixture(scope="module")
def worked_off(broker: None) -> dict[str, Found]:
    """What several definitions gave when they were called; one worker has done all of them since."""
    found = {
        "plain": Sample()(1),
        "constructed": Sample(2)(1),
        "registered": REGISTERED(1),
        "failing": Failing()(),
    }
    assert [resolve(*each) for each in found.values()] == [None] * 4
    execute_worker(infinite_loop=False)
    return found


def test_a_definition_runs_on_a_worker_until_nothing_is_left(worked_off: dict[str, Found]) -> None:
    instance, promise = worked_off["plain"]
    assert resolve(instance, promise) == 9
    assert isinstance(instance.definition, Sample)


def test_objects_keep_what_their_constructor_was_given(worked_off: dict[str, Found]) -> None:
    assert [resolve(*worked_off[name]) for name in ("constructed", "registered")] == [11, 13]


def test_earlier_calls_are_worked_off_first(worked_off: dict[str, Found]) -> None:
    runs: list[Run[Any]] = [Run(promise.identifier) for _, promise in worked_off.values()]
    times = [run.status().started or 0 for run in runs]
    assert times == sorted(times)


def test_a_failure_is_told_apart_from_what_is_pending(worked_off: dict[str, Found]) -> None:
    with pytest.raises(NodeFailed, match="ValueError: no"):
        resolve(*worked_off["failing"])


@pytest.mark.usefixtures("worked_off")
def test_async_methods() -> None:
    async def run() -> Any:
        found = await Awaited()(1)
        Failing()()
        with pytest.raises(NodeFailed, match="ValueError: no"):  # as it does not catch exceptions
            await execute_worker_async(infinite_loop=False, catch_exceptions=False)
        return resolve(*found)

    assert asyncio.run(run()) == 2


@pytest.mark.usefixtures("worked_off")
def test_the_bare_decorator_and_falsy_results() -> None:
    values = [0, False, "", [], {}, {1, 2}]
    found = [Bare()(value) for value in values]
    with launch_workers(2, exit_on_completion=True) as workers:
        for worker in workers:
            worker.join()
    assert [resolve(*each) for each in found] == values
    assert [worker.is_alive() for worker in workers] == [False]


@pytest.mark.usefixtures("worked_off")
def test_named_queues_are_consumed_unless_others_are_named_and_taints_need_a_toleration() -> None:
    named, tainted = Elsewhere()(), Tainted()()
    execute_worker(include_queues=["test_queue", "other"], exclude_queues=["test_queue"], infinite_loop=False)
    assert (resolve(*named), resolve(*tainted)) == (None, None)
    execute_worker(queue_tolerations=["test_taint"], infinite_loop=False)
    assert (resolve(*named), resolve(*tainted)) == (10, 10)


def test_a_broker_that_is_configured_is_used(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    with launch_broker():
        instance, promise = Sample()(1)
    Run(promise.identifier).wait(30)
    assert resolve(instance, promise) == 9


def test_greedy_execution_calls_the_method_itself() -> None:
    entrypoint: Any = Sample().loop_map
    assert entrypoint(1, greedy_execution=True) == 3
    assert entrypoint(1) == 3
    assert isinstance(entrypoint, TaskFunction)


def test_retries_count_calls() -> None:
    assert StaticRetry(max_attempts=2, interval=1).as_retry().max_attempts == 2
    wait = ExponentialRetry(max_attempts=2, base_interval=3).as_retry().wait
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


@pytest.mark.parametrize(
    ("mistaken", "told"),
    [
        (lambda: dagorama(retry=3), "retry=3: does not say how to try again"),  # type: ignore[call-overload]
        (lambda: dagorama(queue_name=["a"]), "is not the name of a queue"),  # type: ignore[call-overload]
        (lambda: resolve(None, "promise"), "'promise': is not a promise"),  # type: ignore[arg-type]
        (lambda: execute_worker(include_queues=[3], infinite_loop=False), "holds 3"),  # type: ignore[list-item]
        (lambda: execute_worker(exclude_queues="celery", include_queues="celery"), "no queue left"),
    ],
)
def test_bad_input_is_told(cluster: Cluster, mistaken: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        mistaken()
