"""A DAG becomes templates: one of the kind `dag` for each DAG, one with a container for each task.

Values travel as artifacts. Each has a key in the artifact repository that follows from where it is made, so whoever
reads it names that key and not the node that wrote it: ``{{workflow.uid}}/<DAG>/<node>/<output>.<extension>``, and
behind it ``/{{item}}`` for one item of a fan-out. A DAG's output is written by the node that makes it to the path that
the DAG around it has chosen. A list that is made by element is a folder; its ``partitions.json`` is an output parameter
as well, which `withParam` reads.

What is no node needs a container of its own in four places (`Helper`): conditions, lists that were not made by
element, inputs of nested DAGs and outputs of DAGs that are made of several values or may be absent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dagcelery.client.standalone import EnclosingDag, is_branch, is_made, known, label, serializer_of
from dagcelery.errors import NotExportable
from dagcelery.export.argo.names import Folders, Names
from dagcelery.export.argo.options import Added, attempts, check_node, template_options
from dagcelery.model import DAG, EMPTY, Each, FromNodeOutput, FromParam, Literal, Node, Source, Task, fan_source
from dagcelery.model.graph import Root, roots
from dagcelery.model.options import tolerance
from dagcelery.model.sources import Readable, Splice, named, parts
from dagcelery.payload.codecs import AsJSON
from dagcelery.planner.pools import output_serializer

TOP: Final = "dag"

INPUTS: Final = "/tmp/inputs"

OUTPUTS: Final = "/tmp/outputs"

UID: Final = "{{workflow.uid}}"


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
        return {self.storage: {"blob" if self.storage == "azure" else "key": key}}


@dataclass(frozen=True)
class Artifact:
    """A value where a task of a `dag` template gets it: the place, and the tasks that must be done by then.

    `is_optional`: there may be nothing, where a branch was not taken or a list has no element.
    """

    place: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    is_optional: bool = False


@dataclass(frozen=True)
class Taken:
    """An input of a template: `option` says in the container what it is, `name` whose."""

    artifact: str
    option: str
    name: str
    extension: str
    source: Readable
    is_item: bool
    is_optional: bool = False


@dataclass(frozen=True)
class Kept:
    """An output of a template."""

    name: str
    artifact: str
    extension: str
    is_split: bool = False


@dataclass
class Helper:
    """A task of a `dag` template that is no node of its DAG: `make` is what its container makes of `node`."""

    title: str
    template: str
    make: str
    node: str
    takes: list[Taken]
    keeps: list[Kept]
    paths: Mapping[str, str]


@dataclass
class Outline:
    """A DAG that is being written down: `place` is the DAG itself, for what stands in it."""

    dag: DAG
    place: EnclosingDag
    address: tuple[str, ...]
    template: str
    folder: str
    added: str
    tasks: dict[str, str]
    takes: list[Taken]
    keeps: list[Kept]
    made: dict[str, str]
    helpers: dict[object, Helper] = field(default_factory=dict)

    @property
    def is_top(self) -> bool:
        """Whether it is the DAG that is exported."""
        return not self.address


class Exporter:
    """Writes the templates of one DAG."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._templates = Names()
        self._folders = Folders()

    def templates(self, dag: DAG, raw: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the templates of a DAG and of all in it; `raw` has the text of each parameter that is passed.

        Raises NotExportable.
        """
        takes = [self._whole(artifact, FromParam(name), EnclosingDag(dag), name) for name, artifact in _named(raw)]
        outline = self._outline(dag, None, (), takes)
        written = list(self._written(outline))
        inputs = written[0]["inputs"]
        if takes:
            inputs["artifacts"] = [{"name": each.artifact, "raw": {"data": raw[each.name]}} for each in takes]
        return written

    # -- what a DAG looks like from outside -------------------------------------------------------
    def _outline(self, dag: DAG, around: Outline | None, address: tuple[str, ...], takes: list[Taken]) -> Outline:
        place, names = EnclosingDag(dag, around.place if around else None), Names()
        task = around.tasks[address[-1]] if around else ""
        has_items = fan_source(dag) is not None and around is not None
        added, folder = self._folders.give(around.folder, task, has_items=has_items) if around else ("", TOP)
        template = self._templates.give("-".join([TOP, *address]))
        artifacts = Names("_")
        keeps = [
            Kept(name, artifacts.give(name), self._extension(source, name, place))
            for name, source in dag.outputs.items()
        ]
        tasks = {name: names.give(name) for name in dag.nodes}
        outline = Outline(dag, place, address, template, folder, added, tasks, takes, keeps, {})
        self._add_inputs(outline, around, names)
        self._add_outputs(outline, names)
        for name, node in dag.nodes.items():
            check_node(node, dag, f"node '{'.'.join([*address, name])}'")
            if isinstance(node, DAG) and node.only_if is not None:
                self._add_condition(outline, name, node, node.only_if[0], names)
            if fan_source(node) is not None:
                self._add_items(outline, name, roots(dag)[name], names)
        return outline

    def _add_inputs(self, outline: Outline, around: Outline | None, names: Names) -> None:
        dag, address = outline.dag, outline.address
        if around is None:
            made = [name for name in dag.inputs if name in self.container.converted]
            takes, make = [each for each in outline.takes if each.name in made], "parameters"
        else:
            made = [name for name, source in dag.inputs.items() if _is_put_together(name, dag, around.place)]
            takes, make = [each for each in outline.takes if each.option != "input"], "inputs"
        if made:
            title = names.give(make)
            extensions = {name: self._extension_of_param(name, outline) for name in made}
            keeps = [Kept(name, artifact, extensions[name]) for name, artifact in _named(made)]
            paths = {each.name: f"{UID}/{{{{inputs.parameters.name}}}}/{title}/{_file(each)}" for each in keeps}
            takes = [replace(each, option="from") if around is None else each for each in takes]
            outline.helpers[make] = self._helper(title, make, address, address, takes, keeps, paths)
            outline.made = dict.fromkeys(made, make)

    def _add_outputs(self, outline: Outline, names: Names) -> None:
        made = [name for name in outline.dag.outputs if not _is_direct(name, outline)]
        if made:
            title = names.give("outputs")
            takes = self._taken([(name, outline.dag.outputs[name]) for name in made], outline.place, Names("_"))
            keeps = [each for each in outline.keeps if each.name in made]
            paths = {each.name: _given_path(each) for each in keeps}
            helper = self._helper(title, "outputs", outline.address, outline.address, takes, keeps, paths)
            outline.helpers["outputs"] = helper

    def _add_condition(self, outline: Outline, name: str, node: DAG, condition: str, names: Names) -> None:
        source = node.inputs[condition]
        key = ("condition", repr(named(source, condition) if isinstance(source, FromParam) else source))
        if key not in outline.helpers:
            title = names.give(f"{outline.tasks[name]}-condition")
            takes = self._taken([(condition, source)], outline.place, Names("_"))
            address = (*outline.address, name)
            outline.helpers[key] = self._helper(title, "condition", outline.address, address, takes, [], {})

    def _add_items(self, outline: Outline, name: str, root: Root, names: Names) -> None:
        if root in outline.helpers or _is_split(root, outline.dag):
            return
        title = names.give(f"{outline.tasks[name]}-items")
        source = FromNodeOutput(*root) if root[0] else FromParam(root[1])
        takes = self._taken([(root[1], source)], outline.place, Names("_"), always="from")
        kept = Kept("items", "items", "items", is_split=True)
        paths = {"items": f"{UID}/{{{{inputs.parameters.name}}}}/{title}/{_file(kept)}"}
        address = (*outline.address, name)
        outline.helpers[root] = self._helper(title, "items", outline.address, address, takes, [kept], paths)

    def _helper(
        self,
        title: str,
        make: str,
        address: tuple[str, ...],
        node: tuple[str, ...],
        takes: list[Taken],
        keeps: list[Kept],
        paths: Mapping[str, str],
    ) -> Helper:
        if not self.container.is_native:
            problem = f"needs a container that makes {make}, which dagger.runtime.cli does not"
            raise NotExportable(".".join(node) or "the DAG", problem, "use dagcelery.export.argo, or dagcelery export")
        template = self._templates.give("-".join([TOP, *address, title]))
        return Helper(title, template, make, ".".join(node), takes, keeps, paths)

    # -- what is read -----------------------------------------------------------------------------
    def _taken(
        self, sources: Iterable[tuple[str, Source]], place: EnclosingDag, names: Names, always: str = ""
    ) -> list[Taken]:
        """Return what must be read to make values of `sources`."""
        found: dict[tuple[Readable, bool], Taken] = {}
        for name, source in sources:
            for read, is_item in _reads(source, name):
                if (read, is_item) not in found and (is_item or not _is_known(read, place)):
                    option = always or ("item" if is_item else "from")
                    extension = self._extension(read, name, place)
                    artifact = names.give(label(read).replace(".", "_"))
                    optional = not is_item and _may_be_absent(read, place.dag)
                    found[read, is_item] = Taken(artifact, option, label(read), extension, read, is_item, optional)
        return list(found.values())

    def _inputs(self, node: Node, place: EnclosingDag) -> list[Taken]:
        """Return what a node takes: the values of its inputs, or those that they are made of."""
        names, takes, others = Names("_"), list[Taken](), list[tuple[str, Source]]()
        for name, source in node.inputs.items():
            if _is_put_together(name, node, place):
                others.append((name, source))
            elif _is_by_item(name, node):
                takes.append(self._whole(names.give(name), source, place, name, is_item=True))
            elif not isinstance(source, Literal) and not _is_known(named(source, name), place):  # type: ignore[arg-type]
                takes.append(self._whole(names.give(name), source, place, name))
        return [*takes, *self._taken(others, place, names)]

    def _whole(self, artifact: str, source: Source, place: EnclosingDag, name: str, *, is_item: bool = False) -> Taken:
        read = named(source.source if isinstance(source, Each) else source, name)  # type: ignore[arg-type]
        extension = self._extension(source, name, place)
        optional = not is_item and _may_be_absent(read, place.dag)
        return Taken(artifact, "input", name, extension, read, is_item, optional)

    def _artifact(self, taken: Taken, outline: Outline) -> Artifact:
        """Return where a task of a DAG gets what it takes."""
        read, dag = taken.source, outline.dag
        if isinstance(read, FromNodeOutput):
            key = self._key(read.node, read.output, outline)
            if not taken.is_item:
                return Artifact(self.container.located(key), (outline.tasks[read.node],), taken.is_optional)
            if fan_source(dag.nodes[read.node]) is not None or _root(read) not in outline.helpers:
                return Artifact(self.container.located(f"{key}/{{{{item}}}}"), (outline.tasks[read.node],))
        if taken.is_item:
            helper = outline.helpers[_root(read)]
            return Artifact(self.container.located(f"{helper.paths['items']}/{{{{item}}}}"), (helper.title,))
        name = label(read)
        if name in outline.made:
            helper = outline.helpers[outline.made[name]]
            return Artifact(self.container.located(helper.paths[name]), (helper.title,))
        artifact = next(each.artifact for each in outline.takes if each.name == name and each.option == "input")
        return Artifact({"from": f"{{{{inputs.artifacts.{artifact}}}}}"})

    def _key(self, node: str, output: str, outline: Outline) -> str:
        """Return the key of what a node gives back: of the whole list, if it is a fan-out."""
        for kept in outline.keeps:
            if _reads_plainly(outline.dag.outputs[kept.name], node, output) and _is_direct(kept.name, outline):
                return _given_path(kept)
        inner = outline.dag.nodes[node]
        kept = next(kept for kept in self._outputs(inner, outline.place) if kept.name == output)
        return f"{UID}/{{{{inputs.parameters.name}}}}/{outline.tasks[node]}/{_file(kept)}"

    def _outputs(self, node: Node, place: EnclosingDag) -> list[Kept]:
        names = Names("_")
        if isinstance(node, DAG):
            inside = EnclosingDag(node, place)
            return [
                Kept(name, names.give(name), self._extension(source, name, inside))
                for name, source in node.outputs.items()
            ]
        return [
            Kept(name, names.give(name), self._extension_of_output(name, node, place), output.is_partitioned)
            for name, output in node.outputs.items()
        ]

    # -- extensions -------------------------------------------------------------------------------
    def _extension(self, source: Source, name: str, place: EnclosingDag) -> str:
        if is_made(source, place.dag):
            return "pickle"
        return _extension(serializer_of(source, name, place))

    def _extension_of_output(self, name: str, node: Task, place: EnclosingDag) -> str:
        return _extension(output_serializer(node.outputs[name], node.options) or place.serializer)

    def _extension_of_param(self, name: str, outline: Outline) -> str:
        around = outline.place.around
        if around is None:
            return _extension(serializer_of(FromParam(name), name, outline.place))
        return self._extension(outline.dag.inputs[name], name, around)

    # -- templates --------------------------------------------------------------------------------
    def _written(self, outline: Outline) -> Iterator[dict[str, Any]]:
        """Yield the template of a DAG, and those of all in it."""
        inner: list[Outline | tuple[str, Task, tuple[str, ...]]] = []
        tasks: list[dict[str, Any]] = []
        for name, node in outline.dag.nodes.items():
            address = (*outline.address, name)
            takes = self._inputs(node, outline.place)
            if isinstance(node, DAG):
                nested = self._outline(node, outline, address, takes)
                inner.append(nested)
                template = nested.template
                keeps, added = nested.keeps, nested.added
            else:
                template, added = self._templates.give("-".join([TOP, *address])), ""
                inner.append((template, node, address))
                keeps = self._outputs(node, outline.place)
            tasks.append(self._task(name, node, template, takes, keeps, added, outline))
        tasks += [self._helping(helper, outline) for helper in outline.helpers.values()]
        yield self._dag(outline, tasks)
        for each in inner:
            if isinstance(each, Outline):
                yield from self._written(each)
            else:
                template, node, address = each
                yield self._container_of(template, node, address, outline.place)
        for helper in outline.helpers.values():
            yield self._container_of_helper(helper)

    def _dag(self, outline: Outline, tasks: list[dict[str, Any]]) -> dict[str, Any]:
        top, place = outline.is_top, ".".join(outline.address) or "DAG"
        name: dict[str, Any] = {"name": "name"} | ({"value": TOP} if top else {})
        paths = [
            {"name": f"{kept.artifact}_output_path"} | ({"value": f"{UID}/{TOP}/{_file(kept)}"} if top else {})
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
                    {"name": kept.artifact, **self.container.located(_given_path(kept))} for kept in outline.keeps
                ]
            }
            if split := list(self._handed_up(outline)):
                template["outputs"]["parameters"] = split
        if top and not outline.dag.options.fail_fast:
            template["dag"]["failFast"] = False
        added = outline.dag.runtime_options.get("argo_dag_template_overrides", {})
        template["dag"] = self.container.merged(template["dag"], added, place)
        return template

    def _handed_up(self, outline: Outline) -> Iterator[dict[str, Any]]:
        """Yield the numbers of the elements of lists that a DAG gives back as a task in it has made them."""
        if outline.is_top or fan_source(outline.dag) is not None or outline.dag.only_if is not None:
            return
        for kept in outline.keeps:
            source = outline.dag.outputs[kept.name]
            if isinstance(source, FromNodeOutput) and _is_direct(kept.name, outline):
                root = (source.node, source.output)
                if _is_split(root, outline.dag):
                    value = self._partitions(root, outline)[0]
                    yield {"name": f"{kept.artifact}_partitions", "valueFrom": {"parameter": value}}

    def _partitions(self, root: Root, outline: Outline) -> tuple[str, str]:
        """Return the reference to the numbers of the elements of a list, and the task that knows them."""
        if root in outline.helpers:
            task, artifact = outline.helpers[root].title, "items"
        else:
            task = outline.tasks[root[0]]
            keeps = self._outputs(outline.dag.nodes[root[0]], outline.place)
            artifact = next(kept.artifact for kept in keeps if kept.name == root[1])
        return f"{{{{tasks.{task}.outputs.parameters.{artifact}_partitions}}}}", task

    def _task(
        self,
        name: str,
        node: Node,
        template: str,
        takes: list[Taken],
        keeps: list[Kept],
        added: str,
        outline: Outline,
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

    def _condition(self, node: DAG, condition: str, outline: Outline) -> str:
        source = node.inputs[condition]
        key = ("condition", repr(named(source, condition) if isinstance(source, FromParam) else source))
        return outline.helpers[key].title

    def _helping(self, helper: Helper, outline: Outline) -> dict[str, Any]:
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
        takes, keeps = self._inputs(task, place), self._outputs(task, place)
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


# -- sources --------------------------------------------------------------------------------------
def _reads(source: Source | Splice, name: str) -> Iterator[tuple[Readable, bool]]:
    """Yield what a source reads, and whether only the element that belongs to the item."""
    if isinstance(source, FromParam | FromNodeOutput):
        yield named(source, name), False
    elif isinstance(source, Each):
        yield named(source.source, name), True
    elif isinstance(source, Splice):  # its elements are taken out of whole lists
        yield from ((read, False) for part in parts(source) for read, _ in _reads(part, name))
    else:
        for part in parts(source):
            yield from _reads(part, name)


def _is_by_item(name: str, node: Node) -> bool:
    return name == node.partition_by_input or isinstance(node.inputs[name], Each)


def _is_put_together(name: str, node: Node, place: EnclosingDag) -> bool:
    """Whether an input is made of several values, or of one that may be absent; a task takes an empty list as such."""
    source = node.inputs[name]
    if isinstance(source, Literal) or _is_by_item(name, node):
        return False
    is_gathered = isinstance(node, DAG) and isinstance(source, FromNodeOutput)
    return is_made(source, place.dag) or (is_gathered and _may_be_absent(source, place.dag))


def _may_be_absent(read: Source, dag: DAG) -> bool:
    """Whether there may be no file: of a branch that was not taken, or of a list without elements."""
    if not isinstance(read, FromNodeOutput):
        return False
    return is_branch(read, dag) or fan_source(dag.nodes[read.node]) is not None


def _is_known(source: Source, place: EnclosingDag) -> bool:
    return isinstance(source, FromParam) and known(source, place) is not EMPTY


def _is_split(root: Root, dag: DAG) -> bool:
    """Whether a list lies in a folder whose ``partitions.json`` is an output parameter of the node."""
    node = dag.nodes.get(root[0])
    if node is None or fan_source(node) is not None or getattr(node, "only_if", None) is not None:
        return False
    if isinstance(node, Task):
        return node.outputs[root[1]].is_partitioned
    source = node.outputs[root[1]]
    first = next(name for name, each in node.outputs.items() if each == source) == root[1]
    return first and isinstance(source, FromNodeOutput) and _is_split((source.node, source.output), node)


def _root(read: Readable) -> Root:
    return (read.node, read.output) if isinstance(read, FromNodeOutput) else ("", read.name or "")


def _reads_plainly(source: Source, node: str, output: str) -> bool:
    return isinstance(source, FromNodeOutput) and (source.node, source.output) == (node, output)


def _is_direct(name: str, outline: Outline) -> bool:
    """Whether the node that makes an output of a DAG writes it where the DAG around wants it."""
    dag, source = outline.dag, outline.dag.outputs[name]
    if not isinstance(source, FromNodeOutput) or _may_be_absent(source, dag):
        return False
    same = (each for each, other in dag.outputs.items() if _reads_plainly(other, source.node, source.output))
    return next(same) == name and (not outline.is_top or _is_of_a_task(source, dag))


def _is_of_a_task(source: Source, dag: DAG) -> bool:
    """Whether a task makes a value, so that its file is as the DAG's serializers say."""
    if not isinstance(source, FromNodeOutput) or _may_be_absent(source, dag):
        return False
    node = dag.nodes[source.node]
    return isinstance(node, Task) or _is_of_a_task(node.outputs[source.output], node)


# -- texts ----------------------------------------------------------------------------------------
def _extension(serializer: object) -> str:
    extension = str(getattr(serializer or AsJSON(), "extension", ""))
    return re.sub(r"[^A-Za-z0-9.]", "_", extension)


def _file(kept: Kept) -> str:
    return f"{kept.artifact}.{kept.extension}"


def _given_path(kept: Kept) -> str:
    return f"{{{{inputs.parameters.{kept.artifact}_output_path}}}}"


def _named(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    given = Names("_")
    for name in names:
        yield name, given.give(name)
