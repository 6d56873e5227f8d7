"""An `Output` stands in a DAG's body for a value that only a run will know, and refuses to be one.

It has no public attribute and no public method: ``out.anything`` is always the user's own property.

An output that a branch of `when` uses of the body around it becomes a parameter of the branch. Two values that are made
alike have one *term*, in whichever trace.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn, Protocol, TypeAlias, TypeVar

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.frontends.functional.recorded import (
    Call,
    Callee,
    Context,
    Element,
    Names,
    Parameter,
    Path,
    Ref,
    Result,
    Run,
    Spliced,
    is_same_callee,
    valid,
)
from dagcelery.model.sources import DictOf, ListOf, Literal, SetOf, Source, TupleOf
from dagcelery.objects import ATOMS, Copies, Searching, cell_contents, identity, same
from dagcelery.text import shown


class HiddenAttribute(InvalidDag, AttributeError):
    """Python's own ``__names__`` are no properties of a value; `hasattr` sees that there is none."""


class Recorder(Protocol):
    """What outputs ask of the trace in which they were made."""

    calls: list[Call]
    parameters: dict[str, object]
    refused: InvalidDag | None
    captures: Captures | None

    def source_of(self, value: object) -> Source:
        """Return the source for a value with outputs in it."""

    def output(self, ref: Ref) -> Output:
        """Return the one output that stands for `ref`."""

    def iterate(self, ref: Ref) -> Iterator[Output]:
        """Yield sample elements of a list."""

    def hash_of(self, ref: Ref) -> int:
        """Return a hash, for sets and the keys of dicts."""

    def title(self, ref: Ref) -> str:
        """Return what to call `ref` in an error."""

    def is_within(self, other: Recorder) -> bool:
        """Whether this is the body of a branch in `other`."""


class Output:
    """The value that a task, a nested DAG or a parameter will have, or a part or an element of it."""

    __slots__ = ("__ref", "__trace", "__weakref__")
    __ref: Ref
    __trace: Recorder

    def __init__(self, trace: Recorder, ref: Ref) -> None:
        object.__setattr__(self, "_Output__trace", trace)
        object.__setattr__(self, "_Output__ref", ref)

    def __getattr__(self, name: str) -> Output:
        if name.startswith("__") and name.endswith("__"):
            wrong = f"has no attribute {name!r}, since Python uses such names itself"
            raise HiddenAttribute(title(self), wrong, "read it in a task that takes this value")
        return part(self, (("property", name),))

    def __getitem__(self, key: Any) -> Output:
        if isinstance(key, slice):
            _refuse(self, "cannot be sliced while the DAG is built", "slice it in a task that takes it")
        if type(key) not in (str, int) or (type(key) is int and key.bit_length() > _INDEX_BITS):
            wrong = (
                f"cannot be asked for key {shown(key)}"
                if not isinstance(key, Output)
                else "has a key that is an output"
            )
            _refuse(self, f"{wrong} while the DAG is built", "use a word or a number, or look it up in a task")
        return part(self, (("key", key),))

    def __iter__(self) -> Iterator[Output]:
        return self.__trace.iterate(self.__ref)

    def __await__(self) -> Generator[Any, None, Output]:
        return self
        yield

    def __hash__(self) -> int:
        return self.__trace.hash_of(self.__ref)

    def __repr__(self) -> str:
        return f"<{title(self)}>"

    def __copy__(self) -> Output:
        return self

    def __deepcopy__(self, memo: object) -> Output:
        if isinstance(memo, Searching):
            memo.found = self
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        _refuse(self, f"cannot be given the property {name!r}", _CHANGE)

    def __delattr__(self, name: str) -> NoReturn:
        _refuse(self, f"cannot lose the property {name!r}", _CHANGE)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        _refuse(
            self,
            "is inside an object that should travel as a literal",
            "pass outputs as arguments, or in lists, tuples, sets and dicts",
        )


def ref_of(output: Output) -> Ref:
    """What an output stands for; its own attributes are the user's properties."""
    ref: Ref = object.__getattribute__(output, "_Output__ref")
    return ref


def trace_of(output: Output) -> Recorder:
    """The trace in which an output was made."""
    trace: Recorder = object.__getattribute__(output, "_Output__trace")
    return trace


def title(output: Output) -> str:
    """Return what to call `output` in an error: "the output of 'split'['a']"."""
    return trace_of(output).title(ref_of(output))


def part(output: Output, steps: Path) -> Output:
    """Return the output that stands for what lies at `steps` within `output`."""
    ref = ref_of(output)
    return trace_of(output).output(Ref(ref.base, ref.path + steps))


def flat(value: object) -> Iterator[object]:
    """Yield what is in containers, and in those within them."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from flat(inner)
    else:
        yield value


_INDEX_BITS: Final = 63

_CHANGE: Final = "outputs do not change: return the changed value from a task"

_COMPUTE: Final = "compute in a task: pass the output to it as an argument"

_DECIDE: Final = "decide in a task: pass the output to it, and use if there"

_KNOW: Final = "iterate the output of a task, or use a parameter that is known at build: @dag(static=(...,))"

_COUNT: Final = "count in a task that takes the whole list"

_WRITE: Final = "write the text in a task, and pass the output to it instead of an f-string"

_UNARY: Final = ("neg", "pos", "abs", "invert", "round")

_BINARY: Final = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul"),
    *("and", "or", "xor", "lshift", "rshift"),
)

_COMPARED: Final = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}

# What has no answer before the DAG runs: the method, what is wrong, what would be right.
_REFUSALS: Final = {
    "bool": ("is not known to be true or false before the DAG runs", _DECIDE),
    "len": ("has no length before the DAG runs", _COUNT),
    "reversed": ("cannot be reversed while the DAG is built", "reverse it in a task"),
    "contains": ("cannot be searched with 'in' before the DAG runs", _DECIDE),
    "index": ("is not a number before the DAG runs, which range(...) needs", _KNOW),
    "int": ("is not a number before the DAG runs", _COMPUTE),
    "float": ("is not a number before the DAG runs", _COMPUTE),
    "complex": ("is not a number before the DAG runs", _COMPUTE),
    "bytes": ("has no bytes before the DAG runs", _COMPUTE),
    "str": ("is not text before the DAG runs", _WRITE),
    "format": ("is not text before the DAG runs", _WRITE),
    "fspath": ("is not a path before the DAG runs", _COMPUTE),
    "call": ("cannot be called while the DAG is built", "call it in a task that takes it"),
    "setitem": ("cannot be given a key", _CHANGE),
    "delitem": ("cannot lose a key", _CHANGE),
    "enter": ("cannot be used with 'with'", "use it so in a task that takes it"),
    "exit": ("cannot be used with 'with'", "use it so in a task that takes it"),
    "aiter": ("cannot be used with 'async for'", "use a plain 'for'"),
    **{
        prefix + name: (f"cannot be computed with before the DAG runs (__{prefix}{name}__)", _COMPUTE)
        for name in (*_UNARY, *_BINARY)
        for prefix in ("", "r", "i")
    },
    **{name: (f"cannot be compared ({sign}) before the DAG runs", _DECIDE) for name, sign in _COMPARED.items()},
}


def _refuse(output: Output, wrong: str, right: str) -> NoReturn:
    # It must be a TypeError too: list(output) asks for the length first, and takes only that for a no.
    raise InvalidDagType(title(output), wrong, right)


def _refusal(wrong: str, right: str, *, is_final: bool) -> Callable[..., NoReturn]:
    def refuse(self: Output, *_: object, **__: object) -> NoReturn:
        base = ref_of(self).base
        known = repr(base.name) if isinstance(base, Parameter) else "'n'"
        error = InvalidDagType(title(self), wrong, right.replace("...", known))
        if is_final:
            trace_of(self).refused = trace_of(self).refused or error
        raise error

    return refuse


REFUSED: Final = {
    name: wrong.replace(" before the DAG runs", "").replace(" while the DAG is built", "")
    for name, (wrong, _) in _REFUSALS.items()
}
"""What cannot be done with a value that is not there, by the name of its method without underscores."""

for _name, _refusal_of in _REFUSALS.items():
    # Python itself asks for a length, and goes on without one; other refusals hold even if the body catches them.
    setattr(Output, f"__{_name}__", _refusal(*_refusal_of, is_final=_name != "len"))


CONDITION: Final = "condition"
"""The parameter that says which branch is taken."""


class Captures:
    """Outputs of `outer`, or of bodies around it, that the branches of one `when` use; the same for all their traces.

    `outputs` are those outputs, or lists of them, by their names in the branches; `upstream` is what nodes in these
    come after.
    """

    def __init__(self, outer: Recorder, branches: Sequence[object]) -> None:
        self.outer = outer
        self._held = [value for branch in branches for value in _held(branch) if type(value) is list]
        self.outputs: dict[str, object] = {}
        self.upstream: list[Output] = []
        self._names = Names([CONDITION])
        self._name_of: dict[tuple[int, Ref], str] = {}
        self._lists: list[tuple[object, Source, str]] = []

    def name(self, output: Output) -> str:
        """Return the name of an output in the branches."""
        key = id(trace_of(output)), ref_of(output)
        if key not in self._name_of:
            name = self._name_of[key] = self._names.give(_base_name(output))
            self.outputs[name] = output
        return self._name_of[key]

    def name_of_list(self, values: list[object], source: Source) -> str:
        """Return the name of a list in the branches, which `source` is in the body around."""
        is_held = any(values is held for held in self._held)
        for known, other, name in self._lists:
            if known is values if is_held else other == source:
                return name
        name = self._names.give("items")
        self._lists.append((values if is_held else None, source, name))
        self.outputs[name] = values
        return name

    def is_list_from_around(self, values: list[object], branch: Recorder) -> bool:
        """Whether a list is of outputs from around the branch; one without elements may have some another time."""
        found = [trace_of(leaf) for leaf in flat(values) if isinstance(leaf, Output)]
        if not all(map(branch.is_within, found)):
            return False
        if any(values is held for held in self._held):
            return bool(found) or not values
        return any(isinstance(value, Output) for value in values)

    def handed_up(self, upstream: object, branch: Recorder) -> list[object]:
        """Return what a node of `branch` comes after there; what is outside of it, all of the branch comes after."""
        found = list(flat(upstream))
        outside = [each for each in found if isinstance(each, Output) and branch.is_within(trace_of(each))]
        self.upstream += [each for each in outside if not any(each is known for known in self.upstream)]
        return [each for each in found if not any(each is other for other in outside)]


def _held(branch: object) -> Iterator[object]:
    """Yield what a function captures, and its defaults."""
    for cell in getattr(branch, "__closure__", None) or ():
        yield from cell_contents(cell)
    yield from getattr(branch, "__defaults__", None) or ()


def _base_name(output: Output) -> str:
    base = ref_of(output).base
    if isinstance(base, Parameter):
        return base.name
    return valid(trace_of(output).calls[base.call].callee.name) if isinstance(base, Result) else "item"


S = TypeVar("S")
# Which element is meant by each that stands for all of its list.
Places: TypeAlias = Mapping[Element, int]


class _First(Mapping[Element, int]):
    def __getitem__(self, element: Element) -> int:
        return 0

    def __contains__(self, element: object) -> bool:
        return True

    def __iter__(self) -> Iterator[Element]:
        return iter(())

    def __len__(self) -> int:
        return 0


# The places of the first elements of all lists.
FIRST: Final[Places] = _First()

_NOWHERE: Final[Places] = {}

_CONTAINERS: Final[Mapping[type, str]] = {ListOf: "list", TupleOf: "tuple", list: "list", tuple: "tuple"}


class Table:
    """Numbers for terms, and copies of what is recorded; traces that are to be compared share them."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self.copies = Copies(Output)
        self._objects: dict[int, tuple[object, int]] = {}
        self._callees: list[tuple[Callee, int]] = []
        self._unidentified: list[tuple[object, int]] = []

    def number(self, *term: Hashable) -> int:
        """Return the number of a term that is made of others' numbers and of words."""
        return self._numbers.setdefault(term, len(self._numbers))

    def literal(self, value: object) -> int:
        """Return the number of a value that is known; a container is what its items are."""
        kind = type(value)
        if isinstance(value, list | tuple) and kind in _CONTAINERS:
            return self.number(_CONTAINERS[kind], tuple(map(self.literal, value)))
        if kind is dict and isinstance(value, dict):
            pairs = tuple((self.literal(key), self.literal(item)) for key, item in value.items())
            return self.number("dict", pairs)
        if isinstance(value, set | frozenset) and kind in (set, frozenset):
            return self.number("set", frozenset(map(self.literal, value)))
        if kind in ATOMS:
            return self.number(kind.__name__, hex(value) if type(value) is int else repr(value))
        return self._object(value)

    def callee(self, callee: Callee) -> int:
        """Return the number of what is called, with its options."""
        return _found(self._callees, callee, is_same_callee, lambda: self.number("callee", len(self._callees)))

    def _object(self, value: object) -> int:
        known = self._objects.get(id(value))
        if known is not None:
            return known[1]
        found = identity(value)
        if found is not None:
            # Recorded values do not change.
            self._objects[id(value)] = value, self.number("object", type(value).__qualname__, found)
            return self._objects[id(value)][1]
        return _found(self._unidentified, value, same, lambda: self.number("unidentified", len(self._unidentified)))


def _found(known: list[tuple[S, int]], value: S, is_same: Callable[[S, S], bool], number: Callable[[], int]) -> int:
    """Return the number of one of those that are known, to which `value` is added if it is like none of them."""
    for other, found in known:
        if is_same(other, value):
            return found
    known.append((value, number()))
    return known[-1][1]


class Terms:
    """The terms of one trace: of its calls as they were made, or of those it would make, folded as they are.

    For these, `lengths` are the numbers of elements that lists have, by their terms; KeyError where one is missing.
    """

    def __init__(self, calls: Sequence[Call], table: Table, lengths: Mapping[int, int] | None = None) -> None:
        self._calls = calls
        self._table = table
        self._lengths = lengths
        self._made: dict[tuple[int, tuple[int, ...]], int] = {}
        self._upto: dict[int, int] = {}

    def call(self, number: int, places: Places = _NOWHERE) -> int:
        """Return the term of a call for the elements at `places`."""
        call = self._calls[number]
        key = number, tuple(places[element] for element in call.context if element in places)
        if key not in self._made:
            arguments = tuple((name, self.of(given, places)) for name, given in call.arguments.items())
            callee, after = self._table.callee(call.callee), self.of(call.after, places)
            self._made[key] = self._table.number("call", callee, arguments, after)
        return self._made[key]

    def calls(self) -> Iterator[tuple[int, int]]:
        """Yield the number and the term of every call, those of a loop once for each element."""
        for number, call in enumerate(self._calls):
            for places in self._instances(call.context):
                yield number, self.call(number, places)

    def now(self, source: Source, places: Places = _NOWHERE) -> int:
        """Return the term of a source while calls are still being made."""
        # In their order, since a term that is made of a long chain of others' must not be made by recursion.
        for number in range(self._upto.get(id(places), 0), len(self._calls)):
            self.call(number, places)
        self._upto[id(places)] = len(self._calls)
        return self.of(source, places)

    def of(self, source: Source, places: Places = _NOWHERE) -> int:
        """Return the term of a source, made of calls whose terms are known."""
        number = self._table.number
        if isinstance(source, Ref):
            return self._ref(source, places)
        if isinstance(source, Literal):
            return self._table.literal(source.value)
        if isinstance(source, ListOf | TupleOf):
            return number(_CONTAINERS[type(source)], tuple(self._items(source.items, places)))
        if isinstance(source, SetOf):
            return number("set", frozenset(self._items(source.items, places)))
        assert isinstance(source, DictOf)
        pairs = ((self._table.literal(key), self.of(value, places)) for key, value in source.pairs)
        return number("dict", tuple(pairs))

    def _items(self, items: Sequence[object], places: Places) -> Iterator[int]:
        for item in items:
            if isinstance(item, Run):
                yield from self._items(item.items, places)
            elif isinstance(item, Spliced):
                for longer in self._each(item.over, places):
                    yield self.of(item.template, longer)
            elif isinstance(item, Source):
                yield self.of(item, places)

    def _ref(self, ref: Ref, places: Places) -> int:
        base = ref.base
        if isinstance(base, Parameter):
            made = self._table.number("parameter", base.name)
        elif isinstance(base, Element):
            index = places.get(base, base.index)
            made = self._table.number("element", self._ref(base.source, places), index)
        else:
            made = self._table.number("result", self.call(base.call, places), base.leaf)
        return self._table.number("part", made, ref.path) if ref.path else made

    def _instances(self, context: Context) -> Iterator[Places]:
        if self._lengths is None or not context:
            yield _NOWHERE
            return
        for places in self._instances(context[:-1]):
            yield from self._each(context[-1].source, places)

    def _each(self, source: Ref, places: Places) -> Iterator[Places]:
        assert self._lengths is not None
        for index in range(self._lengths[self._ref(source, places)]):
            yield {**places, Element(source, 0): index}
