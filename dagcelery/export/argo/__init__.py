"""Argo Workflows: a static DAG becomes a manifest, whose containers run ``dagcelery invoke`` for one node each.

`manifests` returns dicts for ``kubectl apply``, one of the kinds that Argo has for a workflow, after those that it
needs. Nothing is sent anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

from dagcelery.client.lifecycle import Submittable, dag_of, split_static
from dagcelery.client.local_runs import LocalRun
from dagcelery.errors import InvalidParameters, NotExportable, SerializationError
from dagcelery.export.argo.identifiers import Names
from dagcelery.export.argo.outlines import TOP
from dagcelery.export.argo.policies import config_map, limits, merged, spec_options
from dagcelery.export.argo.templates import Container, Exporter
from dagcelery.model import DAG, EMPTY, Task
from dagcelery.model.schedules import Schedule
from dagcelery.payload.codecs import AsJSON, Codec, JsonCodec
from dagcelery.planner.compile import as_dag, default_of
from dagcelery.settings import Settings
from dagcelery.signatures import bare, hints
from dagcelery.text import choices, shown

API_VERSION: Final = "argoproj.io/v1alpha1"

Kind = Literal["Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow"]

Storage = Literal["s3", "gcs", "oss"]

__all__ = ["Kind", "Storage", "manifests"]


def manifests(
    node: Submittable,
    *,
    image: str,
    kind: Kind = "Workflow",
    target: str = "",
    params: Mapping[str, object] | None = None,
    name: str = "",
    namespace: str = "",
    command: Sequence[str] = ("dagcelery", "invoke"),
    schedule: str | None = None,
    timezone: str | None = None,
    storage: Storage = "s3",
    spec: Mapping[str, Any] | None = None,
    hooks: bool = True,
) -> list[dict[str, Any]]:
    """Return the manifests of a DAG: the last one is of `kind`, those before it are the ConfigMaps that it needs.

    Containers of `image` run `command` with `target`, which names the DAG in there: ``pkg.mod:name``, what it is called
    here if left out. `params` are parameters of the run; a template may leave them to whoever uses it. Without `name`
    it is called like the DAG, and each Workflow gets a suffix of its own. `schedule` is the DAG's own if left out.
    `storage` is the kind of the cluster's artifact repository. `spec` has more keys for the workflow's spec. Hooks of
    the DAG are not called by Argo; ``hooks=False`` says that they are to be left out.

    Raises NotExportable, InvalidParameters for parameters and other arguments, and what building the DAG raises.
    """
    _check_choice("kind", kind, get_args(Kind))
    _check_choice("storage", storage, get_args(Storage))
    _check_image(image)
    found, values, static = split_static(node, params or {})
    model = dag_of(found)
    dag = as_dag(model) if isinstance(model, Task) else model
    if hooks:
        _check_hooks(dag)
    target = target or _target_of(node, dag)
    parameters = WorkflowParameters(dag, values, kind)
    options = [target, *_static_options(node, static)]
    container = Container(image, tuple(command), merged, options, storage=storage, converted=parameters.converted)
    written = _spec(dag, container, parameters.raw, parameters.arguments)
    written |= spec_options(dag.options, dag.name or TOP)
    written = merged(written, spec or {}, "spec")
    metadata = _metadata(name, dag, kind, namespace)
    if kind == "CronWorkflow":
        written = _cron(dag, schedule, timezone, written)
    else:
        _check_no_schedule(kind, schedule, timezone)
    maps = [config_map(each, most, namespace) for each, most in sorted(limits(dag, dag.name or TOP).items())]
    return [*maps, {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": written}]


def _spec(
    dag: DAG, container: Container, raw: Mapping[str, str], arguments: Sequence[Mapping[str, object]]
) -> dict[str, Any]:
    spec: dict[str, Any] = {"entrypoint": TOP, "templates": Exporter(container).templates(dag, raw)}
    return spec | ({"arguments": {"parameters": [*arguments]}} if arguments else {})


# -- parameters -----------------------------------------------------------------------------------
class WorkflowParameters:
    """The parameters of a workflow, which are texts: JSON, what else a DAG's serializers may write.

    A parameter whose own serializer writes something else is `converted` from JSON by a task at the beginning.
    """

    def __init__(self, dag: DAG, values: Mapping[str, object], kind: str) -> None:
        for name in values:
            if name not in dag.inputs:
                culprit = f"parameter '{name}' of DAG {dag.name!r}"
                raise InvalidParameters(culprit, "does not exist", choices(name, dag.inputs))
        local_run = LocalRun(dag, Settings.from_environment())
        codecs = {name: local_run.codec_of_param(name) for name in dag.inputs}
        self.converted = frozenset(name for name, codec in codecs.items() if not isinstance(codec, JsonCodec))
        self.raw: dict[str, str] = {}
        self.arguments: list[dict[str, object]] = []
        missing: list[str] = []
        names = Names("_")
        for name, source in dag.inputs.items():
            codec = JsonCodec(AsJSON()) if name in self.converted else codecs[name]
            text = _text(name, values.get(name, default_of(source)), codec, is_given=name in values)
            if text is None and (name in self.converted and default_of(source) is not EMPTY):
                continue  # a default that only the code can say
            if text is None and not kind.endswith("Template"):
                missing.append(name)
            parameter = names.give(name)
            self.raw[name] = f"{{{{workflow.parameters.{parameter}}}}}"
            given: dict[str, object] = {"name": parameter}
            self.arguments.append(given if text is None else given | {"value": text})
        if missing:
            problem = f"missing {missing}, and nobody is asked for them when a {kind} starts"
            remedy = "give values, or defaults that JSON can say"
            raise InvalidParameters(f"parameters of DAG {dag.name!r}", problem, remedy)


def _text(name: str, value: object, codec: Codec, *, is_given: bool) -> str | None:
    if value is EMPTY:
        return None
    try:
        text = codec.dump(value, f"parameter '{name}'").decode()
    except SerializationError:
        if is_given:
            raise
        return None
    return _escaped(text)


def _escaped(text: str) -> str:
    """Return JSON without two braces, which Argo takes for a reference: such two stand only within texts."""
    return text.replace("{{", "{\\u007b")


def _static_options(node: Submittable, static: Mapping[str, object]) -> list[str]:
    """Return the options that give a command the values which shaped the DAG."""
    options: list[str] = []
    annotations = hints(node.fn) if hasattr(node, "fn") else {}
    for name, value in static.items():
        is_text = isinstance(value, str) and bare(annotations.get(name)) is str
        text = str(value) if is_text else _escaped(json.dumps(value))
        if "{{" in text:
            raise InvalidParameters(f"parameter '{name}'", "holds '{{', which Argo takes for a reference", "avoid it")
        options += ["-p", f"{name}={text}"]
    return options


# -- names and times ------------------------------------------------------------------------------
def _check_image(image: object) -> None:
    if not isinstance(image, str) or len(image.split()) != 1 or "{{" in image:
        raise InvalidParameters(f"image={shown(image)}", "is not the name of an image", 'give "registry/image:tag"')


def _check_hooks(dag: DAG) -> None:
    for hook in ("on_failure", "on_success"):
        if getattr(dag.options, hook) is not None:
            problem = "is a function, which Argo cannot call when the workflow has ended"
            remedy = (
                "export it without hooks (hooks=False, --without-hooks), and give Argo an exit handler: spec onExit"
            )
            raise NotExportable(f"{hook} of DAG {dag.name!r}", problem, remedy)


def _check_choice(what: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise InvalidParameters(f"{what}={shown(value)}", "is unknown", choices(value, known))


def _target_of(node: Submittable, dag: DAG) -> str:
    """Return what a container imports: a text itself, or the name of a decorated function."""
    if isinstance(node, str):
        return node
    func = getattr(node, "fn", None)
    target = f"{func.__module__}:{func.__qualname__}" if func is not None else ""
    if not target or "<" in target or target.startswith("__main__:"):
        problem = "has no name by which a container could import it"
        raise InvalidParameters(f"DAG {dag.name!r}", problem, 'give target="package.module:name"')
    return target


_LABEL: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"

_LONGEST: Final = 52
"""Kubernetes takes 63 characters in labels; Argo's suffixes of a CronWorkflow's runs are 11."""


def _metadata(name: str, dag: DAG, kind: str, namespace: str) -> dict[str, Any]:
    if name and (not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", name) or len(name) > _LONGEST):
        remedy = f"use up to {_LONGEST} lower-case letters and digits, with '-' and '.' between them"
        raise InvalidParameters(f"name={shown(name)}", "is not a name for Kubernetes", remedy)
    if namespace and kind == "ClusterWorkflowTemplate":
        raise InvalidParameters(f"namespace={shown(namespace)}", f"is not for a {kind}", "leave it out")
    if namespace and (not re.fullmatch(_LABEL, namespace) or len(namespace) > 63):
        remedy = "use up to 63 lower-case letters and digits, with '-' between them"
        raise InvalidParameters(f"namespace={shown(namespace)}", "is not a name for Kubernetes", remedy)
    own = re.sub(r"[^a-z0-9]+", "-", (dag.name or TOP).rpartition(":")[2].lower()).strip("-")[:_LONGEST].strip("-")
    metadata: dict[str, Any] = {"name": name or own or TOP}
    if not name and kind == "Workflow":
        metadata = {"generateName": f"{own or TOP}-"}
    return metadata | ({"namespace": namespace} if namespace else {})


def _check_no_schedule(kind: str, cron: str | None, timezone: str | None) -> None:
    if cron is not None or timezone is not None:
        culprit = f"schedule={shown(cron)}" if cron is not None else f"timezone={shown(timezone)}"
        raise InvalidParameters(culprit, f"means nothing for a {kind}", 'leave it out, or give kind="CronWorkflow"')


def _cron(dag: DAG, cron: str | None, timezone: str | None, spec: Mapping[str, Any]) -> dict[str, Any]:
    schedule = dag.options.schedule if cron is None else Schedule(cron, timezone)
    if schedule is None:
        remedy = 'give schedule="0 3 * * *", here or to @dag'
        raise InvalidParameters(f"DAG {dag.name!r}", "has no schedule, which a CronWorkflow needs", remedy)
    written: dict[str, Any] = {"schedules": [schedule.cron], "workflowSpec": spec}
    return written | ({"timezone": timezone or schedule.timezone} if timezone or schedule.timezone else {})
