"""Rows 60 to 74: where a DAG runs, and how its result is had."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery
from click.testing import CliRunner

from dagcelery import Pipeline, ReturnDeserializedOutputs, RunState, dag, invoke, stage, task
from dagcelery.cli import dag as program
from dagcelery.compat.dagger import FromParam, FromReturnValue, Task, dsl
from dagcelery.compat.dagger.runtime import cli, local
from dagcelery.compat.dagorama.decorators import dagorama
from dagcelery.compat.dagorama.definition import DAGDefinition, resolve
from dagcelery.compat.dagorama.runner import launch_workers
from dagcelery.compat.dagorama.serializer import register_definition
from dagcelery.compat.dagorama_broker.launch import launch_broker
from dagcelery.local import Cluster

from .conftest import eventually
from .vocabulary import add, double, hold, identity, map_reduce, numbers


def test_row_060_run_in_this_process() -> None:
    assert invoke(map_reduce, {"n": 3}) == 6
    made = dsl.build(map_reduce)
    assert local.invoke(made, {"n": 3}, outputs=local.ReturnDeserializedOutputs()) == {"return_value": 6}


def test_row_061_run_of_a_single_task(cluster: Cluster) -> None:
    assert invoke(double, {"x": 3}) == 6
    assert double.submit(x=3).result(timeout=30) == 6
    assert local.invoke(Task(identity, {"x": FromParam()}, {"out": FromReturnValue()}), {"x": 3}) == {"out": 3}


def test_row_062_values_or_files(tmp_path: Path) -> None:
    assert invoke(map_reduce, {"n": 3}, outputs=ReturnDeserializedOutputs()) == {"return_value": 6}
    stored = local.invoke(dsl.build(map_reduce), {"n": 3}, outputs=local.StoreSerializedOutputsInPath(str(tmp_path)))
    assert Path(stored["return_value"].filename).read_text() == "6"


@stage
def leave(folder: str, name: str) -> None:
    Path(folder, name).write_text(str(os.getpid()))


def started(folder: Path, num_cores: int | None) -> set[str]:
    """Run stages that leave the ids of their processes; return these."""
    pipeline = Pipeline()
    pipeline.add_stages([leave(str(folder), str(number)) for number in range(4)])
    pipeline.start(num_cores=num_cores)
    return {path.read_text() for path in folder.iterdir()}


def test_row_063_parallel_run_on_this_machine(tmp_path: Path) -> None:
    assert str(os.getpid()) not in started(tmp_path, num_cores=2)
    assert len(list(tmp_path.iterdir())) == 4


def test_row_064_serial_run(tmp_path: Path) -> None:
    assert started(tmp_path, num_cores=None) == {str(os.getpid())}


def command_line(*words: object) -> None:
    """Run ``dagcelery invoke`` of a map-reduce."""
    result = CliRunner().invoke(program, ["invoke", "acceptance.vocabulary:map_reduce", *map(str, words)])
    assert result.exit_code == 0, result.output


def test_row_065_run_of_a_dag_or_a_nested_node_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "n").write_text("4")
    command_line("--input", f"n={tmp_path / 'n'}", "--output", f"return_value={tmp_path / 'all'}")
    assert (tmp_path / "all").read_text() == "12"
    given = ["--node-name", "around.double", "--input", "x", str(tmp_path / "n")]
    nested = dsl.build(dsl.DAG(lambda x: around(x)))
    cli.invoke(nested, [*given, "--output", "return_value", str(tmp_path / "one")])
    assert (tmp_path / "one").read_text() == "8"


@dsl.DAG
def around(x: int) -> int:
    return double(x)


def test_row_066_partitioned_values_on_disk(tmp_path: Path) -> None:
    folder = tmp_path / "numbers"
    command_line("--node-name", "numbers", "-p", "n=3", "--output", f"return_value={folder}")
    assert {path.name for path in folder.iterdir()} == {"0", "1", "2", "partitions.json"}
    command_line("--node-name", "total", "--input", f"xs={folder}", "--output", f"return_value={tmp_path / 'sum'}")
    assert (tmp_path / "sum").read_text() == "3"


def test_row_067_distributed_workers(tmp_path: Path, cluster: Cluster) -> None:
    both = dag(lambda folder: [hold(folder), hold(folder)])
    run = both.submit(folder=str(tmp_path))
    eventually(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2)
    (tmp_path / "go").touch()
    assert len({*run.result(timeout=30), os.getpid()}) == 3


class Doubled(DAGDefinition):
    def __init__(self, times: int = 2) -> None:
        self.times = times

    @dagorama().syncfn
    def entrypoint(self, x: int) -> int:
        return self.multiplied(x)

    @dagorama().syncfn
    def multiplied(self, x: int) -> int:
        return self.times * x


QUADRUPLED = register_definition(Doubled(4))


def test_row_068_workers_that_end_when_nothing_is_left() -> None:
    with launch_broker():
        found = [Doubled()(3), Doubled(3)(3), QUADRUPLED(3)]
        assert [resolve(*each) for each in found] == [None] * 3
        with launch_workers(2, exit_on_completion=True) as workers:
            for each in workers:
                each.join()
        assert [resolve(*each) for each in found] == [6, 9, 12]


def test_row_072_eager_call(eager: Celery) -> None:
    run = map_reduce.submit(n=3)
    assert (run.state, run.result()) == (RunState.DONE, 6)
    assert map_reduce(n=3) == 6
    multiplied: Any = Doubled(5).multiplied
    assert multiplied(2, greedy_execution=True) == 10


def test_row_073_helpers_that_are_not_decorated_run_inline() -> None:
    def shifted(x: Any) -> Any:
        return add(x, 1)

    assert invoke(dag(lambda x: shifted(shifted(x))), {"x": 1}) == 3
    assert list(dag(lambda x: shifted(x)).__dag__().nodes) == ["add"]


class Scaling:
    """Its constructor's state travels to workers with it."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @task
    def scaled(self, x: int) -> int:
        return self.factor * x

    @dag
    def all_scaled(self, n: int) -> list[int]:
        return [self.scaled(x) for x in numbers(n)]


def test_row_074_objects_with_state_from_their_constructor(cluster: Cluster) -> None:
    assert Scaling(3).all_scaled.invoke(n=3) == [0, 3, 6]
    assert Scaling(4).all_scaled.submit(n=3).result(timeout=30) == [0, 4, 8]
