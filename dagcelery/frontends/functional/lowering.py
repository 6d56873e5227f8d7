"""Traces of one body, folded and lowered: calls that are alike but for the element become one node over a list.

A body is traced with three, two and one elements for whatever it iterates. It is a DAG only if all three say
the same: then the number of elements did not matter, and may be known as late as the DAG runs.

Calls for each element of a list become one node that runs once per item. Calls within two loops cannot: a
node runs over one list. They move into a nested DAG that runs once per item of the outer list and takes the
inner one as a parameter, which is a level of its own. The same is done for a list that is only a part of a
parameter, because a fan-out needs a whole one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional import recorded
from dagcelery.frontends.functional.annotations import Path, is_list
from dagcelery.frontends.functional.recorded import (
    Call,
    CalledDag,
    CalledTask,
    Context,
    Element,
    Parameter,
    Ref,
    Result,
    Spliced,
    Unrolled,
    everything,
    leaves,
    mapped,
)
from dagcelery.frontends.functional.trace import Trace
from dagcelery.frontends.functional.value_numbering import Table, Terms
from dagcelery.model.nodes import LONGEST, UniqueNames, output_name, valid
from dagcelery.model.options import DagOptions, Serializer
from dagcelery.model.sources import (
    Each,
    FromNodeOutput,
    FromParam,
    ListOf,
    Literal,
    Part,
    Readable,
    Source,
    Splice,
)
from dagcelery.text import shown


@dataclass(frozen=True)
class Folded:
    """The calls that are left, numbered anew, and what the body returned; every element is number 0."""

    calls: tuple[Call, ...]
    returns: Source


def folded(trace: Trace, returns: Source) -> Folded:
    """Fold `trace`, outer lists before inner ones; raise InvalidDag where elements are not treated alike."""
    fold = _Fold(trace, returns)
    for source in fold.sources():
        fold.fold(source)
    return fold.result()


class _Fold:
    def __init__(self, trace: Trace, returns: Source) -> None:
        self.trace = trace
        self.returns = returns
        self.calls = dict(enumerate(trace.calls))
        self.calls_of: dict[Element, list[int]] = defaultdict(list)
        for number, call in self.calls.items():
            for element in call.context:
                self.calls_of[element].append(number)
        self.runs_in: dict[Ref, list[int]] = defaultdict(list)
        for number, call in self.calls.items():
            for source in (*call.arguments.values(), call.after):
                for run in _runs(source):
                    self.runs_in[run.over].append(number)

    def sources(self) -> Iterator[Ref]:
        """Yield the iterated sources, outer ones first; those within dropped elements are left out."""
        found = {element.source: None for element in self.calls_of} | dict.fromkeys(self.runs_in)
        found |= {run.over: None for run in _runs(self.returns)}
        for source in sorted(found, key=lambda source: len(self.trace.context(source))):
            if all(element.index == 0 for element in self.trace.context(source)):
                yield source

    def fold(self, source: Ref) -> None:
        """Keep the calls for the first element of `source`, once the others are known to be like them."""
        alike = [self.calls_of.get(Element(source, index), []) for index in range(self.trace.length(source))]
        first = alike[0]
        self._check_numbers(source, alike)
        renamings = [_Renaming(source, dict(zip(each, first, strict=True))) for each in alike]
        # First the lists: a call for one element may take the list of all of them.
        splice = _Splicing(self, source, renamings).splice
        for number in self.runs_in.get(source, ()):
            if number in self.calls:
                self.calls[number] = _changed(self.calls[number], splice)
        self.returns = splice(self.returns)
        for each, renaming in zip(alike[1:], renamings[1:], strict=True):
            for number, model in zip(each, first, strict=True):
                self._check_alike(renaming.call(self.calls.pop(number)), self.calls[model], source)

    def result(self) -> Folded:
        """Return what is left, numbered anew."""
        for call in self.calls.values():
            for source in (*call.arguments.values(), call.after):
                self._check_kept(source, self.calls, f"the call of {call.callee.name!r}")
        self._check_kept(self.returns, self.calls, "the returned value")
        numbering = _Renaming(None, {number: new for new, number in enumerate(sorted(self.calls))})
        calls = tuple(numbering.call(self.calls[number]) for number in sorted(self.calls))
        return Folded(calls, numbering.source_(self.returns))

    def _check_alike(self, call: Call, model: Call, source: Ref) -> None:
        found = recorded.between_calls(call, model)
        if found:
            raise self._differs(source, found)

    def _check_numbers(self, source: Ref, alike: list[list[int]]) -> None:
        if len({len(each) for each in alike}) == 1:
            return
        names = [[self.calls[number].callee.name for number in each] for each in alike]
        odd = next(n for each in names for n in each if len({other.count(n) for other in names}) > 1)
        raise self._differs(source, f"calls {odd!r} more often")

    def _check_kept(self, source: Source, kept: Collection[int], place: str) -> None:
        for ref in leaves(source):
            if not _is_kept(ref, kept):
                raise InvalidDag(
                    f"{place} with {self.trace.title(ref)}",
                    "needs some of the elements of a list, but not all in their order",
                    "pass the whole list, and choose, sort or pair its elements in the task that takes it",
                )

    def _differs(self, source: Ref, found: str) -> InvalidDag:
        return InvalidDag(
            f"what is done for each element of {self.trace.title(source)}",
            f"differs from one to the next: the body {found}",
            "do the same for every element: decide in a task, number or pair the elements in the task that "
            "returns the list (enumerate, zip), and call before the loop what does not depend on the element",
        )


@dataclass(frozen=True)
class _Renaming:
    """Calls and elements by other names: `calls` by other numbers, any element of `source` as its first."""

    of: Ref | None
    calls: Mapping[int, int]

    def call(self, call: Call) -> Call:
        return replace(_changed(call, self.source_), context=self._context(call.context))

    def source_(self, source: Source) -> Source:
        if isinstance(source, Ref):
            return self.ref(source)
        if isinstance(source, Unrolled | Spliced):
            source = replace(source, over=self.ref(source.over))
        return mapped(source, self.source_)

    def ref(self, ref: Ref) -> Ref:
        base = ref.base
        if isinstance(base, Result) and base.call in self.calls:
            return Ref(Result(self.calls[base.call], base.leaf), ref.path)
        return Ref(self._element(base), ref.path) if isinstance(base, Element) else ref

    def _element(self, element: Element) -> Element:
        return Element(self.ref(element.source), 0 if element.source == self.of else element.index)

    def _context(self, context: Context) -> Context:
        return tuple(map(self._element, context))


@dataclass(frozen=True)
class _Splicing:
    """Runs over `source` become splices, once their items are known to be alike."""

    fold: _Fold
    over: Ref
    renamings: list[_Renaming]

    def splice(self, source: Source) -> Source:
        if not isinstance(source, Unrolled) or source.over != self.over:
            return mapped(source, self.splice)
        # Lists within the items first: one that goes through all elements is the same in each of them.
        model, *others = map(self.splice, source.items)
        for item, renaming in zip(others, self.renamings[1:], strict=True):
            found = recorded.between(renaming.source_(item), model)
            if found:
                raise self.fold._differs(self.over, f"puts into a list {found}")
        return Spliced(model, self.over)


def _changed(call: Call, change: Callable[[Source], Source]) -> Call:
    arguments = {name: change(source) for name, source in call.arguments.items()}
    return replace(call, arguments=arguments, after=change(call.after))


def _runs(source: Source) -> Iterator[Unrolled]:
    for part in everything(source):
        if isinstance(part, Unrolled):
            yield part


def _is_kept(ref: Ref, kept: Collection[int]) -> bool:
    if isinstance(ref.base, Element):
        return ref.base.index == 0 and _is_kept(ref.base.source, kept)
    return not isinstance(ref.base, Result) or ref.base.call in kept


def check_agreement(model: Folded, trace: Trace, returned: Source) -> None:
    """Raise InvalidDag unless `trace` made the very calls that `model` says for lists of its lengths."""
    made = Terms(trace.calls, trace.table)
    actual = list(made.calls())
    lengths = {made.of(source): length for source, length in trace.lengths.items()}
    said = Terms(model.calls, trace.table, lengths)
    try:
        found = _difference(model, list(said.calls()), trace, actual)
        if not found and said.of(model.returns) != made.of(returned):
            found = "returns something else"
            if isinstance(returned, Literal) and isinstance(model.returns, Literal):
                found = f"returns {shown(returned.value)} instead of {shown(model.returns.value)}"
    except KeyError:
        found = "does not iterate all lists"
    if found:
        raise InvalidDag(
            "the DAG",
            f"depends on how many elements a list has: with {trace.probes.told} instead of three the body {found}",
            "make it the same for any number: len, slices, range and if belong in a task that takes the "
            "list, and values that change from one time to the next are parameters",
        )


def _difference(
    model: Folded, expected: list[tuple[int, int]], trace: Trace, actual: list[tuple[int, int]]
) -> str | None:
    left = Counter(term for _, term in expected)
    left.subtract(term for _, term in actual)
    extra = next((trace.calls[number] for number, term in actual if left[term] < 0), None)
    missing = [model.calls[number] for number, term in expected if left[term] > 0]
    if extra is None:
        return f"calls {missing[0].callee.name!r} less often" if missing else None
    alike = next((call for call in missing if call.callee.name == extra.callee.name), None)
    if alike is not None:
        return _argument(extra, alike, trace.table)
    instead = f" instead of {missing[0].callee.name!r}" if missing else " more often"
    return f"calls {extra.callee.name!r}{instead}"


def _argument(call: Call, other: Call, table: Table) -> str:
    for name, given in call.arguments.items():
        if isinstance(given, Literal) and isinstance(other.arguments.get(name), Literal):
            known = other.arguments[name].value  # type: ignore[attr-defined]
            if table.literal(given.value) != table.literal(known):
                return f"gives {name!r} of {call.callee.name!r} {shown(given.value)} instead of {shown(known)}"
    return f"gives {call.callee.name!r} other arguments"


class Body:
    """What all levels of one body share: its folded calls, the annotations of its parameters, its options."""

    def __init__(self, folded: Folded, parameters: Mapping[str, object], options: DagOptions) -> None:
        self.calls = folded.calls
        self.returns = folded.returns
        self.parameters = parameters
        self.options = options
        sources = [source for call in self.calls for source in call.arguments.values()]
        self.read_whole = {ref for source in (*sources, self.returns) for ref in leaves(source)}

    def context(self, ref: Ref) -> Context:
        """The elements of iterations that a ref depends on, the outermost first."""
        return recorded.context_of(ref, self.calls)

    def within(self, source: Ref) -> Context:
        """Return the context of what is made for each element of `source`."""
        return recorded.within_element(Element(source, 0), self.calls)

    def split_name(self, ref: Ref, name: str) -> str:
        """Return the output by which the elements of `ref` are read.

        A list is its elements. Of other values that are read whole too, a dict for one, they are not all.
        """
        hint = recorded.hint_of(ref, self.calls, self.parameters)
        if ref not in self.read_whole or is_list(hint):
            return name
        made = f"{name[: LONGEST - 6]}_items"
        return made if made != name else f"{name[: LONGEST - 6]}-items"


@dataclass
class LoweredNode:
    """What is known of a node-to-be: its inputs, and which of its outputs are read, and how."""

    name: str
    context: Context
    inputs: dict[str, Source] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    over: Readable | None = None
    reads: dict[str, tuple[Path, bool]] = field(default_factory=dict)
    wanted: dict[str, Serializer] = field(default_factory=dict)


class Level:
    """The calls `members` as nodes, those of `prefix` plain, those of one element more as fan-outs.

    `group` is the context that this level was split off for, None at the top: what does not belong to it
    comes from outside, as a parameter. `outer` is the level around it.
    """

    def __init__(
        self,
        body: Body,
        members: Iterable[int],
        prefix: Context = (),
        group: Context | None = None,
        outer: Level | None = None,
    ) -> None:
        self.body, self.prefix, self.group, self.outer = body, prefix, group, outer
        own, grouped = self._divided(members)
        names = self._names(own, grouped)
        self.own = {number: LoweredNode(names[number], body.calls[number].context) for number in own}
        self.inner = {key: Level(body, grouped[key], key[:-1], key, self) for key in grouped}
        self.nodes_of_inner = {key: LoweredNode(names[key], key[:-1]) for key in grouped}
        self.inner_of = {number: key for key, numbers in grouped.items() for number in numbers}
        self.params: dict[str, Source] = {}
        self.outputs: dict[str, Source] = {}
        self.wanted: dict[str, Serializer] = {}
        self._given: dict[object, FromParam] = {}
        self._param_names, self._output_names = UniqueNames(), UniqueNames()
        self._waits: dict[Ref, None] = {}

    def place(self) -> None:
        """Find the sources of all inputs, here and in the levels within."""
        for number, node in self.own.items():
            call = self.body.calls[number]
            node.inputs = {name: self.source(value, node.context) for name, value in call.arguments.items()}
            node.over = self._over(node)
            node.after = self._upstream(leaves(call.after))
        for key, level in self.inner.items():
            level.place()
            node = self.nodes_of_inner[key]
            node.inputs = level.params
            node.over = self._over(node)
            node.after = self._upstream(level._waits)

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
        base = source.base
        if self._is_outside(self.body.context(source)) or isinstance(base, Parameter):
            return not source.path or self._is_outside(self.body.context(source))
        if isinstance(base, Element):
            return False
        return isinstance(self._call(base).callee, CalledTask) or not source.path

    def _is_outside(self, context: Context) -> bool:
        return self.group is not None and context[: len(self.group)] != self.group

    def _names(self, own: list[int], grouped: Mapping[Context, list[int]]) -> dict[object, str]:
        first: dict[object, int] = {number: number for number in own}
        first |= {key: min(numbers) for key, numbers in grouped.items()}
        callees = {key: self.body.calls[number].callee for key, number in first.items()}
        given: dict[object, str] = {key: callees[key].name for key in own if callees[key].name_is_fixed}
        names = UniqueNames(given.values())
        for key in sorted(first.keys() - given.keys(), key=lambda key: first[key]):
            name = callees[key].name
            given[key] = names.give(name if isinstance(key, int) else f"{name}-each")
        return given

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
        node = self.own[base.call]
        path, rest = (base.leaf, ref.path) if self._is_dag(base) else (ref.path, ())
        name = output_name(path)
        if split and not self._is_dag(base):
            name = self.body.split_name(ref, name)
        name = _free(name, path, split, node.reads)
        node.reads[name] = (path, split or node.reads.get(name, (path, False))[1])
        return FromNodeOutput(node.name, name), rest

    def _iterated(self, source: Ref) -> Readable:
        if self._is_outside(self.body.context(source)):
            return self._from_outside(source)
        readable, _ = self._readable(source, split=True)
        return readable

    def _from_outside(self, source: Ref | ListOf) -> FromParam:
        # A list may hold literals that cannot be hashed, so that it is known by its identity.
        key = source if isinstance(source, Ref) else id(source.items[0])
        if key not in self._given:
            name = self._param_names.give(self._param_name(source))
            self._given[key] = FromParam(name)
            assert self.outer is not None
            self.params[name] = self.outer.source(source, self.prefix)
        return self._given[key]

    def _param_name(self, source: Ref | ListOf) -> str:
        if isinstance(source, ListOf):
            return "items"
        if isinstance(source.base, Parameter):
            return source.base.name
        return valid(self._call(source.base).callee.name) if isinstance(source.base, Result) else "item"

    def _is_dag(self, base: Result) -> bool:
        return isinstance(self._call(base).callee, CalledDag)

    def _is_nothing(self, base: Parameter | Result | Element) -> bool:
        callee = self._call(base).callee if isinstance(base, Result) else None
        return isinstance(callee, CalledDag) and callee.dag.returns == Literal(None)

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
        if is_copy and is_list(recorded.hint_of(item.over, self.body.calls, self.body.parameters)):
            return item.over
        raise InvalidDag(
            "a list of the elements of another list, in a loop or of a part of a parameter,",
            "is made without calling anything for them",
            "pass that list itself, or make the new one in a task",
        )

    def _made_by_inner(self, key: Context, source: ListOf) -> Source:
        inner, node = self.inner[key], self.nodes_of_inner[key]
        name = inner.give_out(source)
        output = FromNodeOutput(node.name, name)
        return output if node.context == self.prefix else Each(output)

    def give_out(self, source: ListOf) -> str:
        """Return the name of the output that gives `source` to the level around."""
        made = self.source(source, self.prefix)
        for name, known in self.outputs.items():
            if known == made:
                return name
        name = self._output_names.give("list")
        self.outputs[name] = made
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


def _part(source: Readable | Each, path: Path) -> Source:
    return Part(source, path) if path else source


def _simple(source: ListOf) -> Source:
    """Return what is already the list that a lone splice would copy: all results of a fan-out."""
    only = source.items[0] if len(source.items) == 1 else None
    if not isinstance(only, Splice) or not isinstance(only.template, Each):
        return source
    made = only.template.source
    # The elements of what is iterated may be less than the whole, if that is a dict or a generator.
    return made if isinstance(made, FromNodeOutput) and made != only.over else source


def _free(name: str, path: Path, split: bool, reads: Mapping[str, tuple[Path, bool]]) -> str:
    # Different paths may look the same once they are names: out["a b"] and out["a_b"].
    candidate, number = name, 1
    while candidate in reads and reads[candidate][0] != path:
        number += 1
        candidate = f"{name[:56]}-{number}"
    return candidate
