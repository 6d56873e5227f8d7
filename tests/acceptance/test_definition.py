"""Rows 1 to 17: ways to write a DAG."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from dagcelery import (
    DAG,
    DiskCacheStage,
    FromNodeOutput,
    FromParam,
    FromReturnValue,
    Pipeline,
    RedisStage,
    Run,
    Stage,
    Task,
    TaskFunction,
    Workflow,
    build,
    dag,
    errors,
    invoke,
    stage,
    task,
)
from dagcelery.compat.dagger import dsl
from dagcelery.compat.dagmate import Dagmate
from dagcelery.compat.dagorama.decorators import dagorama
from dagcelery.compat.dagorama.definition import DAGDefinition
from dagcelery.frontends.yaml import load
from dagcelery.local import Cluster

from .vocabulary import identity, map_reduce

DONE: list[object] = []


@stage
def note(word: str, *, times: int = 1) -> None:
    DONE.extend([word] * times)


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    DONE.clear()


def run(*stages: Stage) -> list[object]:
    """Run stages as a pipeline, and return what was noted."""
    pipeline = Pipeline()
    pipeline.add_stages(stages)
    pipeline.start()
    return DONE


def test_row_001_task_from_a_plain_function() -> None:
    split = {"all": FromReturnValue(is_partitioned=True)}
    numbers = Task(identity, {"x": FromParam()}, split, runtime_options={"cpu": 1})
    each = Task(identity, {"x": FromNodeOutput("numbers", "all")}, {"out": FromReturnValue()}, partition_by_input="x")
    made = DAG({"numbers": numbers, "each": each}, {"x": FromParam()}, {"outs": FromNodeOutput("each", "out")})
    assert invoke(made, {"x": [3, 1, 2]}) == {"outs": [3, 1, 2]}
    assert numbers.runtime_options == {"cpu": 1}


def test_row_002_dag_as_immutable_data() -> None:
    made = build(map_reduce)
    with pytest.raises(TypeError, match="cannot be changed"):
        made.nodes["numbers"] = None  # type: ignore[index]
    with pytest.raises(AttributeError, match="cannot be changed"):
        made.name = "other"


def test_row_003_decorated_tasks_in_the_called_form() -> None:
    assert invoke(dag()(lambda x: task()(identity)(x)), {"x": 1}) == 1
    assert invoke(dsl.build(dsl.DAG()(lambda x: dsl.task()(identity)(x))), {"x": 1}) == 1


def test_row_004_decorated_tasks_in_the_bare_form() -> None:
    assert invoke(dag(lambda x: task(identity)(x)), {"x": 1}) == 1
    assert invoke(dsl.build(dsl.DAG(lambda x: dsl.task(identity)(x))), {"x": 1}) == 1


def test_row_005_build_step() -> None:
    for made in (build(map_reduce), dsl.build(map_reduce)):
        assert isinstance(made, DAG)
        assert invoke(made, {"n": 4}) == 12


class Halved(DAGDefinition):
    """Decorated methods of the three kinds, and one that is not decorated."""

    @dagorama().syncfn
    def entrypoint(self, n: int) -> list[int]:
        return self.gathered([self.halved(self.shifted(x)) for x in range(n)])

    def shifted(self, x: int) -> int:
        return x + 2

    @dagorama().asyncfn
    async def halved(self, x: int) -> int:
        return x // 2

    @dagorama()
    def gathered(self, xs: list[int]) -> list[int]:
        return xs


class Natively(Workflow):
    @task
    def entrypoint(self, n: int) -> list[int]:
        return self.gathered([self.halved(x) for x in range(2, n + 2)])

    @task
    async def halved(self, x: int) -> int:
        return x // 2

    @task
    def gathered(self, xs: list[int]) -> list[int]:
        return xs


def nodes_of(run: Run[Any]) -> Counter[str]:
    return Counter(node.name.rpartition("/")[2].partition("-")[0] for node in run.status().nodes)


@pytest.mark.parametrize("definition", [Halved(), Natively()], ids=["compat", "native"])
def test_row_006_class_of_methods(definition: Workflow, cluster: Cluster) -> None:
    assert definition.invoke(4) == [1, 1, 2, 2]
    run = definition.submit(4)
    assert run.result(timeout=30) == [1, 1, 2, 2]
    assert nodes_of(run) == {"entrypoint": 1, "halved": 4, "gathered": 1}


def test_row_007_decorated_methods_sync_and_async() -> None:
    assert isinstance(Halved.entrypoint, TaskFunction)
    assert isinstance(Halved.halved, TaskFunction)
    with pytest.raises(ValueError, match="asyncfn is required"):
        dagorama().syncfn(Halved.halved.fn)
    with pytest.raises(ValueError, match="syncfn is required"):
        dagorama().asyncfn(Halved.entrypoint.fn)  # type: ignore[arg-type, type-var]


class Bare(DAGDefinition):
    @dagorama
    def entrypoint(self, x: int) -> Any:
        return self.more(self.later(x))

    @dagorama
    async def later(self, x: int) -> int:
        return x + 1

    @dagorama
    def more(self, x: int) -> int:
        return x + 1


def test_row_008_bare_decorator() -> None:
    assert Bare().invoke(1) == 3


def test_row_009_stage_from_a_function() -> None:
    assert run(note("a"), note("b", times=2)) == ["a", "b", "b"]


class Own(Stage):
    def __init__(self, word: str) -> None:
        self.word = word

    def run(self) -> None:
        DONE.append(self.word)


class InRedis(RedisStage):
    def run(self) -> None:
        self.write("k", [1])
        DONE.append(self.read("k"))


class OnDisk(DiskCacheStage):
    def run(self) -> None:
        self.write("k", [2])
        DONE.append(self.read("k"))


def test_row_010_stage_as_a_class(tmp_path: Path) -> None:
    assert Own("w").name == "Own"
    assert run(Own("w"), InRedis(), OnDisk(tmp_path)) == ["w", [1], [2]]


def test_row_011_explicit_order(project: Path) -> None:
    first, second = note("first"), note("second")
    last = note("last").after(first).after(second)
    assert last.preceding_stages == (first, second)
    assert run(last, second, first)[-1] == "last"
    (workflow,) = load("conf/config.yml")
    assert workflow.dag.nodes["c"].after == ("b",)
    (workflow,) = load("app/config.yml")
    assert workflow.dag.nodes["c"].after == ("b",)


def test_row_012_pipeline_as_a_container() -> None:
    one, other = Pipeline(), Pipeline()
    one.add_stage(note("a"))
    one.add_stages([note("b"), note("c")])
    other.add_stage(note("d"))
    assert [each.name for each in one.stages] == ["note"] * 3
    one.start()
    assert DONE == ["a", "b", "c"]


def test_row_013_yaml_with_modules_functions_and_dependencies(project: Path) -> None:
    (workflow,) = load("conf/config.yml")
    assert invoke(workflow) == {"c": {"x4": 7, "x5": 12}}


def test_row_014_yaml_with_inputs_and_outputs(project: Path) -> None:
    (workflow,) = load("app/config.yml")
    assert invoke(workflow) == {"c": {"x5": 12}, "d": {"x6": -7}}


def test_row_015_configuration_from_a_dict_as_well_as_a_file(project: Path) -> None:
    read = yaml.safe_load(Path("conf/config.yml").read_text())
    for mate in (Dagmate(config=read), Dagmate(config_file="conf/config.yml")):
        assert mate.activate()["inference"]() == {"c": {"x4": 7, "x5": 12}}


@pytest.mark.parametrize("module", ["app.training.a", "./app/training/a.py"])
def test_row_016_module_by_dotted_path_or_file_path(project: Path, module: str) -> None:
    step = {"name": "a", "module": module, "function": "step_fn", "dependencies": None, "return": ["x1", "x2"]}
    (workflow,) = load({"project": "p", "workflows": [{"name": "w", "steps": [step]}]})
    assert invoke(workflow) == {"a": {"x1": 3, "x2": 4}}


def test_row_017_several_workflows_in_a_project() -> None:
    step = {"name": "here", "module": "os", "function": "getcwd", "dependencies": None, "return": None}
    config: dict[str, Any] = {"project": "p", "workflows": [{"name": n, "steps": [step]} for n in ("one", "two")]}
    assert [(workflow.name, workflow.dag.name) for workflow in load(config)] == [("one", "p:one"), ("two", "p:two")]
    config["workflows"].append(config["workflows"][0])
    with pytest.raises(errors.InvalidConfig, match="workflow 'one' is there twice"):
        load(config)
