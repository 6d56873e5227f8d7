"""A general body is lowered to a DAG, scope by scope: its calls become nodes, and references to them sources.

Calls for each element of a list become one node that runs once per item. Calls within two loops cannot: a node runs
over one list. They move into a nested DAG that runs once per item of the outer list and takes the inner one as a
parameter, which is a scope of its own. The same is done for a list that is only a part of a parameter, because a
fan-out needs a whole one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from dagcelery.errors import CyclicDependency, InvalidDag
from dagcelery.frontends.functional.recorded import (
    Call,
    CalledDag,
    CalledTask,
    Callee,
    Context,
    Element,
    GeneralBody,
    Parameter,
    Ref,
    Result,
    Spliced,
    followed,
    leaves,
    mapped,
)
from dagcelery.frontends.functional.trace import NESTED
from dagcelery.model.graph import DAG, Node, Task
from dagcelery.model.names import LONGEST, UniqueNames, output_name, valid
from dagcelery.model.nodes import FromKey, FromPath, FromProperty, FromReturnValue, TaskOutput
from dagcelery.model.options import DagOptions, tolerance
from dagcelery.model.serializers import Serializer, serializer_at, serializer_of
from dagcelery.model.sources import (
    DictOf,
    Each,
    FromNodeOutput,
    FromParam,
    ListOf,
    Literal,
    Part,
    Path,
    Readable,
    Source,
    Splice,
    own_items,
)
from dagcelery.signatures import element_of, hint_at, hints, is_list


def lowered(body: GeneralBody, parameters: Mapping[str, FromParam], *, name: str, options: DagOptions) -> DAG:
    """Return the DAG of a general body with these parameters."""
    scope = ScopeLowering(body, range(len(body.calls)))
    scope.place()
    returns = scope.source(body.returns, ())
    scope.want_serializers()
    nodes = _nodes(scope, options)
    inputs: dict[str, Source] = {
        name: FromParam(source.name, source.default_value, source.serializer or scope.wanted.get(name))
        for name, source in parameters.items()
    }
    with _circles_explained():
        return DAG(nodes, inputs, dict(_outputs(returns)), name=name, options=options, returns=returns)


def lowered_value(body: GeneralBody) -> Source:
    """Return what a general body returns that calls nothing."""
    return ScopeLowering(body, ()).source(body.returns, ())


@dataclass
class LoweredNode:
    """A node-to-be: its inputs, and which of its outputs are read, at which path, and whether by element.

    `first` is the number of the first call in it.
    """

    name: str
    first: int
    context: Context
    inputs: dict[str, Source] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    over: Readable | None = None
    reads: dict[str, tuple[Path, bool]] = field(default_factory=dict)
    wanted: dict[str, Serializer] = field(default_factory=dict)

    @property
    def takes_items(self) -> bool:
        """Whether an input is taken by item, which makes the node a fan-out."""
        return any(True for source in self.inputs.values() for _ in own_items(source))

    @property
    def explicit_over(self) -> Readable | None:
        """What the node runs over, unless an input says so already."""
        return None if self.takes_items else self.over


class ScopeLowering:
    """The calls `members` as nodes, those of `prefix` plain, those of one element more as fan-outs.

    `group` is the context that this scope was split off for, None at the top: what does not belong to it comes from
    outside, as a parameter. `outer` is the scope around it.
    """

    def __init__(
        self,
        body: GeneralBody,
        members: Iterable[int],
        prefix: Context = (),
        group: Context | None = None,
        outer: ScopeLowering | None = None,
    ) -> None:
        self.body, self.prefix, self.group, self.outer = body, prefix, group, outer
        own, grouped = self._divided(members)
        names = self._names(own, grouped)
        self.own = {number: LoweredNode(names[number], number, body.calls[number].context) for number in own}
        self._own_by_name = {node.name: node for node in self.own.values()}
        self.inner = {key: ScopeLowering(body, grouped[key], key[:-1], key, self) for key in grouped}
        self.nodes_of_inner = {key: LoweredNode(names[key], min(grouped[key]), key[:-1]) for key in grouped}
        self.inner_of = {number: key for key, numbers in grouped.items() for number in numbers}
        self.params: dict[str, Source] = {}
        self.outputs: dict[str, Source] = {}
        self.wanted: dict[str, Serializer] = {}
        self._wishes: dict[int, Mapping[str, Serializer]] = {}
        self._from_outer: dict[object, FromParam] = {}
        self._param_names, self._output_names = UniqueNames(), UniqueNames()
        self._waits: dict[Ref, None] = {}

    def place(self) -> None:
        """Find the sources of all inputs, here and in the scopes within."""
        for number, node in self.own.items():
            call = self.body.calls[number]
            node.inputs = {name: self.source(value, node.context) for name, value in call.arguments.items()}
            node.over = self._over(node)
            node.after = () if isinstance(call.after, Literal) else self._upstream(leaves(call.after))
        for key, scope in self.inner.items():
            scope.place()
            node = self.nodes_of_inner[key]
            node.inputs = scope.params
            node.over = self._over(node)
            node.after = self._upstream(scope._waits)

    def source(self, source: Source, at: Context) -> Source:
        """Return `source` with every reference replaced by what it is for a reader in context `at`."""
        if isinstance(source, Ref):
            return self._read(source)
        if isinstance(source, ListOf):
            return self._list(source, at)
        return mapped(source, lambda part: self.source(part, at))

    # --- which calls belong where ---

    def _divided(self, members: Iterable[int]) -> tuple[list[int], dict[Context, list[int]]]:
        own, grouped = [], defaultdict(list)
        for number in members:
            key = self._group_of(self.body.calls[number].context)
            if key is None:
                own.append(number)
            else:
                grouped[key].append(number)
        return own, dict(grouped)

    def _group_of(self, context: Context) -> Context | None:
        loops = context[len(self.prefix) :]
        if not loops:
            return None
        size = len(self.prefix) + (2 if self._is_direct(loops[0].source) else 1)
        return None if len(context) < size else context[:size]

    def _is_direct(self, source: Ref) -> bool:
        base, is_outside = source.base, self._is_outside(self.body.context(source))
        if is_outside or isinstance(base, Parameter):
            return not source.path or is_outside
        if isinstance(base, Element):
            return False
        return isinstance(self._call(base).callee, CalledTask) or not source.path

    def _is_outside(self, context: Context) -> bool:
        return self.group is not None and context[: len(self.group)] != self.group

    def _names(self, own: list[int], grouped: Mapping[Context, list[int]]) -> dict[object, str]:
        first: dict[object, int] = {number: number for number in own}
        first |= {key: min(numbers) for key, numbers in grouped.items()}
        callees = {key: self.body.calls[number].callee for key, number in first.items()}
        names: dict[object, str] = {key: callees[key].name for key in own if callees[key].name_is_fixed}
        unique = UniqueNames(names.values())
        for key in sorted(first.keys() - names.keys(), key=lambda key: first[key]):
            name = callees[key].name
            names[key] = unique.give(name if isinstance(key, int) else f"{name}-each")
        return names

    # --- what is read from where ---

    def _read(self, ref: Ref) -> Source:
        context = self.body.context(ref)
        if self._is_outside(context):
            return self._from_outside(ref)
        if isinstance(ref.base, Element):
            return _part(Each(self._iterated(ref.base.source)), ref.path)
        if self._is_nothing(ref.base):
            return Literal(None)
        readable, rest = self._readable(ref)
        return _part(readable if context == self.prefix else Each(readable), rest)

    def _readable(self, ref: Ref, *, split: bool = False) -> tuple[Readable, Path]:
        base = ref.base
        if isinstance(base, Parameter):
            return FromParam(base.name), ref.path
        assert isinstance(base, Result)
        node, is_dag = self.own[base.call], isinstance(self._call(base).callee, CalledDag)
        path, rest = (base.leaf, ref.path) if is_dag else (ref.path, ())
        name = output_name(path)
        if split and not is_dag:
            name = self._split_name(ref, name)
        name = _free(name, path, node.reads)
        node.reads[name] = (path, split or node.reads.get(name, (path, False))[1])
        return FromNodeOutput(node.name, name), rest

    def _split_name(self, ref: Ref, name: str) -> str:
        """Return the output by which the elements of `ref` are read.

        A list is its elements. Of other values that are read whole too, a dict for one, they are not all.
        """
        if ref not in self.body.read_whole or is_list(self.body.hint(ref)):
            return name
        split = f"{name[: LONGEST - 6]}_items"
        return split if split != name else f"{name[: LONGEST - 6]}-items"

    def _iterated(self, source: Ref) -> Readable:
        if self._is_outside(self.body.context(source)):
            return self._from_outside(source)
        return self._readable(source, split=True)[0]

    def _from_outside(self, source: Ref | ListOf) -> FromParam:
        # A list may hold literals that cannot be hashed, so that it is known by its identity.
        key = source if isinstance(source, Ref) else id(source.items[0])
        if key not in self._from_outer:
            name = self._param_names.give(self._param_name(source))
            self._from_outer[key] = FromParam(name)
            assert self.outer is not None
            self.params[name] = self.outer.source(source, self.prefix)
        return self._from_outer[key]

    def _param_name(self, source: Ref | ListOf) -> str:
        if isinstance(source, ListOf):
            return "items"
        if isinstance(source.base, Parameter):
            return source.base.name
        return valid(self._call(source.base).callee.name) if isinstance(source.base, Result) else "item"

    def _is_nothing(self, base: Parameter | Result | Element) -> bool:
        callee = self._call(base).callee if isinstance(base, Result) else None
        if not isinstance(callee, CalledDag) or tolerance(callee.dag.options):  # it may also be skipped
            return False
        return callee.dag.returns == Literal(None)

    def _call(self, base: Result) -> Call:
        return self.body.calls[base.call]

    # --- lists ---

    def _list(self, source: ListOf, at: Context) -> Source:
        for item in source.items:
            key = self._inner_with(item) if isinstance(item, Spliced) else None
            if key in self.inner:
                return self._made_by_inner(key, source)
            if key is not None and isinstance(item, Spliced):
                return self.source(self._copied(source, item), at)
        items = tuple(self._item(item, at) for item in source.items if isinstance(item, Source))
        return _simple(ListOf(items))

    def _item(self, item: Source, at: Context) -> Source | Splice:
        if not isinstance(item, Spliced):
            return self.source(item, at)
        context = self.body.within(item.over)
        if self._is_outside(context):
            param = self._from_outside(ListOf((item,)))
            return Splice(Each(param), param)
        return Splice(self.source(item.template, context), self._iterated(item.over))

    def _inner_with(self, item: Spliced) -> Context | None:
        context = self.body.within(item.over)
        return None if self._is_outside(context) else self._group_of(context)

    def _copied(self, source: ListOf, item: Spliced) -> Ref:
        """Return what `source` is a mere copy of: where nothing is called for its elements, no node makes it."""
        is_copy = item.template == Ref(Element(item.over, 0)) and len(source.items) == 1
        if is_copy and is_list(self.body.hint(item.over)):
            return item.over
        raise InvalidDag(
            "a list of the elements of another list, in a loop or of a part of a parameter,",
            "is made without calling anything for them",
            "pass that list itself, or make the new one in a task",
        )

    def _made_by_inner(self, key: Context, source: ListOf) -> Source:
        node = self.nodes_of_inner[key]
        output = FromNodeOutput(node.name, self.inner[key]._give_out(source))
        return output if node.context == self.prefix else Each(output)

    def _give_out(self, source: ListOf) -> str:
        """Return the name of the output that gives `source` to the scope around."""
        placed = self.source(source, self.prefix)
        for name, output in self.outputs.items():
            if output == placed:
                return name
        name = self._output_names.give("list")
        self.outputs[name] = placed
        return name

    # --- order ---

    def _over(self, node: LoweredNode) -> Readable | None:
        loop = node.context[len(self.prefix) :]
        return self._iterated(loop[0].source) if loop else None

    def _upstream(self, refs: Iterable[Ref]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._upstream_names(refs)))

    def _upstream_names(self, refs: Iterable[Ref]) -> Iterator[str]:
        for ref in refs:
            base = ref.base
            while isinstance(base, Element):
                base = base.source.base
            if not isinstance(base, Result):
                continue
            if base.call in self.own:
                yield self.own[base.call].name
            elif base.call in self.inner_of:
                yield self.nodes_of_inner[self.inner_of[base.call]].name
            else:
                self._waits[ref] = None

    # --- serializers ---

    def want_serializers(self) -> None:
        """Let what is read by an annotated parameter be written as it says, if its writer says nothing.

        Inner scopes come first, since their parameters pass the wish on to what they are given.
        """
        for key, scope in self.inner.items():
            scope.want_serializers()
            self._want(self.nodes_of_inner[key], scope.wanted)
        for number, node in self.own.items():
            if wishes := self._wishes_of(self.body.calls[number].callee):
                self._want(node, wishes)

    def _wishes_of(self, callee: Callee) -> Mapping[str, Serializer]:
        """Return what `wishes_of` does, once for all calls of one function."""
        if not isinstance(callee, CalledTask):
            return wishes_of(callee)
        if id(callee.func) not in self._wishes:
            self._wishes[id(callee.func)] = wishes_of(callee)
        return self._wishes[id(callee.func)]

    def _want(self, reader: LoweredNode, wishes: Mapping[str, Serializer]) -> None:
        for name in [name for name in reader.inputs if name in wishes]:
            source, serializer = reader.inputs[name], wishes[name]
            read = source.source if isinstance(source, Each) else source
            if isinstance(read, FromParam):
                self.wanted.setdefault(read.name or "", serializer)
            elif isinstance(read, FromNodeOutput):
                writer = self._own_by_name.get(read.node)
                if writer is not None:
                    writer.wanted.setdefault(read.output, serializer)
                    if self._is_written_otherwise(writer, read.output, serializer, by_item=source is not read):
                        # The rule that serializers agree will name both.
                        serialized = replace(read, serializer=serializer)
                        reader.inputs[name] = serialized if source is read else Each(serialized)

    def _is_written_otherwise(self, node: LoweredNode, output: str, serializer: Serializer, *, by_item: bool) -> bool:
        """Whether what is read is written with another serializer; those of elements say nothing of their list."""
        callee, (path, split) = self.body.calls[node.first].callee, node.reads[output]
        is_mapped = bool(node.over) or node.takes_items
        if not isinstance(callee, CalledTask) or split + is_mapped != by_item:
            return False
        return (_serializer(callee, path, split) or node.wanted[output]) != serializer


def wishes_of(callee: Callee) -> dict[str, Serializer]:
    """Return the serializers with which what is called reads its parameters, where their annotations say so."""
    wishes: Mapping[str, object]
    if isinstance(callee, CalledTask):
        wishes = {name: serializer_of(hint) for name, hint in hints(callee.func).items()}
    else:
        wishes = {name: getattr(source, "serializer", None) for name, source in callee.dag.inputs.items()}
    return {name: wish for name, wish in wishes.items() if wish is not None and isinstance(wish, Serializer)}


def _part(source: Readable | Each, path: Path) -> Source:
    return Part(source, path) if path else source


def _simple(source: ListOf) -> Source:
    """Return what is already the list that a lone splice would copy: all results of a fan-out."""
    only = source.items[0] if len(source.items) == 1 else None
    if not isinstance(only, Splice) or not isinstance(only.template, Each):
        return source
    results = only.template.source
    # The elements of what is iterated may be less than the whole, if that is a dict or a generator.
    return results if isinstance(results, FromNodeOutput) and results != only.over else source


def _free(name: str, path: Path, reads: Mapping[str, tuple[Path, bool]]) -> str:
    # Different paths may look the same once they are names: out["a b"] and out["a_b"].
    candidate, number = name, 1
    while candidate in reads and reads[candidate][0] != path:
        number += 1
        candidate = f"{name[:56]}-{number}"
    return candidate


def _outputs(returns: Source) -> Iterator[tuple[str, Source]]:
    if isinstance(returns, DictOf):
        # Different keys may look the same once they are names: one that is a name as it stands keeps it.
        plain = {key for key, _ in returns.pairs if isinstance(key, str) and _key_name(key) == f"key_{key}"}
        names = UniqueNames(map(_key_name, plain))
        for key, source in returns.pairs:
            is_plain = isinstance(key, str) and key in plain
            yield _key_name(key) if is_plain else names.give(_key_name(key)), source
    elif returns != Literal(None):
        yield "return_value", returns


def _key_name(key: object) -> str:
    return output_name((("key", valid(key)),))


def _nodes(scope: ScopeLowering, options: DagOptions) -> dict[str, Node]:
    nodes: list[tuple[LoweredNode, Node]] = []
    for number, node in scope.own.items():
        nodes.append((node, _node(scope.body.calls[number].callee, node)))
    for key, node in scope.nodes_of_inner.items():
        nodes.append((node, _lifted(scope.inner[key], node, options)))
    return {node.name: made for node, made in sorted(nodes, key=lambda pair: pair[0].first)}


def _node(callee: Callee, node: LoweredNode) -> Node:
    after, over = node.after, node.explicit_over
    if isinstance(callee, CalledTask):
        outputs = {name: _output(callee, node, name) for name in node.reads}
        return Task(callee.func, node.inputs, outputs, options=callee.options, after=after, over=over)
    dag = callee.dag
    given_back = {name: followed(dag.returns or Literal(None), path) for name, (path, _) in node.reads.items()}
    options, returns = dag.options, dag.returns
    return DAG(
        dag.nodes, node.inputs, given_back, name=dag.name, options=options, after=after, over=over, returns=returns
    )


def _lifted(inner: ScopeLowering, node: LoweredNode, options: DagOptions) -> DAG:
    nodes, own = _nodes(inner, options), DagOptions(serializer=options.serializer)
    with _circles_explained():
        only = next(iter(inner.outputs.values())) if len(inner.outputs) == 1 else None
        over = node.explicit_over
        return DAG(nodes, node.inputs, inner.outputs, options=own, after=node.after, over=over, returns=only)


@contextmanager
def _circles_explained() -> Iterator[None]:
    """Calls cannot need each other in a circle; only moving an inner loop into a nested DAG can make one."""
    try:
        yield
    except CyclicDependency as error:
        raise InvalidDag(
            f"the inner loop that became node {error.nodes[0]!r}",
            "needs a value that is made of all its own results",
            NESTED,
        ) from error


def _output(callee: CalledTask, node: LoweredNode, name: str) -> TaskOutput:
    path, split = node.reads[name]
    serializer = _serializer(callee, path, split) or node.wanted.get(name)
    if not path:
        return FromReturnValue(serializer, split)
    (kind, key), *deeper = path
    if deeper or not isinstance(key, str):
        return FromPath(path, serializer, split)
    return FromKey(key, serializer, split) if kind == "key" else FromProperty(key, serializer, split)


def _serializer(callee: CalledTask, path: Path, split: bool) -> Serializer | None:
    of_element = serializer_of(element_of(hint_at(callee.returns, path))) if split else None
    if of_element is not None and isinstance(of_element, Serializer):
        return of_element
    return serializer_at(callee.options.serializer, callee.returns, path)
