"""`dagger.runtime.argo`: manifests for Argo Workflows, whose containers run `dagger.runtime.cli`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dagcelery.compat.dagger import old_paths
from dagcelery.compat.dagger.dag import validate_parameters
from dagcelery.compat.dagger.runtime.argo_configuration import (
    Cron,
    CronConcurrencyPolicy,
    Metadata,
    Workflow,
    with_extra_spec_options,
)
from dagcelery.compat.dagger.runtime.local import built
from dagcelery.errors import NotExportable
from dagcelery.export.argo import API_VERSION
from dagcelery.export.argo.outlines import TOP
from dagcelery.export.argo.templates import Container, Exporter
from dagcelery.model import DAG, EMPTY, Buildable, FromNodeOutput, FromParam, Node
from dagcelery.planner.compile import default_of

__all__ = [
    "API_VERSION",
    "Cron",
    "CronConcurrencyPolicy",
    "Metadata",
    "Workflow",
    "cluster_workflow_template_manifest",
    "cron_workflow_manifest",
    "cron_workflow_spec",
    "object_meta",
    "with_extra_spec_options",
    "workflow_manifest",
    "workflow_spec",
    "workflow_template_manifest",
]


# -- manifests ------------------------------------------------------------------------------------
def workflow_manifest(dag: Node | Buildable[..., Any], metadata: Metadata, workflow: Workflow) -> Mapping[str, Any]:
    """Return a Workflow.

    Raises InvalidParameters and NotExportable, which are ValueErrors.
    """
    return _manifest("Workflow", metadata, workflow_spec(dag, workflow))


def workflow_template_manifest(
    dag: Node | Buildable[..., Any], metadata: Metadata, workflow: Workflow
) -> Mapping[str, Any]:
    """Return a WorkflowTemplate. Raises what `workflow_manifest` raises."""
    return _manifest("WorkflowTemplate", metadata, workflow_spec(dag, workflow))


def cluster_workflow_template_manifest(
    dag: Node | Buildable[..., Any], metadata: Metadata, workflow: Workflow
) -> Mapping[str, Any]:
    """Return a ClusterWorkflowTemplate. Raises what `workflow_manifest` raises."""
    return _manifest("ClusterWorkflowTemplate", metadata, workflow_spec(dag, workflow))


def cron_workflow_manifest(
    dag: Node | Buildable[..., Any], metadata: Metadata, workflow: Workflow, cron: Cron
) -> Mapping[str, Any]:
    """Return a CronWorkflow. Raises what `workflow_manifest` raises."""
    return _manifest("CronWorkflow", metadata, cron_workflow_spec(dag, workflow, cron))


def _manifest(kind: str, metadata: Metadata, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": object_meta(metadata), "spec": spec}


def object_meta(metadata: Metadata) -> Mapping[str, Any]:
    """Return the metadata of a manifest."""
    optional = {name: getattr(metadata, name) for name in ("annotations", "labels", "namespace")}
    called = "generateName" if metadata.generate_name_from_prefix else "name"
    return {called: metadata.name} | {name: value for name, value in optional.items() if value}


def cron_workflow_spec(dag: Node | Buildable[..., Any], workflow: Workflow, cron: Cron) -> Mapping[str, Any]:
    """Return the spec of a CronWorkflow."""
    spec = {
        "schedule": cron.schedule,
        "startingDeadlineSeconds": cron.starting_deadline_seconds,
        "concurrencyPolicy": cron.concurrency_policy.value,
        "workflowSpec": workflow_spec(dag, workflow),
    }
    optional = {
        "timezone": cron.timezone,
        "successfulJobsHistoryLimit": cron.successful_jobs_history_limit,
        "failedJobsHistoryLimit": cron.failed_jobs_history_limit,
    }
    spec |= {name: value for name, value in optional.items() if value}
    return with_extra_spec_options(spec, cron.extra_spec_options or {}, "the CronWorkflow spec")


def workflow_spec(dag: Node | Buildable[..., Any], workflow: Workflow) -> Mapping[str, Any]:
    """Return the spec of a workflow; a parameter that is not given has its default."""
    node = built(dag)
    if not isinstance(node, DAG):
        raise NotExportable("a task", "is not a DAG", "put it into one")
    given = workflow.params or {}
    validate_parameters(inputs=node.inputs, params=given)
    defaults = {name: default_of(source) for name, source in node.inputs.items()}
    params = {name: value for name, value in defaults.items() if value is not EMPTY} | dict(given)
    # Files of parameters are JSON: a text needs quotation marks, and everything else is written by Argo as it should.
    raw = {
        name: f'"{{{{workflow.parameters.{name}}}}}"' if isinstance(params[name], str) else _reference(name)
        for name in node.inputs
    }
    container = Container(
        workflow.container_image,
        tuple(workflow.container_entrypoint_to_dag_cli),
        with_extra_spec_options,
        is_native=False,
    )
    spec: dict[str, Any] = {"entrypoint": TOP, "templates": Exporter(container).templates(node, raw)}
    if params:
        spec["arguments"] = {"parameters": [{"name": name, "value": _value(each)} for name, each in params.items()]}
    return with_extra_spec_options(spec, workflow.extra_spec_options or {}, "the Workflow spec")


def _value(value: Any) -> Any:
    """Return a parameter's value as it is to stand in its file, a text between the quotation marks there."""
    if value is None:  # which would be no value to Argo
        return "null"
    return json.dumps(value, ensure_ascii=False)[1:-1] if isinstance(value, str) else value


def _reference(name: str) -> str:
    return f"{{{{workflow.parameters.{name}}}}}"


def _dag_task_with_param(input_name: str, input_type: FromParam | FromNodeOutput) -> str:
    """Return the list that a task goes through, as Argo is told."""
    if isinstance(input_type, FromParam):
        return _reference(input_type.name or input_name)
    return f"{{{{tasks.{input_type.node}.outputs.parameters.{input_type.output}_partitions}}}}"


old_paths.register(__name__)
