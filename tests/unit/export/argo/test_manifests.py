"""What a manifest says: in the schema of Argo, and of the options of a DAG and its tasks."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from dagcelery import DAG, FromParam, Retry, Task, dag, exponential, static, task
from dagcelery.export.argo import Kind, manifests
from dagcelery.model import DagOptions

from . import graphs
from .cluster import IMAGE, check_schema, target_of


def made(node: Any, kind: Kind = "Workflow", **options: Any) -> dict[str, Any]:
    options = {"image": IMAGE, "target": "app.flows:it", **options}
    return manifests(node, kind=kind, **options)[-1]


def template(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in manifest["spec"]["templates"] if each["name"] == name]
    return found


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_is_as_argo_s_schema_says(kind: Kind) -> None:
    times = {"schedule": "0 3 * * *", "timezone": "Europe/Berlin"} if kind == "CronWorkflow" else {}
    check_schema(made(graphs.names, kind, params={"x": 1}, **times))


# -- options --------------------------------------------------------------------------------------
PATIENT = Retry(max_attempts=4, wait=exponential(base=0.5, maximum=60, factor=1.5), on=OSError)


@task(retry=PATIENT, timeout=30, taint=("gpu", "nvidia.com/big"), max_concurrent=1)
def trained(x: int) -> int:
    return x


@task(retry=Retry(max_attempts=2, wait=static(0)), max_concurrent=5)
def proved(x: int) -> int:
    return x


@dag(deadline=90.5, fail_fast=False, max_active_runs=2, schedule="30 2 * * *", timezone="Europe/Berlin")
def nightly(x: int = 1) -> int:
    return proved(trained(x))


def test_options_of_tasks_are_keys_of_their_templates() -> None:
    first, second = (template(made(nightly), f"dag-{name}") for name in ("trained", "proved"))
    assert first["retryStrategy"] == {
        "limit": "3",
        "retryPolicy": "Always",
        "expression": 'lastRetry.exitCode != "1" && lastRetry.exitCode != "2"',
        "backoff": {"duration": "500ms", "factor": "2", "cap": "60000ms"},
    }
    assert "backoff" not in second["retryStrategy"]
    assert first["activeDeadlineSeconds"] == 30 + 120
    assert first["tolerations"] == [{"key": key, "operator": "Exists"} for key in ("gpu", "nvidia.com/big")]
    assert first["nodeSelector"] == {"gpu": "true", "nvidia.com/big": "true"}
    assert first["synchronization"]["mutexes"]


def test_options_of_the_dag_are_keys_of_the_workflow() -> None:
    manifest = made(nightly)
    check_schema(manifest)
    assert manifest["spec"]["activeDeadlineSeconds"] == 91
    assert template(manifest, "dag")["dag"]["failFast"] is False


def test_a_limit_of_several_finds_its_number_in_a_config_map_that_is_written_too() -> None:
    *maps, manifest = manifests(nightly, image=IMAGE, target="a:b", namespace="jobs")
    numbers = {each["metadata"]["name"]: each["data"]["limit"] for each in maps}
    (of_task,) = template(manifest, "dag-proved")["synchronization"]["semaphores"]
    (of_run,) = manifest["spec"]["synchronization"]["semaphores"]
    assert numbers == {
        of_task["configMapKeyRef"]["name"]: "5",
        of_run["configMapKeyRef"]["name"]: "2",
    }
    assert {each["metadata"]["namespace"] for each in [*maps, manifest]} == {"jobs"}


def test_a_cron_workflow_is_due_when_the_dag_is() -> None:
    spec = made(nightly, "CronWorkflow")["spec"]
    assert (spec["schedules"], spec["timezone"]) == (["30 2 * * *"], "Europe/Berlin")
    assert made(nightly, "CronWorkflow", schedule="* * * * *")["spec"]["schedules"] == ["* * * * *"]


def test_a_template_may_leave_parameters_to_whoever_uses_it() -> None:
    parameters = made(graphs.names, "WorkflowTemplate")["spec"]["arguments"]["parameters"]
    assert parameters == [{"name": "x"}]


def test_names() -> None:
    assert made(nightly)["metadata"] == {"generateName": "nightly-"}
    assert made(nightly, "WorkflowTemplate")["metadata"] == {"name": "nightly"}
    assert made(nightly, name="own", namespace="jobs")["metadata"] == {"name": "own", "namespace": "jobs"}


def test_containers_run_the_target_by_its_own_name_if_none_is_given() -> None:
    manifest = manifests(
        graphs.names, image=IMAGE, params={"x": 1}, command=("python", "-m", "dagcelery.cli", "invoke")
    )
    container = template(manifest[-1], "dag-inputs")["container"]
    assert container["args"][:3] == [target_of(graphs.names), "--node-name", "inputs"]
    assert container["command"] == ["python", "-m", "dagcelery.cli", "invoke"]


def test_artifacts_are_where_the_cluster_keeps_them() -> None:
    manifest = made(graphs.names, params={"x": 1}, storage="gcs")
    check_schema(manifest)
    (artifact,) = template(manifest, "dag-inputs")["outputs"]["artifacts"]
    assert artifact["gcs"] == {"key": "{{inputs.parameters.return_value_output_path}}"}


def test_users_keys_are_added_where_they_say() -> None:
    options = {
        "argo_container_overrides": {"resources": {"limits": {"cpu": "1"}}},
        "argo_template_overrides": {"metadata": {"labels": {"team": "ml"}}},
        "argo_task_overrides": {"continueOn": {"failed": True}},
    }
    node = DAG(
        {"one": Task(graphs.same.fn, {"x": FromParam()}, runtime_options=options)},
        {"x": FromParam()},
        runtime_options={"argo_dag_template_overrides": {"failFast": False}},
        options=DagOptions(),
    )
    manifest = made(node, params={"x": 1}, spec={"serviceAccountName": "runner", "arguments": {"parameters": []}})
    check_schema(manifest)
    one, top = template(manifest, "dag-one"), template(manifest, "dag")["dag"]
    assert one["container"]["resources"] == {"limits": {"cpu": "1"}}
    assert one["metadata"] == {"labels": {"team": "ml"}}
    assert top["failFast"] is False
    assert top["tasks"][0]["continueOn"] == {"failed": True}
    assert manifest["spec"]["serviceAccountName"] == "runner"
