"""DAGs as Argo sees them: what their tasks are called, what they take and give, and what they need besides nodes.

What is no node needs a container of its own in five places (`Helper`): conditions, lists that were not made by element,
inputs of nested DAGs and outputs of DAGs that are made of several values or may be absent, and parameters of the whole
DAG that are not JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from dagcelery.client.standalone import EnclosingDag, is_made, label, serializer_of
from dagcelery.errors import NotExportable
from dagcelery.export.argo.artifacts import (
    Kept,
    Taken,
    extension,
    file,
    given_path,
    is_by_item,
    is_direct,
    is_known,
    is_put_together,
    is_split,
    may_be_absent,
    named_artifacts,
    reads,
)
from dagcelery.export.argo.identifiers import Folders, Names
from dagcelery.export.argo.policies import check_node
from dagcelery.model import DAG, Each, FromNodeOutput, FromParam, Literal, Node, Source, Task, fan_source
from dagcelery.model.graph import Root, roots
from dagcelery.model.sources import Readable, named
from dagcelery.planner.pools import output_serializer

TOP: Final = "dag"

UID: Final = "{{workflow.uid}}"


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
class DagOutline:
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


def condition_key(node: DAG, condition: str) -> tuple[str, str]:
    """Return what branches have in common that depend on the same value: one container decides for all."""
    source = node.inputs[condition]
    return "condition", repr(named(source, condition) if isinstance(source, FromParam) else source)


class DagOutlines:
    """Makes outlines, and knows all names that are taken in the manifest."""

    def __init__(self, converted: frozenset[str], *, has_helpers: bool) -> None:
        self._converted = converted
        self._has_helpers = has_helpers
        self._templates = Names()
        self._folders = Folders()

    def template(self, address: tuple[str, ...]) -> str:
        """Return a new name for the template of what stands at an address."""
        return self._templates.give("-".join([TOP, *address]))

    def outline(self, dag: DAG, around: DagOutline | None, address: tuple[str, ...], takes: list[Taken]) -> DagOutline:
        """Return the outline of a DAG that is at an address, where it takes what is known to be taken."""
        place, names = EnclosingDag(dag, around.place if around else None), Names()
        task = around.tasks[address[-1]] if around else ""
        has_items = fan_source(dag) is not None and around is not None
        added, folder = self._folders.give(around.folder, task, has_items=has_items) if around else ("", TOP)
        template = self.template(address)
        artifacts = Names("_")
        keeps = [
            Kept(name, artifacts.give(name), self._extension_of(source, name, place))
            for name, source in dag.outputs.items()
        ]
        tasks = {name: names.give(name) for name in dag.nodes}
        outline = DagOutline(dag, place, address, template, folder, added, tasks, takes, keeps, {})
        self._add_inputs(outline, around, names)
        self._add_outputs(outline, names)
        for name, node in dag.nodes.items():
            check_node(node, dag, f"node '{'.'.join([*address, name])}'")
            if isinstance(node, DAG) and node.only_if is not None:
                self._add_condition(outline, name, node, node.only_if[0], names)
            if fan_source(node) is not None:
                self._add_items(outline, name, roots(dag)[name], names)
        return outline

    def _add_inputs(self, outline: DagOutline, around: DagOutline | None, names: Names) -> None:
        dag, address = outline.dag, outline.address
        if around is None:
            made = [name for name in dag.inputs if name in self._converted]
            takes, make = [each for each in outline.takes if each.name in made], "parameters"
        else:
            made = [name for name, source in dag.inputs.items() if is_put_together(name, dag, around.place)]
            takes, make = [each for each in outline.takes if each.option != "input"], "inputs"
        if made:
            title = names.give(make)
            extensions = {name: self._extension_of_param(name, outline) for name in made}
            keeps = [Kept(name, artifact, extensions[name]) for name, artifact in named_artifacts(made)]
            paths = {each.name: f"{UID}/{{{{inputs.parameters.name}}}}/{title}/{file(each)}" for each in keeps}
            takes = [replace(each, option="from") if around is None else each for each in takes]
            outline.helpers[make] = self._helper(title, make, address, address, takes, keeps, paths)
            outline.made = dict.fromkeys(made, make)

    def _add_outputs(self, outline: DagOutline, names: Names) -> None:
        made = [name for name in outline.dag.outputs if not is_direct(name, outline.dag, is_top=outline.is_top)]
        if made:
            title = names.give("outputs")
            takes = self._taken([(name, outline.dag.outputs[name]) for name in made], outline.place, Names("_"))
            keeps = [each for each in outline.keeps if each.name in made]
            paths = {each.name: given_path(each) for each in keeps}
            helper = self._helper(title, "outputs", outline.address, outline.address, takes, keeps, paths)
            outline.helpers["outputs"] = helper

    def _add_condition(self, outline: DagOutline, name: str, node: DAG, condition: str, names: Names) -> None:
        source, key = node.inputs[condition], condition_key(node, condition)
        if key not in outline.helpers:
            title = names.give(f"{outline.tasks[name]}-condition")
            takes = self._taken([(condition, source)], outline.place, Names("_"))
            address = (*outline.address, name)
            outline.helpers[key] = self._helper(title, "condition", outline.address, address, takes, [], {})

    def _add_items(self, outline: DagOutline, name: str, root: Root, names: Names) -> None:
        if root in outline.helpers or is_split(root, outline.dag):
            return
        title = names.give(f"{outline.tasks[name]}-items")
        source = FromNodeOutput(*root) if root[0] else FromParam(root[1])
        takes = self._taken([(root[1], source)], outline.place, Names("_"), always="from")
        kept = Kept("items", "items", "items", is_split=True)
        paths = {"items": f"{UID}/{{{{inputs.parameters.name}}}}/{title}/{file(kept)}"}
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
        if not self._has_helpers:
            problem = f"needs a container that makes {make}, which dagger.runtime.cli does not"
            raise NotExportable(".".join(node) or "the DAG", problem, "use dagcelery.export.argo, or dagcelery export")
        template = self.template((*address, title))
        return Helper(title, template, make, ".".join(node), takes, keeps, paths)

    # -- what is read and given -------------------------------------------------------------------
    def _taken(
        self, sources: Iterable[tuple[str, Source]], place: EnclosingDag, names: Names, always: str = ""
    ) -> list[Taken]:
        """Return what must be read to make values of `sources`."""
        found: dict[tuple[Readable, bool], Taken] = {}
        for name, source in sources:
            for read, is_item in reads(source, name):
                if (read, is_item) not in found and (is_item or not is_known(read, place)):
                    option = always or ("item" if is_item else "from")
                    extension = self._extension_of(read, name, place)
                    artifact = names.give(label(read).replace(".", "_"))
                    optional = not is_item and may_be_absent(read, place.dag)
                    found[read, is_item] = Taken(artifact, option, label(read), extension, read, is_item, optional)
        return list(found.values())

    def inputs(self, node: Node, place: EnclosingDag) -> list[Taken]:
        """Return what a node takes: the values of its inputs, or those that they are made of."""
        names, takes, others = Names("_"), list[Taken](), list[tuple[str, Source]]()
        for name, source in node.inputs.items():
            if is_put_together(name, node, place):
                others.append((name, source))
            elif is_by_item(name, node):
                takes.append(self.whole(names.give(name), source, place, name, is_item=True))
            elif not isinstance(source, Literal) and not is_known(named(source, name), place):  # type: ignore[arg-type]
                takes.append(self.whole(names.give(name), source, place, name))
        return [*takes, *self._taken(others, place, names)]

    def whole(self, artifact: str, source: Source, place: EnclosingDag, name: str, *, is_item: bool = False) -> Taken:
        """Return what is taken for an input that is one value, or one element."""
        read = named(source.source if isinstance(source, Each) else source, name)  # type: ignore[arg-type]
        extension = self._extension_of(source, name, place)
        optional = not is_item and may_be_absent(read, place.dag)
        return Taken(artifact, "input", name, extension, read, is_item, optional)

    def outputs(self, node: Node, place: EnclosingDag) -> list[Kept]:
        """Return what a node gives."""
        names = Names("_")
        if isinstance(node, DAG):
            inside = EnclosingDag(node, place)
            return [
                Kept(name, names.give(name), self._extension_of(source, name, inside))
                for name, source in node.outputs.items()
            ]
        return [
            Kept(name, names.give(name), self._extension_of_output(name, node, place), output.is_partitioned)
            for name, output in node.outputs.items()
        ]

    # -- extensions -------------------------------------------------------------------------------
    def _extension_of(self, source: Source, name: str, place: EnclosingDag) -> str:
        if is_made(source, place.dag):
            return "pickle"
        return extension(serializer_of(source, name, place))

    def _extension_of_output(self, name: str, node: Task, place: EnclosingDag) -> str:
        return extension(output_serializer(node.outputs[name], node.options) or place.serializer)

    def _extension_of_param(self, name: str, outline: DagOutline) -> str:
        around = outline.place.around
        if around is None:
            return extension(serializer_of(FromParam(name), name, outline.place))
        return self._extension_of(outline.dag.inputs[name], name, around)
