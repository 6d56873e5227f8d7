"""A DAG becomes templates: one of the kind `dag` for each DAG, one with a container for each task.

Values travel as artifacts. Each has a key in the artifact repository that follows from where it is made, so whoever
reads it names that key and not the node that wrote it: ``{{workflow.uid}}/<DAG>/<node>/<output>.<extension>``, and
behind it ``/{{item}}`` for one item of a fan-out. A DAG's output is written by the node that makes it to the path that
the DAG around it has chosen. A list that is made by element is a folder; its ``partitions.json`` is an output parameter
as well, which `withParam` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dagcelery.client.standalone import EnclosingDag, label
from dagcelery.errors import NotExportable
from dagcelery.export.argo.artifacts import (
    Kept,
    Taken,
    file,
    given_path,
    is_direct,
    is_split,
    named_artifacts,
    reads_plainly,
    root,
)
from dagcelery.export.argo.outlines import TOP, UID, DagOutline, DagOutlines, Helper, condition_key
from dagcelery.export.argo.policies import Added, attempts, template_options
from dagcelery.model import DAG, FromNodeOutput, FromParam, Node, Task, fan_source
from dagcelery.model.graph import Root, roots
from dagcelery.model.options import tolerance

INPUTS: Final = "/tmp/inputs"

OUTPUTS: Final = "/tmp/outputs"


@dataclass(frozen=True)
class Container:
    """How a container runs one node, and where artifacts are kept.

    `options` are arguments in front of all others. If `is_native` an argument is ``name=file``, else these are two.
    `merged` adds keys that a node's `runtime_options` have.
    """

    image: str
    command: Sequence[str]
    merged: Added
    options: Sequence[str] = ()
    is_native: bool = True
    storage: str = "s3"
    converted: frozenset[str] = frozenset()

    def argument(self, option: str, name: str, file: str) -> list[str]:
        """Return the arguments that say in which file something is."""
        if not self.is_native and option not in ("input", "output"):
            problem = "is needed by itself, since an input is made of it, which dagger.runtime.cli does not do"
            raise NotExportable(f"value '{name}'", problem, "use dagcelery.export.argo, or dagcelery export")
        return [f"--{option}", f"{name}={file}"] if self.is_native else [f"--{option}", name, file]

    def located(self, key: str) -> dict[str, Any]:
        """Return the place of an artifact."""
        return {self.storage: {"key": key}}


@dataclass(frozen=True)
class Artifact:
    """A value where a task of a `dag` template gets it: the place, and the tasks that must be done by then.

    `is_optional`: there may be nothing, where a branch was not taken or a list has no element.
    """

    place: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    is_optional: bool = False


class Exporter:
    """Writes the templates of one DAG."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._outlines = DagOutlines(container.converted, has_helpers=container.is_native)

    def templates(self, dag: DAG, raw: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the templates of a DAG and of all in it; `raw` has the text of each parameter that is passed.

        Raises NotExportable.
        """
        takes = [
            self._outlines.whole(artifact, FromParam(name), EnclosingDag(dag), name)
            for name, artifact in named_artifacts(raw)
        ]
        outline = self._outlines.outline(dag, None, (), takes)
        written = list(self._written(outline))
        inputs = written[0]["inputs"]
        if takes:
            inputs["artifacts"] = [{"name": each.artifact, "raw": {"data": raw[each.name]}} for each in takes]
        return written

    # -- what is read -----------------------------------------------------------------------------
    def _artifact(self, taken: Taken, outline: DagOutline) -> Artifact:
        """Return where a task of a DAG gets what it takes."""
        read, dag = taken.source, outline.dag
        if isinstance(read, FromNodeOutput):
            key = self._key(read.node, read.output, outline)
            if not taken.is_item:
                return Artifact(self.container.located(key), (outline.tasks[read.node],), taken.is_optional)
            if fan_source(dag.nodes[read.node]) is not None or root(read) not in outline.helpers:
                return Artifact(self.container.located(f"{key}/{{{{item}}}}"), (outline.tasks[read.node],))
        if taken.is_item:
            helper = outline.helpers[root(read)]
            return Artifact(self.container.located(f"{helper.paths['items']}/{{{{item}}}}"), (helper.title,))
        name = label(read)
        if name in outline.made:
            helper = outline.helpers[outline.made[name]]
            return Artifact(self.container.located(helper.paths[name]), (helper.title,))
        artifact = next(each.artifact for each in outline.takes if each.name == name and each.option == "input")
        return Artifact({"from": f"{{{{inputs.artifacts.{artifact}}}}}"})

    def _key(self, node: str, output: str, outline: DagOutline) -> str:
        """Return the key of what a node gives back: of the whole list, if it is a fan-out."""
        for kept in outline.keeps:
            if reads_plainly(outline.dag.outputs[kept.name], node, output) and is_direct(
                kept.name, outline.dag, is_top=outline.is_top
            ):
                return given_path(kept)
        inner = outline.dag.nodes[node]
        kept = next(kept for kept in self._outlines.outputs(inner, outline.place) if kept.name == output)
        return f"{UID}/{{{{inputs.parameters.name}}}}/{outline.tasks[node]}/{file(kept)}"

    # -- templates --------------------------------------------------------------------------------
    def _written(self, outline: DagOutline) -> Iterator[dict[str, Any]]:
        """Yield the template of a DAG, and those of all in it."""
        inner: list[DagOutline | tuple[str, Task, tuple[str, ...]]] = []
        tasks: list[dict[str, Any]] = []
        for name, node in outline.dag.nodes.items():
            address = (*outline.address, name)
            takes = self._outlines.inputs(node, outline.place)
            if isinstance(node, DAG):
                nested = self._outlines.outline(node, outline, address, takes)
                inner.append(nested)
                template = nested.template
                keeps, added = nested.keeps, nested.added
            else:
                template, added = self._outlines.template(address), ""
                inner.append((template, node, address))
                keeps = self._outlines.outputs(node, outline.place)
            tasks.append(self._task(name, node, template, takes, keeps, added, outline))
        tasks += [self._helping(helper, outline) for helper in outline.helpers.values()]
        yield self._dag(outline, tasks)
        for each in inner:
            if isinstance(each, DagOutline):
                yield from self._written(each)
            else:
                template, node, address = each
                yield self._container_of(template, node, address, outline.place)
        for helper in outline.helpers.values():
            yield self._container_of_helper(helper)

    def _dag(self, outline: DagOutline, tasks: list[dict[str, Any]]) -> dict[str, Any]:
        top, place = outline.is_top, ".".join(outline.address) or "DAG"
        name: dict[str, Any] = {"name": "name"} | ({"value": TOP} if top else {})
        paths = [
            {"name": f"{kept.artifact}_output_path"} | ({"value": f"{UID}/{TOP}/{file(kept)}"} if top else {})
            for kept in outline.keeps
        ]
        address: list[dict[str, Any]] = [{"name": "address"} | ({"value": ""} if top else {})]
        inputs: dict[str, Any] = {"parameters": [name, *(address if self.container.is_native else []), *paths]}
        if outline.takes:
            inputs["artifacts"] = [
                {"name": each.artifact} | ({"optional": True} if each.is_optional else {}) for each in outline.takes
            ]
        template: dict[str, Any] = {"name": outline.template, "inputs": inputs, "dag": {"tasks": tasks}}
        if outline.keeps:
            template["outputs"] = {
                "artifacts": [
                    {"name": kept.artifact, **self.container.located(given_path(kept))} for kept in outline.keeps
                ]
            }
            if split := list(self._handed_up(outline)):
                template["outputs"]["parameters"] = split
        if top and not outline.dag.options.fail_fast:
            template["dag"]["failFast"] = False
        added = outline.dag.runtime_options.get("argo_dag_template_overrides", {})
        template["dag"] = self.container.merged(template["dag"], added, place)
        return template

    def _handed_up(self, outline: DagOutline) -> Iterator[dict[str, Any]]:
        """Yield the numbers of the elements of lists that a DAG gives back as a task in it has made them."""
        if outline.is_top or fan_source(outline.dag) is not None or outline.dag.only_if is not None:
            return
        for kept in outline.keeps:
            source = outline.dag.outputs[kept.name]
            if isinstance(source, FromNodeOutput) and is_direct(kept.name, outline.dag, is_top=outline.is_top):
                made = root(source)
                if is_split(made, outline.dag):
                    value = self._partitions(made, outline)[0]
                    yield {"name": f"{kept.artifact}_partitions", "valueFrom": {"parameter": value}}

    def _partitions(self, made: Root, outline: DagOutline) -> tuple[str, str]:
        """Return the reference to the numbers of the elements of a list, and the task that knows them."""
        if made in outline.helpers:
            task, artifact = outline.helpers[made].title, "items"
        else:
            node, output = made
            task = outline.tasks[node]
            keeps = self._outlines.outputs(outline.dag.nodes[node], outline.place)
            artifact = next(kept.artifact for kept in keeps if kept.name == output)
        return f"{{{{tasks.{task}.outputs.parameters.{artifact}_partitions}}}}", task

    def _task(
        self,
        name: str,
        node: Node,
        template: str,
        takes: list[Taken],
        keeps: list[Kept],
        added: str,
        outline: DagOutline,
    ) -> dict[str, Any]:
        """Return the task that runs a node."""
        is_mapped = fan_source(node) is not None
        parameters: list[dict[str, Any]] = []
        if isinstance(node, DAG):
            folder = f"{{{{inputs.parameters.name}}}}-{added}" + "-{{item}}" * is_mapped
            parameters.append({"name": "name", "value": folder})
        if self.container.is_native:
            address = f"{{{{inputs.parameters.address}}}}{name}" + "[{{item}}]" * is_mapped
            parameters.append({"name": "address", "value": address + "/" * isinstance(node, DAG)})
        for kept in keeps:
            path = self._key(name, kept.name, outline) + "/{{item}}" * is_mapped
            parameters.append({"name": f"{kept.artifact}_output_path", "value": path})
        artifacts = [(each, self._artifact(each, outline)) for each in takes]
        needs = [need for _, artifact in artifacts for need in artifact.needs]
        task: dict[str, Any] = {"name": outline.tasks[name], "template": template}
        extra: dict[str, Any] = {}
        if is_mapped:
            extra["withParam"], maker = self._partitions(roots(outline.dag)[name], outline)
            needs.append(maker)
            source = fan_source(node)
            needs += [outline.tasks[source.node]] if isinstance(source, FromNodeOutput) else []
        if isinstance(node, DAG) and node.only_if is not None:
            decided = self._condition(node, node.only_if[0], outline)
            extra["when"] = f"{{{{tasks.{decided}.outputs.parameters.condition}}}} == {str(node.only_if[1]).lower()}"
            needs.append(decided)
        needs += [outline.tasks[upstream] for upstream in node.after]
        _complete(task, needs, parameters, artifacts)
        place = ".".join([*outline.address, name])
        return self.container.merged(task | extra, node.runtime_options.get("argo_task_overrides", {}), place)

    def _condition(self, node: DAG, condition: str, outline: DagOutline) -> str:
        return outline.helpers[condition_key(node, condition)].title

    def _helping(self, helper: Helper, outline: DagOutline) -> dict[str, Any]:
        """Return the task of a helper."""
        if helper.make in ("parameters", "inputs"):
            artifacts = [
                (each, Artifact({"from": f"{{{{inputs.artifacts.{each.artifact}}}}}"}, (), each.is_optional))
                for each in helper.takes
            ]
        else:
            artifacts = [(each, self._artifact(each, outline)) for each in helper.takes]
        parameters = [
            {"name": f"{kept.artifact}_output_path", "value": helper.paths[kept.name]}
            for kept in helper.keeps
            if kept.name in helper.paths
        ]
        task: dict[str, Any] = {"name": helper.title, "template": helper.template}
        _complete(task, [need for _, artifact in artifacts for need in artifact.needs], parameters, artifacts)
        return task

    # -- containers -------------------------------------------------------------------------------
    def _container_of(self, name: str, task: Task, address: tuple[str, ...], place: EnclosingDag) -> dict[str, Any]:
        title = ".".join(address)
        takes, keeps = self._outlines.inputs(task, place), self._outlines.outputs(task, place)
        arguments = ["--node-name", title, *self._arguments(takes, keeps)]
        if attempts(task) is not None and self.container.is_native:
            arguments += ["--retries", "{{retries}}"]
        if fan_source(task) is not None and tolerance(task.options) and self.container.is_native:
            arguments += ["--skip"]
        if self.container.is_native:
            arguments += ["--run", UID, "--address", "{{inputs.parameters.address}}"]
        template = self._container(name, arguments, takes, keeps)
        if self.container.is_native:
            parameters = [{"name": "address"}, *template.get("inputs", {}).get("parameters", [])]
            template["inputs"] = template.get("inputs", {}) | {"parameters": parameters}
        template |= template_options(task, f"node '{title}'")
        options = task.runtime_options
        container = self.container.merged(template["container"], options.get("argo_container_overrides", {}), title)
        template["container"] = container
        return self.container.merged(template, options.get("argo_template_overrides", {}), title)

    def _container_of_helper(self, helper: Helper) -> dict[str, Any]:
        arguments = ["--node-name", helper.node] if helper.node else []
        arguments += ["--make", helper.make]
        if helper.make != "condition":
            arguments += self._arguments(helper.takes, helper.keeps)
            return self._container(helper.template, arguments, helper.takes, helper.keeps)
        # A condition is read as a parameter, and by nobody as a file.
        path = f"{OUTPUTS}/condition.json"
        arguments += [*self._arguments(helper.takes, []), *self.container.argument("output", "condition", path)]
        template = self._container(helper.template, arguments, helper.takes, [])
        return _with_outputs(template, {"parameters": [{"name": "condition", "valueFrom": {"path": path}}]})

    def _arguments(self, takes: Iterable[Taken], keeps: Iterable[Kept]) -> list[str]:
        arguments: list[str] = []
        for each in takes:
            arguments += self.container.argument(
                each.option, each.name, f"{{{{inputs.artifacts.{each.artifact}.path}}}}"
            )
        for kept in keeps:
            arguments += self.container.argument("output", kept.name, f"{{{{outputs.artifacts.{kept.artifact}.path}}}}")
        return arguments

    def _container(
        self, name: str, arguments: list[str], takes: Sequence[Taken], keeps: Sequence[Kept]
    ) -> dict[str, Any]:
        container: dict[str, Any] = {"image": self.container.image, "args": [*self.container.options, *arguments]}
        if self.container.command:
            container["command"] = [*self.container.command]
        template: dict[str, Any] = {"name": name, "container": container}
        inputs: dict[str, Any] = {}
        if keeps:
            inputs["parameters"] = [{"name": f"{kept.artifact}_output_path"} for kept in keeps]
        if takes:
            inputs["artifacts"] = [
                {"name": each.artifact, "path": f"{INPUTS}/{each.artifact}.{each.extension}"}
                | ({"optional": True} if each.is_optional else {})
                | ({"archive": {"none": {}}} if self.container.is_native else {})  # lest it unpacks what looks packed
                for each in takes
            ]
        if inputs:
            template["inputs"] = inputs
        return _with_outputs(template, self._kept(keeps)) if keeps else template

    def _kept(self, keeps: Iterable[Kept]) -> dict[str, Any]:
        parameters = [
            {
                "name": f"{kept.artifact}_partitions",
                "valueFrom": {"path": f"{{{{outputs.artifacts.{kept.artifact}.path}}}}/partitions.json"},
            }
            for kept in keeps
            if kept.is_split
        ]
        artifacts = [
            {
                "name": kept.artifact,
                "path": f"{OUTPUTS}/{kept.artifact}.{kept.extension}",
                "archive": {"none": {}},
                **self.container.located(f"{{{{inputs.parameters.{kept.artifact}_output_path}}}}"),
            }
            for kept in keeps
        ]
        return ({"parameters": parameters} if parameters else {}) | {"artifacts": artifacts}


def _with_outputs(template: dict[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the template of a container that writes outputs, with a place to write them to."""
    container = template["container"] | {"volumeMounts": [{"name": "outputs", "mountPath": OUTPUTS}]}
    volumes = [{"name": "outputs", "emptyDir": {}}]
    return template | {"container": container, "outputs": outputs, "volumes": volumes}


def _complete(
    task: dict[str, Any],
    needs: Iterable[str],
    parameters: list[dict[str, Any]],
    artifacts: Iterable[tuple[Taken, Artifact]],
) -> None:
    """Add to a task what it waits for, and what it is given."""
    if dependencies := [*dict.fromkeys(needs)]:
        task["dependencies"] = dependencies
    arguments: dict[str, Any] = {}
    if parameters:
        arguments["parameters"] = parameters
    placed = [{"name": each.artifact, **artifact.place} for each, artifact in artifacts]
    if placed:
        arguments["artifacts"] = placed
    if arguments:
        task["arguments"] = arguments
