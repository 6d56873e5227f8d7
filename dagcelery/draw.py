"""A DAG as a picture: Mermaid for documents, DOT for Graphviz, indented text for terminals.

Fan-outs are marked ``[*]``, taints are in braces, queues follow ``@``. Nested DAGs are boxes around their nodes.
`states` has the state to show for a node, by its path (``"train/fit"``): "done", "failed", "running 3/10". Special
characters in names are escaped, literals are not shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from dagcelery.model import DAG, FromNodeOutput, FromParam, Node, Source, Splice, Task, fan_source
from dagcelery.model.names import is_name
from dagcelery.model.sources import Choice, Each, parts

Style: TypeAlias = Literal["whole", "each", "after", "if", "if not"]
States: TypeAlias = Mapping[str, str]
Origins: TypeAlias = list[tuple[str, Style]]

_ARROWS: Final[Mapping[Style, str]] = {
    "whole": "-->",
    "each": "-. each .->",
    "after": "-. after .->",
    "if": "-. if .->",
    "if not": "-. if not .->",
}
_LINES: Final[Mapping[Style, str]] = {
    "whole": "",
    "each": ' [style=dashed, label="each"]',
    "after": ' [style=dotted, label="after"]',
    "if": ' [style=dashed, label="if"]',
    "if not": ' [style=dashed, label="if not"]',
}
_COLOURS: Final[Mapping[str, str]] = {
    "done": "#b7e1b0",
    "failed": "#f3b0a6",
    "running": "#b5d3f0",
    "skipped": "#d5d5d5",
    "stopped": "#f0c9a0",
    "ready": "#f4e3a1",
    "cancelled": "#d5d5d5",
    "timed_out": "#f0c9a0",
}


def mermaid(dag: DAG | Task, *, states: States | None = None) -> str:
    """Return a Mermaid flowchart."""
    picture = _picture(dag, states or {})
    lines = ["flowchart TD"]
    lines += _mermaid_box(picture.top, 1)
    lines += [f"    {edge.source} {_ARROWS[edge.style]} {edge.target}" for edge in picture.edges]
    for leaf in picture.leaves():
        colour = _COLOURS.get(leaf.state.partition(" ")[0])
        if colour:
            lines.append(f"    style {leaf.id} fill:{colour}")
    return "\n".join(lines) + "\n"


def dot(dag: DAG | Task, *, states: States | None = None) -> str:
    """Return a digraph for Graphviz."""
    picture = _picture(dag, states or {})
    lines = [f"digraph {_dot_text(picture.top.label)} {{", "    node [shape=box, style=filled, fillcolor=white];"]
    lines += _dot_box(picture.top, 1)
    lines += [f"    {edge.source} -> {edge.target}{_LINES[edge.style]};" for edge in picture.edges]
    return "\n".join([*lines, "}"]) + "\n"


def text(dag: DAG | Task, *, states: States | None = None) -> str:
    """Return a tree of nodes in the order in which they can start, each with its inputs."""
    dag = _alone(dag) if isinstance(dag, Task) else dag
    head = f"{_printable(dag.name or 'dag')}({', '.join(map(_printable, dag.inputs))})"
    return "\n".join([head, *_text_nodes(dag, "", "", states or {})]) + "\n"


# --- the parts of a picture ---


@dataclass(frozen=True, slots=True)
class _Edge:
    source: str
    target: str
    style: Style


@dataclass(slots=True)
class _Leaf:
    id: str
    label: str
    kind: Literal["task", "parameter", "output"]
    state: str = ""


@dataclass(slots=True)
class _Box:
    id: str
    label: str
    items: list[_Leaf | _Box] = field(default_factory=list)


@dataclass(slots=True)
class _Frame:
    """A DAG in the place where it is used, with the origins of its parameters and its drawn nodes."""

    dag: DAG
    box: _Box
    path: str
    params: Mapping[str, Origins]
    nodes: dict[str, _Leaf | _Frame] = field(default_factory=dict)


class _Picture:
    """Boxes, leaves and edges; their ids are numbers, so that names cannot break out."""

    def __init__(self, top: _Box, states: States) -> None:
        self.top = top
        self.states = states
        self.edges: dict[_Edge, None] = {}
        self.count = 0

    def leaf(self, box: _Box, label: str, kind: Literal["task", "parameter", "output"], path: str = "") -> _Leaf:
        state = self.states.get(path, "")
        leaf = _Leaf(self.new_id("n"), f"{label}: {state}" if state else label, kind, state)
        box.items.append(leaf)
        return leaf

    def new_id(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count}"

    def leaves(self) -> Iterator[_Leaf]:
        waiting: list[_Leaf | _Box] = [self.top]
        while waiting:
            item = waiting.pop()
            if isinstance(item, _Leaf):
                yield item
            else:
                waiting.extend(item.items)

    def fill(self, frame: _Frame) -> None:
        for name in _in_order(frame.dag):
            node, path = frame.dag.nodes[name], f"{frame.path}{name}"
            if isinstance(node, Task):
                leaf = self.leaf(frame.box, _label(name, node), "task", path)
                frame.nodes[name] = leaf
                for key in node.inputs:
                    self.connect(self.origins(frame, key, node), leaf.id)
            else:
                box = _Box(self.new_id("c"), _label(name, node))
                frame.box.items.append(box)
                params = {key: self.origins(frame, key, node) for key in node.inputs}
                inner = frame.nodes[name] = _Frame(node, box, f"{path}/", params)
                self.fill(inner)
            self.order(frame, node, frame.nodes[name])

    def origins(self, frame: _Frame, key: str, node: Node) -> Origins:
        """Return the leaves that an input of `node` reads, each once, with the styles of their edges."""
        origins: Origins = list(dict.fromkeys(_origins(frame, key, node.inputs[key])))
        return [(origin, "each") for origin, _ in origins] if key == node.partition_by_input else origins

    def connect(self, origins: Iterable[tuple[str, Style]], target: str) -> None:
        for origin, style in origins:
            self.edges[_Edge(origin, target, style)] = None

    def order(self, frame: _Frame, node: Node, drawn: _Leaf | _Frame) -> None:
        if isinstance(node, DAG) and node.only_if is not None:
            key, wanted = node.only_if
            style: Style = "if" if wanted else "if not"
            origins = self.origins(frame, key, node)
            self.connect([(origin, style) for origin, _ in origins], _leaf_of(drawn, 0))
        for upstream in node.after:
            last = _leaf_of(frame.nodes[upstream], -1)
            self.edges[_Edge(last, _leaf_of(drawn, 0), "after")] = None
        if node.over is not None:
            self.connect([(origin, "each") for origin, _ in _origins(frame, "", node.over)], _leaf_of(drawn, 0))


def _picture(dag: DAG | Task, states: States) -> _Picture:
    dag = _alone(dag) if isinstance(dag, Task) else dag
    picture = _Picture(_Box("top", dag.name or "dag"), states)
    params: dict[str, Origins] = {
        name: [(picture.leaf(picture.top, name, "parameter").id, "whole")] for name in dag.inputs
    }
    frame = _Frame(dag, picture.top, "", params)
    picture.fill(frame)
    for name, source in dag.outputs.items():
        picture.connect(_origins(frame, name, source), picture.leaf(picture.top, name, "output").id)
    return picture


def _origins(frame: _Frame, key: str, source: Source | Splice) -> Iterator[tuple[str, Style]]:
    """Yield the leaves that `source` reads, with the styles of their edges."""
    if isinstance(source, FromParam):
        yield from frame.params.get(source.name or key, ())
    elif isinstance(source, FromNodeOutput):
        drawn = frame.nodes[source.node]
        if isinstance(drawn, _Leaf):
            yield drawn.id, "whole"
        else:
            yield from _origins(drawn, source.output, drawn.dag.outputs[source.output])
    elif isinstance(source, Choice):
        for side in (source.then, source.otherwise):  # the condition is drawn at the branches
            yield from _origins(frame, key, side)
    else:
        for part in parts(source):
            for origin, style in _origins(frame, key, part):
                yield origin, "each" if isinstance(source, Each) else style


def _leaf_of(drawn: _Leaf | _Frame, at: int) -> str:
    while isinstance(drawn, _Frame):
        drawn = list(drawn.nodes.values())[at]
    return drawn.id


def _in_order(dag: DAG) -> Iterator[str]:
    place = {name: at for at, name in enumerate(dag.nodes)}
    for layer in dag.node_execution_order:
        yield from sorted(layer, key=place.__getitem__)


def _alone(task: Task) -> DAG:
    name = str(task.options.name or getattr(task.func, "__name__", ""))
    node = Task(task.func, {key: FromParam(key) for key in task.inputs}, options=task.options)
    return DAG({name if is_name(name) else "task": node}, {key: FromParam() for key in task.inputs})


def _label(name: str, node: Node) -> str:
    label = name if fan_source(node) is None else f"{name} [*]"
    if isinstance(node, Task) and node.options.taints:
        return f"{label} {{{'+'.join(sorted(node.options.taints))}}}"
    if isinstance(node, Task) and node.options.queue:
        return f"{label} @{node.options.queue}"
    return label


# --- the three languages ---


def _mermaid_box(box: _Box, depth: int) -> Iterator[str]:
    indent = "    " * depth
    for item in box.items:
        if isinstance(item, _Box):
            yield f"{indent}subgraph {item.id}[{_mermaid_text(item.label)}]"
            yield from _mermaid_box(item, depth + 1)
            yield f"{indent}end"
        else:
            opening, closing = {"task": "[]", "parameter": ("([", "])"), "output": ("[[", "]]")}[item.kind]
            yield f"{indent}{item.id}{opening}{_mermaid_text(item.label)}{closing}"


def _dot_box(box: _Box, depth: int) -> Iterator[str]:
    indent = "    " * depth
    for item in box.items:
        if isinstance(item, _Box):
            yield f"{indent}subgraph cluster_{item.id} {{"
            yield f"{indent}    label={_dot_text(item.label)};"
            yield from _dot_box(item, depth + 1)
            yield f"{indent}}}"
        else:
            shape = {"task": "", "parameter": ", shape=ellipse", "output": ", shape=oval, peripheries=2"}[item.kind]
            colour = _COLOURS.get(item.state.partition(" ")[0])
            filled = f', fillcolor="{colour}"' if colour else ""
            yield f"{indent}{item.id} [label={_dot_text(item.label)}{shape}{filled}];"


def _text_nodes(dag: DAG, indent: str, path: str, states: States) -> Iterator[str]:
    names = list(_in_order(dag))
    for at, name in enumerate(names):
        node, last = dag.nodes[name], at == len(names) - 1
        state = states.get(f"{path}{name}")
        line = f"{indent}{'└── ' if last else '├── '}{_printable(_label(name, node))}{_takes(node)}"
        yield f"{line}: {_printable(state)}" if state else line
        if isinstance(node, DAG):
            yield from _text_nodes(node, f"{indent}{'    ' if last else '│   '}", f"{path}{name}/", states)


def _takes(node: Node) -> str:
    reads = [read for key, source in node.inputs.items() for read in _read(source, key)]
    if node.over is not None:
        reads += [f"each {read}" for read in _read(node.over, "")]
    if isinstance(node, DAG) and node.only_if is not None:
        key, wanted = node.only_if
        conditions = list(_read(node.inputs[key], key))
        reads = [read for read in reads if read not in conditions]
        reads += [f"{'if' if wanted else 'if not'} {read}" for read in conditions]
    reads += [f"after {upstream}" for upstream in node.after]
    return f" <- {', '.join(dict.fromkeys(reads))}" if reads else ""


def _read(source: Source | Splice, key: str) -> Iterator[str]:
    if isinstance(source, FromParam):
        yield f"${source.name or key}"
    elif isinstance(source, FromNodeOutput):
        yield source.node if source.output == "return_value" else f"{source.node}.{source.output}"
    else:
        for part in parts(source):
            for read in _read(part, key):
                yield f"each {read}" if isinstance(source, Each) else read


def _mermaid_text(label: str) -> str:
    # Entities are numbers between # and ;, so # itself is escaped too, in the same pass.
    escaped = "".join(f"#{ord(letter)};" if letter in '#"`<>&;\\' else letter for letter in _printable(label))
    return f'"{escaped}"'


def _dot_text(label: str) -> str:
    escaped = _printable(label).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _printable(label: str) -> str:
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in label)
