"""An `Output` represents, in a DAG's body, a value that only a run will know, and refuses to be used as one.

It has no public attribute and no public method: ``out.anything`` is always the user's own property. Outputs belong to
the trace of a body, and so do calls that are made while that body runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.text import shown

if TYPE_CHECKING:  # what is recorded is made in a body, and decorating is cheap without it
    from dagcelery.frontends.functional.recorded import Call, Callee, Ref
    from dagcelery.model.sources import Path, Source


class HiddenAttribute(InvalidDag, AttributeError):
    """Python's own ``__names__`` are not properties of a value; `hasattr` is told so."""


class Recorder(Protocol):
    """The trace in which outputs are made, as they see it."""

    calls: list[Call]
    parameters: dict[str, object]
    refused: InvalidDag | None
    thread: int

    @property
    def is_dynamic(self) -> bool:
        """Whether the calls are those of a running task, and executed after it."""

    @property
    def is_branch(self) -> bool:
        """Whether this is the trace of a branch of `when`."""

    def source_of(self, value: object) -> Source:
        """Return the source for a value with outputs in it."""

    def output(self, ref: Ref) -> Output:
        """Return the one output for `ref`."""

    def record(self, callee: Callee, arguments: Mapping[str, object], upstream: object) -> int:
        """Note a call and return its number, for a `Result` to name."""

    def iterate(self, ref: Ref) -> Iterator[Output]:
        """Yield sample elements of a list."""

    def hash_of(self, ref: Ref) -> int:
        """Return a hash, for sets and the keys of dicts."""

    def title(self, ref: Ref) -> str:
        """Return a name of `ref` for errors."""

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
            problem = f"has no attribute {name!r}, since Python uses such names itself"
            raise HiddenAttribute(title(self), problem, "read it in a task that takes this value")
        return part(self, (("property", name),))

    def __getitem__(self, key: Any) -> Output:
        if isinstance(key, slice):
            _refuse(self, "cannot be sliced while the DAG is built", "slice it in a task that takes it")
        if type(key) not in (str, int) or (type(key) is int and key.bit_length() > _INDEX_BITS):
            problem = (
                f"cannot be asked for key {shown(key)}"
                if not isinstance(key, Output)
                else "has a key that is an output"
            )
            _refuse(self, f"{problem} while the DAG is built", "use a word or a number, or look it up in a task")
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
        from dagcelery.objects import Searching  # who copies has imported it

        if isinstance(memo, Searching):
            memo.culprit = self
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
    """Return the reference that an output stands for; its own attributes are the user's properties."""
    ref: Ref = object.__getattribute__(output, "_Output__ref")
    return ref


def trace_of(output: Output) -> Recorder:
    """Return the trace in which an output was made."""
    trace: Recorder = object.__getattribute__(output, "_Output__trace")
    return trace


def title(output: Output) -> str:
    """Return a name of `output` for errors: "the output of 'split'['a']"."""
    return trace_of(output).title(ref_of(output))


def part(output: Output, steps: Path) -> Output:
    """Return the output for the value at `steps` within `output`."""
    return trace_of(output).output(ref_of(output).at(steps))


def flat(value: object) -> Iterator[object]:
    """Yield the values in containers, and in those within them."""
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


# Questions without an answer before the DAG runs: the method, the problem, the remedy.
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


def _refuse(output: Output, problem: str, remedy: str) -> NoReturn:
    # It must be a TypeError too: list(output) asks for the length first, and goes on without one only then.
    raise InvalidDagType(title(output), problem, remedy)


def _refusal(problem: str, remedy: str, *, is_final: bool) -> Callable[..., NoReturn]:
    def refuse(self: Output, *_: object, **__: object) -> NoReturn:
        name = ref_of(self).parameter or "n"
        error = InvalidDagType(title(self), problem, remedy.replace("...", repr(name)))
        if is_final:
            trace_of(self).refused = trace_of(self).refused or error
        raise error

    return refuse


REFUSED: Final = {
    name: problem.replace(" before the DAG runs", "").replace(" while the DAG is built", "")
    for name, (problem, _) in _REFUSALS.items()
}
"""Problems with a value that is not there, by the method's name without underscores."""


for _name, _refusal_of in _REFUSALS.items():
    # Python itself asks for a length, and goes on without one; other refusals hold even if the body catches them.
    setattr(Output, f"__{_name}__", _refusal(*_refusal_of, is_final=_name != "len"))


_CURRENT: ContextVar[Recorder | None] = ContextVar("dagcelery_trace", default=None)

_open: set[int] = set()
"""The traces that are open in this process."""


def current() -> Recorder | None:
    """Return the trace that a call made here belongs to; None outside of a body, and in its threads."""
    trace = _CURRENT.get()
    return trace if trace is not None and trace.thread == threading.get_ident() else None


@contextmanager
def nothing_traced() -> Iterator[None]:
    """Let calls of tasks run their functions for the time of the block."""
    token = _CURRENT.set(None)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def check_values(place: str, values: tuple[object, ...]) -> None:
    """Raise InvalidDag if one of the values of a plain call is an output: in a thread of a body, or after its end.

    Lists and the like are looked into only while some body runs: they may be long, and calls are plain almost always.
    """
    for output in _outputs_in(values, 20 if _open else 0):
        error = InvalidDag(
            f"{place} with {title(output)}",
            "is made in another thread than the body, or after its end, so it would run instead of adding a node",
            "call tasks in the body itself, one after the other: their nodes run at the same time anyway",
        )
        trace_of(output).refused = trace_of(output).refused or error
        raise error


def _outputs_in(values: Iterable[object], depth: int) -> Iterator[Output]:
    for value in values:
        if isinstance(value, Output):
            yield value
        elif depth and isinstance(value, list | tuple | set | frozenset | dict):
            yield from _outputs_in(value.values() if isinstance(value, dict) else value, depth - 1)


def opened(trace: Recorder) -> Recorder | None:
    """Let calls made in this context belong to `trace`; return the trace that they belonged to."""
    outer = _CURRENT.get()
    _CURRENT.set(trace)
    _open.add(id(trace))
    return outer


def closed(trace: Recorder, outer: Recorder | None) -> None:
    """Let calls belong to the trace again to which they belonged before `trace` was opened."""
    _open.discard(id(trace))
    _CURRENT.set(outer)
