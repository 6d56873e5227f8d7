"""`dagcelery.compat.dagger.runtime.argo`: manifests as py-dagger made them, whose containers run its command line."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dagcelery.compat.dagger import DAG, FromNodeOutput, FromParam, FromReturnValue, Task
from dagcelery.compat.dagger.runtime import argo, cli
from dagcelery.compat.dagger.runtime.argo import Cron, CronConcurrencyPolicy, Metadata, Workflow
from unit.export.argo.interpreter import Argo


def ones(n: int) -> list[int]:
    return [1] * n


def times(x: int, factor: int) -> int:
    return x * factor


def total(xs: list[int]) -> int:
    return sum(xs)


ITEM = DAG(
    inputs={"x": FromNodeOutput("fan-out", "xs"), "factor": FromParam()},
    outputs={"y": FromNodeOutput("times", "y")},
    nodes={"times": Task(times, {"x": FromParam(), "factor": FromParam()}, {"y": FromReturnValue()})},
    partition_by_input="x",
)

MAP_REDUCE = DAG(
    inputs={"n": FromParam(), "factor": FromParam()},
    outputs={"sum": FromNodeOutput("reduce", "sum")},
    nodes={
        "fan-out": Task(ones, {"n": FromParam()}, {"xs": FromReturnValue(is_partitioned=True)}),
        "map": ITEM,
        "reduce": Task(total, {"xs": FromNodeOutput("map", "y")}, {"sum": FromReturnValue()}),
    },
)

WORKFLOW = Workflow("image", ["python", "main.py"], params={"n": 3, "factor": 2})


def run(words: Sequence[str]) -> int:
    assert words[:2] == ["python", "main.py"]
    cli.invoke(MAP_REDUCE, words[2:])
    return 0


@pytest.mark.parametrize("n", [0, 3])
def test_a_map_reduce_of_nested_dags_runs_as_its_manifest_says(n: int, tmp_path: Path) -> None:
    manifest: Any = argo.workflow_manifest(
        MAP_REDUCE, Metadata("it"), Workflow("image", ["python", "main.py"], {"n": n, "factor": 2})
    )
    (file,) = Argo(tmp_path, run).submit(manifest["spec"]).values()
    assert file.read_text() == str(2 * n)


def test_the_task_of_a_mapped_dag_is_given_its_item_and_a_folder_of_its_own() -> None:
    spec: Any = argo.workflow_spec(MAP_REDUCE, WORKFLOW)
    assert spec["templates"][0]["dag"]["tasks"][1] == {
        "name": "map",
        "template": "dag-map",
        "dependencies": ["fan-out"],
        "withParam": "{{tasks.fan-out.outputs.parameters.xs_partitions}}",
        "arguments": {
            "parameters": [
                {"name": "name", "value": "{{inputs.parameters.name}}-map-{{item}}"},
                {"name": "y_output_path", "value": "{{workflow.uid}}/{{inputs.parameters.name}}/map/y.json/{{item}}"},
            ],
            "artifacts": [
                {"name": "x", "s3": {"key": "{{workflow.uid}}/{{inputs.parameters.name}}/fan-out/xs.json/{{item}}"}},
                {"name": "factor", "from": "{{inputs.artifacts.factor}}"},
            ],
        },
    }


def test_a_container_runs_one_node_with_its_files() -> None:
    spec: Any = argo.workflow_spec(MAP_REDUCE, WORKFLOW)
    (template,) = [each for each in spec["templates"] if each["name"] == "dag-map-times"]
    place = ["--node-name", "map.times"]
    files = ["--input", "x", "{{inputs.artifacts.x.path}}", "--input", "factor", "{{inputs.artifacts.factor.path}}"]
    assert template["container"] == {
        "image": "image",
        "command": ["python", "main.py"],
        "args": [*place, *files, "--output", "y", "{{outputs.artifacts.y.path}}"],
        "volumeMounts": [{"name": "outputs", "mountPath": "/tmp/outputs"}],
    }


def test_parameters_are_values_and_texts_get_quotation_marks() -> None:
    spec: Any = argo.workflow_spec(MAP_REDUCE, Workflow("image", params={"n": 3, "factor": "two"}))
    assert spec["arguments"] == {"parameters": [{"name": "n", "value": 3}, {"name": "factor", "value": "two"}]}
    assert spec["templates"][0]["inputs"]["artifacts"] == [
        {"name": "n", "raw": {"data": "{{workflow.parameters.n}}"}},
        {"name": "factor", "raw": {"data": '"{{workflow.parameters.factor}}"'}},
    ]


def test_texts_are_valid_between_these_and_none_is_a_value() -> None:
    spec: Any = argo.workflow_spec(MAP_REDUCE, Workflow("image", params={"n": None, "factor": 'a"\nü'}))
    assert [each["value"] for each in spec["arguments"]["parameters"]] == ["null", 'a\\"\\nü']


def test_a_cron_workflow_has_the_keys_that_are_given() -> None:
    cron = Cron(
        "0 3 * * *", 5, CronConcurrencyPolicy.FORBID, timezone="Europe/Madrid", extra_spec_options={"suspend": True}
    )
    manifest: Any = argo.cron_workflow_manifest(
        MAP_REDUCE, Metadata("it", namespace="jobs", labels={"a": "b"}), WORKFLOW, cron
    )
    spec = manifest.pop("spec")
    assert spec.pop("workflowSpec") == argo.workflow_spec(MAP_REDUCE, WORKFLOW)
    assert spec == {
        "schedule": "0 3 * * *",
        "startingDeadlineSeconds": 5,
        "concurrencyPolicy": "Forbid",
        "timezone": "Europe/Madrid",
        "suspend": True,
    }
    assert manifest == {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "CronWorkflow",
        "metadata": {"name": "it", "namespace": "jobs", "labels": {"a": "b"}},
    }


@pytest.mark.parametrize("kind", ["WorkflowTemplate", "ClusterWorkflowTemplate"])
def test_templates_have_the_same_spec(kind: str) -> None:
    make = getattr(
        argo,
        {"WorkflowTemplate": "workflow", "ClusterWorkflowTemplate": "cluster_workflow"}[kind] + "_template_manifest",
    )
    manifest = make(MAP_REDUCE, Metadata("it", generate_name_from_prefix=True), WORKFLOW)
    assert manifest["metadata"] == {"generateName": "it"}
    assert (manifest["kind"], manifest["spec"]) == (kind, argo.workflow_spec(MAP_REDUCE, WORKFLOW))


def test_a_key_of_the_runtime_is_not_overridden() -> None:
    node = Task(ones, {"n": FromParam()}, runtime_options={"argo_container_overrides": {"image": "mine"}})
    with pytest.raises(
        ValueError, match=r"^You are trying to override the value of 'n\.image'\. The Argo runtime already"
    ):
        argo.workflow_spec(DAG({"n": node}, {"n": FromParam()}), Workflow("image", params={"n": 1}))


def test_a_missing_parameter_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"We are missing: \['factor', 'n'\]"):
        argo.workflow_spec(MAP_REDUCE, Workflow("image"))


def test_its_modules_are_found_where_they_were() -> None:
    for name in (
        "cron",
        "cron_workflow_spec",
        "extra_spec_options",
        "metadata",
        "v1alpha1",
        "workflow",
        "workflow_spec",
    ):
        assert importlib.import_module(f"dagcelery.compat.dagger.runtime.argo.{name}")
