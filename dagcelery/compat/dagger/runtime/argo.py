"""`dagger.runtime.argo`: manifests for Argo Workflows, whose containers run `dagger.runtime.cli`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

from dagcelery.compat.dagger.dag import validate_parameters
from dagcelery.compat.dagger.runtime.local import built
from dagcelery.errors import NotExportable
from dagcelery.export.argo import API_VERSION
from dagcelery.export.argo.options import merged
from dagcelery.export.argo.templates import TOP, Container, Exporter
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


class _Configuration:
    """Read-only values: equal, and shown, by all of them."""

    _names: tuple[str, ...]

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update({f"_{name}": value for name, value in values.items()})
        self._names = tuple(values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"{type(self).__name__} has no '{name}'")
        return self.__dict__[f"_{name}"]

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_"):
            raise AttributeError(f"{type(self).__name__}.{name} cannot be set")
        object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in self._names}
        shown = (f"{name}={value.value if isinstance(value, Enum) else value}" for name, value in values.items())
        return f"{type(self).__name__}({', '.join(shown)})"


class Workflow(_Configuration):
    """The image of all containers, their entrypoint, which is to be `runtime.cli`, parameters, and more keys."""

    def __init__(
        self,
        container_image: str,
        container_entrypoint_to_dag_cli: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        extra_spec_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            {
                "container_image": container_image,
                "container_entrypoint_to_dag_cli": container_entrypoint_to_dag_cli or [],
                "params": params or {},
                "extra_spec_options": extra_spec_options or {},
            }
        )


class Metadata(_Configuration):
    """What Kubernetes calls an object; with `generate_name_from_prefix` the name is the beginning of one."""

    def __init__(
        self,
        name: str,
        generate_name_from_prefix: bool = False,
        namespace: str | None = None,
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            {
                "name": name,
                "generate_name_from_prefix": generate_name_from_prefix,
                "namespace": namespace,
                "annotations": annotations or {},
                "labels": labels or {},
            }
        )


class CronConcurrencyPolicy(Enum):
    """What happens when a workflow is due and the last one has not ended."""

    ALLOW = "Allow"
    FORBID = "Forbid"
    REPLACE = "Replace"


class Cron(_Configuration):
    """When a CronWorkflow is due, and what holds for its runs."""

    def __init__(
        self,
        schedule: str,
        starting_deadline_seconds: int = 0,
        concurrency_policy: CronConcurrencyPolicy = CronConcurrencyPolicy.ALLOW,
        timezone: str | None = None,
        successful_jobs_history_limit: int | None = None,
        failed_jobs_history_limit: int | None = None,
        extra_spec_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            {
                "schedule": schedule,
                "starting_deadline_seconds": starting_deadline_seconds,
                "concurrency_policy": concurrency_policy,
                "timezone": timezone,
                "successful_jobs_history_limit": successful_jobs_history_limit,
                "failed_jobs_history_limit": failed_jobs_history_limit,
                "extra_spec_options": extra_spec_options or {},
            }
        )


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
    return with_extra_spec_options(spec, cron.extra_spec_options, "the CronWorkflow spec")


def workflow_spec(dag: Node | Buildable[..., Any], workflow: Workflow) -> Mapping[str, Any]:
    """Return the spec of a workflow; a parameter that is not given has its default."""
    node = built(dag)
    if not isinstance(node, DAG):
        raise NotExportable("a task", "is not a DAG", "put it into one")
    validate_parameters(inputs=node.inputs, params=workflow.params)
    defaults = {name: default_of(source) for name, source in node.inputs.items()}
    params = {name: value for name, value in defaults.items() if value is not EMPTY} | dict(workflow.params)
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
        spec["arguments"] = {"parameters": [{"name": name, "value": value} for name, value in params.items()]}
    return with_extra_spec_options(spec, workflow.extra_spec_options, "the Workflow spec")


def _reference(name: str) -> str:
    return f"{{{{workflow.parameters.{name}}}}}"


def _dag_task_with_param(input_name: str, input_type: FromParam | FromNodeOutput) -> str:
    """Return the list that a task goes through, as Argo is told."""
    if isinstance(input_type, FromParam):
        return _reference(input_type.name or input_name)
    return f"{{{{tasks.{input_type.node}.outputs.parameters.{input_type.output}_partitions}}}}"


# -- more keys ------------------------------------------------------------------------------------
class OverridingError(NotExportable):
    """A key is set that the runtime sets itself."""

    def __str__(self) -> str:
        return self.problem


def with_extra_spec_options(
    original: Mapping[str, Any], extra_options: Mapping[str, Any], context: str
) -> dict[str, Any]:
    """Return both mappings as one: mappings in them are merged, lists joined. Any other key stands in one of them."""
    try:
        return merged(original, extra_options, context)
    except NotExportable as error:
        raise OverridingError(
            error.culprit,
            f"You are trying to override the value of '{error.culprit}'. The Argo runtime already sets a value for "
            "this key, and it uses it to guarantee the correctness of the behavior. Therefore, we cannot let you "
            "override them.",
        ) from error


_OLD_MODULES: Final = "cron cron_workflow_spec extra_spec_options metadata v1alpha1 workflow workflow_spec"

for _name in _OLD_MODULES.split():
    sys.modules.setdefault(f"{__name__}.{_name}", sys.modules[__name__])
