"""A trace is one sample run of a DAG's body, with outputs for its parameters: the calls that it made, in order.

Iterating an output gives a few sample elements. Which elements are being gone through when a call is made, and which
its arguments come from, is the context of the call: it stands for all calls that are alike but for the element.
`building` draws that conclusion; here it is only recorded.

Python's containers become sources. Neighbours in a list that go through one fan-out become one `Unrolled`.

What a branch of `when` uses of the body around it, its free variables, become parameters of the branch.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from dataclasses import replace
from types import FunctionType
from typing import Any, Final, cast

from dagcelery import objects
from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional.outputs import (
    Output,
    Recorder,
    closed,
    current,
    flat,
    opened,
    ref_of,
    title,
    trace_of,
)
from dagcelery.frontends.functional.recorded import (
    Call,
    CalledTask,
    Callee,
    Context,
    Element,
    Parameter,
    Ref,
    Result,
    Unrolled,
    context_of,
    hint_of,
    leaves,
    within,
    within_element,
)
from dagcelery.frontends.functional.sample_runs import Position, SampleLengths, ValueNumbers, ValueTable
from dagcelery.model.names import UniqueNames, valid
from dagcelery.model.sources import MOST_LEVELS, DictOf, ListOf, Literal, SetOf, Source, TupleOf, depth_fault
from dagcelery.objects import ATOMS
from dagcelery.signatures import arity, cell_contents
from dagcelery.text import shown

CONDITION: Final = "condition"
"""The parameter that says which branch is taken."""


class FreeVariables:
    """Outputs of `outer`, or of bodies around it, that the branches of one `when` use; the same for all their traces.

    `outputs` are those outputs, or lists of them, by their names in the branches; `upstream` is what nodes in these
    come after.
    """

    def __init__(self, outer: Recorder, branches: Sequence[object]) -> None:
        self.outer = outer
        self._lists_around = [value for branch in branches for value in _values_around(branch) if type(value) is list]
        self.outputs: dict[str, object] = {}
        self.upstream: list[Output] = []
        self._names = UniqueNames([CONDITION])
        self._name_of: dict[tuple[int, Ref], str] = {}
        self._named_lists: list[tuple[object, Source, str]] = []

    def name(self, output: Output) -> str:
        """Return the name of an output in the branches."""
        key = id(trace_of(output)), ref_of(output)
        if key not in self._name_of:
            name = self._name_of[key] = self._names.give(_base_name(output))
            self.outputs[name] = output
        return self._name_of[key]

    def name_of_list(self, values: list[object], source: Source) -> str:
        """Return the name of a list in the branches, which `source` is in the body around."""
        is_around = self._is_around(values)
        for named, other, name in self._named_lists:
            if named is values if is_around else other == source:
                return name
        name = self._names.give("items")
        self._named_lists.append((values if is_around else None, source, name))
        self.outputs[name] = values
        return name

    def is_list_from_around(self, values: list[object], branch: Recorder) -> bool:
        """Whether a list is of outputs from around the branch; one without elements may have some another time."""
        traces = [trace_of(leaf) for leaf in flat(values) if isinstance(leaf, Output)]
        if not all(map(branch.is_within, traces)):
            return False
        if self._is_around(values):
            return bool(traces) or not values
        return any(isinstance(value, Output) for value in values)

    def handed_up(self, upstream: object, branch: Recorder) -> list[object]:
        """Return what a node of `branch` comes after there; what is outside of it, all of the branch comes after."""
        inside: list[object] = []
        for value in flat(upstream):
            if not isinstance(value, Output) or not branch.is_within(trace_of(value)):
                inside.append(value)
            elif not any(value is other for other in self.upstream):
                self.upstream.append(value)
        return inside

    def _is_around(self, values: list[object]) -> bool:
        return any(values is each for each in self._lists_around)


def _values_around(branch: object) -> Iterator[object]:
    """Yield what a function finds in its closure, and its defaults."""
    for cell in getattr(branch, "__closure__", None) or ():
        yield from cell_contents(cell)
    yield from getattr(branch, "__defaults__", None) or ()


def _base_name(output: Output) -> str:
    base = ref_of(output).base
    if isinstance(base, Parameter):
        return base.name
    return valid(trace_of(output).calls[base.call].callee.name) if isinstance(base, Result) else "item"


NESTED: Final = """\
give the inner loop a DAG of its own:

    @dag
    def inner(x, ys):
        return [f(x, y) for y in ys]

    @dag
    def outer(xs, ys):
        return [inner(x, ys) for x in xs]

which gives a list of lists; to have one list, let a task put them together
"""

PAIRED: Final = """\
whether the two are equally long shows when the DAG runs: pair them in a task, and go through the pairs:

    @task
    def paired(xs: list[Any], ys: list[Any]) -> list[tuple[Any, Any]]:
        return list(zip(xs, ys, strict=True))

    [f(x, y) for x, y in paired(xs, ys)]
"""

FLAT: Final = """\
make a list of lists, [[f(x, y) for y in ...] for x in ...], and let a task put them together:

    @task
    def flat(lists: list[list[Any]]) -> list[Any]:
        return [each for inner in lists for each in inner]
"""

_NOTHING: Final = Literal([])


class TwoLists(InvalidDag):
    """A call has elements of two lists; whether each meets each other, or its partner only, the next one shows."""

    elements: tuple[Element, Element]


class _TooDeep(Exception):
    """A value is nested more deeply than a DAG holds any."""


def _source(value: object, trace: Trace, levels: int) -> Source:
    kind: type = type(value)
    if isinstance(value, Output):
        return _ref(value, trace)
    if levels < 0:
        raise _TooDeep
    if kind in ATOMS:
        return Literal(value)
    if kind is list or isinstance(value, Iterator | ValuesView | KeysView | ItemsView):
        return _list(value, trace, levels)
    if kind is tuple:
        items = _sources(cast(tuple[object, ...], value), trace, levels)
        return _literal(items, tuple) or TupleOf(items)
    if kind in (set, frozenset):
        return _set(cast(set[object], value), trace, levels)
    if kind is dict:
        return _dict(cast(dict[Any, object], value), trace, levels)
    return Literal(trace.copy_of(value))


def context_in(source: Source, trace: Trace) -> Context:
    """Return the elements that `source` belongs to; one that runs through all of them belongs to none."""
    if isinstance(source, Ref | Unrolled):
        return context_of(source if isinstance(source, Ref) else source.over, trace.calls)
    contexts = [context_in(part, trace) for part in within(source)]
    is_flat = len(contexts) > 1 and all(isinstance(part, Unrolled) for part in within(source))
    if is_flat and contexts[0] != contexts[1] and _lists(contexts[0]) == _lists(contexts[1]):
        culprit = f"{trace.place} with {trace.title(Ref(contexts[0][-1]))}"
        raise InvalidDag(culprit, "puts the results of a loop within a loop into one list", FLAT)
    return joined(contexts, trace)


def _lists(context: Context) -> list[Ref]:
    return [element.source for element in context]


def joined(contexts: Iterable[Context], trace: Trace) -> Context:
    """Return the context that all `contexts` lie in; two elements of one list, or of two, have none."""
    longest: Context = ()
    for context in contexts:
        shorter, longer = sorted((longest, context), key=len)
        if longer[: len(shorter)] != shorter:
            one, other = next((a, b) for a, b in zip(shorter, longer, strict=False) if a != b)
            raise _mixed(one, other, trace)
        longest = longer
    return longest


def _mixed(one: Element, other: Element, trace: Trace) -> InvalidDag:
    if one.source == other.source:
        return InvalidDag(
            f"{trace.place} with {trace.title(Ref(one))}",
            "needs some of its elements, but not all in their order",
            "pass the whole list of results, and choose, sort or pair them in the task that takes it",
        )
    culprit = f"{trace.place} with {trace.title(Ref(one))} and {trace.title(Ref(other))}"
    error = TwoLists(culprit, "goes through two different lists at once", NESTED)
    error.elements = one, other
    return error


def _ref(value: Output, trace: Trace) -> Ref:
    home = trace_of(value)
    if home is trace:
        return ref_of(value)
    if trace.is_within(home):
        return trace.adopted(value)
    if home.is_branch:
        raise InvalidDag(
            title(value),
            "is made within a branch of when(...), which may not be taken",
            "return it from the branch: when(...) gives what the branch that is taken returns",
        )
    raise InvalidDag(
        title(value),
        "belongs to another DAG than the one being built",
        "pass it to this one as an argument",
    )


def _sources(values: Iterable[object], trace: Trace, levels: int) -> tuple[Source, ...]:
    return tuple([_source(value, trace, levels - 1) for value in values])


def _literal(sources: Collection[Source], container: Callable[[Iterable[object]], object]) -> Literal | None:
    """Return a copy of a container that holds no output: it may be changed after the call."""
    values = [source.value for source in sources if isinstance(source, Literal)]
    return Literal(container(values)) if len(values) == len(sources) else None


def _list(values: Any, trace: Trace, levels: int) -> Source:
    if trace.free_variables is not None:
        values = values if type(values) is list else list(values)
        if trace.free_variables.is_list_from_around(values, trace):
            # As a whole: it may go through all elements of a list, which one by one would not show.
            return trace.adopted_list(values)
    items = _sources(_one_by_one(values, trace) if isinstance(values, Iterator) else values, trace, levels)
    return _literal(items, list) or ListOf(_with_runs(items, trace))


def _one_by_one(values: Iterator[Any], trace: Trace) -> Iterator[Any]:
    for value in values:
        trace.table.copies.outdate()  # what makes the values may have changed those before
        yield value


def _set(values: Collection[object], trace: Trace, levels: int) -> Source:
    items = _sources(values, trace, levels)
    return _literal(items, type(values)) or SetOf(tuple(sorted(items, key=_place)))


def _place(item: Source) -> str:
    # Two traces must give equal graphs. Numbers of calls differ between them; which of two is smaller does not.
    return re.sub(r"\d+", lambda number: number[0].zfill(9), _text(item))


def _text(item: Source) -> str:
    try:
        return repr(item)
    except Exception:  # a literal in it cannot show itself, or has too many digits
        return shown(item)


def _dict(values: Mapping[Any, object], trace: Trace, levels: int) -> Source:
    for key in values:
        if isinstance(key, Output):
            raise InvalidDag(title(key), "is a key of a dict, but has no value yet", "build the dict in a task")
    keys = [trace.copy_of(key) for key in values]
    items = _sources(values.values(), trace, levels)
    literal = _literal(items, lambda values: dict(zip(keys, values, strict=True)))
    return literal or DictOf(tuple(zip(keys, items, strict=True)))


def _with_runs(items: tuple[Source, ...], trace: Trace) -> tuple[Source, ...]:
    if not trace.tells_elements_apart or not trace.lengths:
        return items
    contexts = [context_in(item, trace) for item in items]
    result: list[Source] = []
    at = 0
    while at < len(items):
        length = trace.length(contexts[at][-1].source) if contexts[at] else 1
        is_run = length > 1 and _is_run(contexts[at : at + length], length)
        result.append(Unrolled(items[at : at + length], contexts[at][-1].source) if is_run else items[at])
        at += length if is_run else 1
    return tuple(result)


def _is_run(contexts: list[Context], length: int) -> bool:
    outer, source = contexts[0][:-1], contexts[0][-1].source
    return contexts == [(*outer, Element(source, index)) for index in range(length)]


class Trace:
    """The calls of a body that runs with as many elements of each iterated output as `samples` say.

    `parameters` are the annotations of the DAG's parameters by name; those of a branch of `when` are its
    `free_variables`, which adds to them. Traces of one body share a `table`.
    """

    is_dynamic = False
    """Whether a running task makes the calls, which are executed after it."""

    def __init__(
        self,
        samples: SampleLengths,
        parameters: dict[str, object],
        table: ValueTable,
        free_variables: FreeVariables | None = None,
    ) -> None:
        self.samples = samples
        self.tells_elements_apart = samples.length > 1  # else a list of one element may be a list of all
        self.parameters = parameters
        self.table = table
        self.free_variables = free_variables
        self.calls: list[Call] = []
        self.place, self.home = "the body", ""
        self.lengths: dict[Ref, int] = {}
        self.positions: dict[Ref, Position] = {}
        self.refused: InvalidDag | None = None
        self.thread = threading.get_ident()
        self._outputs: dict[Ref, Output] = {}
        self._active: list[tuple[object, Element]] = []
        self._loops: list[Context] | None = None  # their contexts, once a call asked for them
        self.numbers = ValueNumbers(self.calls, table)
        self._numbers_of_first = ValueNumbers(self.calls, table, is_first=True)
        self._position_of: dict[int, Position] = {}
        self._lists_in: Counter[Context] = Counter()
        self._undecided: InvalidDag | None = None
        self._met: dict[frozenset[Ref], set[Element]] = {}
        self._outer: Recorder | None = None
        self._argument = ""
        self._defined: list[tuple[int, object]] = []

    def __enter__(self) -> Trace:
        self._outer = opened(self)
        return self

    def __exit__(self, *_: object) -> None:
        closed(self, self._outer)

    def output(self, ref: Ref) -> Output:
        """Return the one output for `ref`, so that equal outputs are identical and sets hold them once."""
        output = self._outputs.get(ref)
        if output is None:
            output = self._outputs[ref] = Output(self, ref)
        return output

    def record(self, callee: Callee, arguments: Mapping[str, object], upstream: object) -> int:
        """Note a call and return its number, for a `Result` to name."""
        if self.free_variables is not None:
            upstream = self.free_variables.handed_up(upstream, self)
        outer, self.place = self.place, f"the call of {callee.name!r}"
        self.table.copies.outdate()
        try:
            sources = {}
            for name, value in arguments.items():
                self._argument = f"argument {name!r} of "
                sources[name] = self.source_of(value)
            self._argument = ""
            after = self.source_of(upstream) if upstream else _NOTHING
            self.calls.append(Call(callee, sources, after, self._context((*sources.values(), after))))
            self._note_defined(callee)
        except TwoLists as refusal:
            self._tell_apart(refusal)
            self.calls.append(Call(callee, {}, _NOTHING, ()))
        finally:
            self._argument, self.place = "", outer
        return len(self.calls) - 1

    def _note_defined(self, callee: Callee) -> None:
        """Copy a task that the body defines: its free variables may change when the body goes on."""
        func = callee.func if isinstance(callee, CalledTask) else None
        if self.home and isinstance(func, FunctionType) and func.__qualname__.startswith(f"{self.home}.<locals>."):
            self._defined.append((len(self.calls) - 1, self.copy_of(func)))

    def settle(self) -> None:
        """Restore the tasks of calls whose free variables the body has changed since."""
        self.table.copies.outdate()
        for number, copy in self._defined:
            call = self.calls[number]
            assert isinstance(call.callee, CalledTask)
            if self.copy_of(call.callee.func) is not copy:
                self.calls[number] = replace(call, callee=replace(call.callee, func=cast(FunctionType, copy)))

    def _tell_apart(self, refusal: TwoLists) -> None:
        """Refuse a call with elements of two lists by the second one of that kind: if both lists have gone on, they are
        paired; if one has, it is gone through for each element of the other.
        """
        now = set(refusal.elements)
        met = self._met.setdefault(frozenset(element.source for element in now), now)
        if self._undecided is None or self._undecided is self.refused:
            self.refused = InvalidDag(refusal.culprit, refusal.problem, NESTED if met & now else PAIRED)
            if met != now:
                raise self.refused
            self._undecided = self.refused

    def source_of(self, value: object) -> Source:
        """Return the source for a Python value: containers are taken apart where outputs are in them."""
        try:
            return _source(value, self, MOST_LEVELS)
        except _TooDeep:
            problem, remedy = depth_fault(value) or (
                f"is nested more than {MOST_LEVELS} levels deep",
                "make it flatter",
            )
            raise InvalidDag(f"a value in {self.place}", problem, remedy) from None

    def source_of_returned(self, value: object) -> Source:
        """Return the source that puts together what the body returned."""
        self.place = "the returned value"
        self.table.copies.outdate()
        source = self.source_of(value)
        if self.tells_elements_apart and self.lengths and context_in(source, self):
            raise InvalidDag(
                f"{self.place} with {self.title(next(leaves(source)))}",
                "belongs to one element of a list",
                "return the list of all results",
            )
        return source

    def copy_of(self, value: object) -> object:
        """Return a value as it is now: it is recorded, and may be changed before it travels.

        What can be neither pickled nor copied stays the object that it is, and is refused where it should travel.
        """
        if objects.is_atom(value):
            return value
        try:
            return self.table.copies.take(value)
        except objects.Hidden as hidden:
            raise InvalidDag(
                f"{title(hidden.value)} in a {_kind(value)} ({self._argument}{self.place})",
                "is out of reach, since only lists, tuples, sets and dicts are looked into",
                "pass it as an argument of its own, or in a list, tuple, set or dict",
            ) from None
        except Exception:  # pickling and copying run the classes' own code
            return value

    def hash_of(self, ref: Ref) -> int:
        """Return the hash of an output; what is made alike for all elements of a list has the same.

        So a set or a dict compares the elements that it is given, which an output refuses: which of them are equal,
        and would be one key, is known only when the DAG runs.
        """
        return hash(self._numbers_of_first.now(ref)) if self.context(ref) else hash(ref)

    def iterate(self, ref: Ref) -> Iterator[Output]:
        """Yield the parts of a tuple, if it is known to be one, else sample elements of a list."""
        here = current()
        if not isinstance(here, Trace) or (here is not self and not here.is_within(self)):
            raise InvalidDag(
                self.title(ref),
                "is iterated outside of the body that it belongs to",
                "give it to the inner DAG as an argument",
            )
        parts = self._arity(ref)
        if parts is None:
            return self._elements(ref) if here is self else here._elements(here.adopted(self.output(ref)))
        return iter([self.output(Ref(ref.base, (*ref.path, ("key", index)))) for index in range(parts)])

    @property
    def is_branch(self) -> bool:
        """Whether this is the trace of a branch of `when`."""
        return self.free_variables is not None

    def is_within(self, other: Recorder) -> bool:
        """Whether this is the trace of a branch, or of a branch within a branch, of what `other` is the trace of."""
        outer = self.free_variables.outer if self.free_variables is not None else None
        return outer is not None and (outer is other or outer.is_within(other))

    def adopted(self, output: Output) -> Ref:
        """Return what stands in this branch for an output of the body around it."""
        assert self.free_variables is not None
        name = self.free_variables.name(output)
        home = trace_of(output)
        self.parameters.setdefault(name, hint_of(ref_of(output), home.calls, home.parameters))
        return Ref(Parameter(name))

    def adopted_list(self, values: list[object]) -> Ref:
        """Return what stands in this branch for a list that was made around it."""
        assert self.free_variables is not None
        name = self.free_variables.name_of_list(values, self.free_variables.outer.source_of(values))
        self.parameters.setdefault(name, None)
        return Ref(Parameter(name))

    def title(self, ref: Ref) -> str:
        """Return what to call `ref` in an error."""
        path = "".join(f"[{shown(name)}]" if kind == "key" else f".{name}" for kind, name in ref.path)
        if isinstance(ref.base, Parameter):
            return f"parameter {ref.base.name!r}{path}"
        if isinstance(ref.base, Element):
            return f"an element of {self.title(ref.base.source)}{path}"
        leaf = "".join(f"[{shown(name)}]" for _, name in ref.base.leaf)
        return f"the output of {self.calls[ref.base.call].callee.name!r}{leaf}{path}"

    def _arity(self, ref: Ref) -> int | None:
        if isinstance(ref.base, Result):
            return self.calls[ref.base.call].callee.arity(ref.base.leaf + ref.path)
        return arity(hint_of(ref, self.calls, self.parameters))

    def _elements(self, source: Ref) -> Iterator[Output]:
        # An element is active from when it is given out until the next is asked for, or the loop is left and this
        # generator closed: a call made meanwhile is made once per element, even if it does not use it.
        loop = object()
        try:
            for index in range(self.length(source)):
                element = Element(source, index)
                self._leave(loop)
                self._active.append((loop, element))
                yield self.output(Ref(element))
        finally:
            self._leave(loop)

    def length(self, source: Ref) -> int:
        """Return how many elements an iterated source has in this trace: the same number every time."""
        if source not in self.lengths:
            self.positions[source] = self._position(source)
            self.lengths[source] = self.samples.of(self.positions[source])
        return self.lengths[source]

    def _position(self, source: Ref) -> Position:
        # Lists that are made alike have the same elements.
        number = self.numbers.now(source)
        if number not in self._position_of:
            context = self.context(source)
            self._position_of[number] = len(context), self._lists_in[context]
            self._lists_in[context] += 1
        return self._position_of[number]

    def _leave(self, loop: object) -> None:
        # What was begun within an element ends with it, even if zip() still holds the inner iterator.
        self._loops = None
        for depth, (active, _) in enumerate(self._active):
            if active is loop:
                del self._active[depth:]
                return

    def _context(self, sources: Iterable[Source]) -> Context:
        if not self.tells_elements_apart or not self.lengths:  # nothing was iterated yet
            return ()
        if self._loops is None:
            self._check_loops()
            self._loops = [within_element(element, self.calls) for _, element in self._active]
        values = [context_in(source, self) for source in sources if not isinstance(source, Literal)]
        return joined([*self._loops, *values], self)

    def _check_loops(self) -> None:
        current: dict[Ref, Element] = {}
        for _, element in self._active:
            if current.setdefault(element.source, element) != element:
                problem = f"pairs every element of {self.title(element.source)} with every other"
                raise InvalidDag(self.place, problem, NESTED)

    def context(self, ref: Ref) -> Context:
        """Return the elements that `ref` exists once for each of."""
        return context_of(ref, self.calls)


def _kind(value: object) -> str:
    name = getattr(value, "__qualname__", None)
    return f"function {name.rpartition('.')[2]!r}" if isinstance(name, str) else type(value).__name__
