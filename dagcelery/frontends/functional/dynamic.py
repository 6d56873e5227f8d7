"""A dynamic task is called for real, with real values; calls of tasks and DAGs in it make a graph that follows it.

What such a call returns is a promise. It may be given to other calls, and returned, in lists, tuples, sets and dicts
too. The body runs once, so its loops and branches are Python's own.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, NoReturn

from dagcelery.errors import InvalidDagType
from dagcelery.frontends.functional.definition import name_of
from dagcelery.frontends.functional.grown import Grown
from dagcelery.frontends.functional.output import REFUSED, Output, title, trace_of
from dagcelery.frontends.functional.probes import Probes
from dagcelery.frontends.functional.refs import Ref, Result
from dagcelery.frontends.functional.terms import Table
from dagcelery.frontends.functional.trace import Trace
from dagcelery.model.sources import Literal

_NO_PROBES: Final = Probes("real values", 1)


def drive(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a dynamic task's function; returns its value, or its graph if it called tasks or DAGs."""
    from dagcelery.frontends.functional.questions import check_questions_of_task  # here, as where DAGs are built

    check_questions_of_task(function, arguments)
    with Growth(name_of(function)) as growth:
        returned = function(**arguments)
        if not inspect.isawaitable(returned) or isinstance(returned, Output):
            return growth.ended(returned)
    return _awaited(growth, returned)


async def _awaited(growth: Growth, returned: Awaitable[Any]) -> Any:
    # The loop may run in another thread than the call.
    with growth.resumed():
        return growth.ended(await returned)


class Promise(Output):
    """What a call in a running dynamic task returns: the value that will be there, for others to take."""

    __slots__ = ()

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(f"{title(self)} has no attribute {name!r}")
        _refuse(self, f"cannot be asked for its property {name!r}")

    def __getitem__(self, key: Any) -> NoReturn:
        _refuse(self, "cannot be asked for what lies in it")

    def __iter__(self) -> Iterator[Output]:
        _refuse(self, "cannot be iterated or taken apart")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        _refuse(self, f"cannot be given the property {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        _refuse(self, f"cannot lose the property {name!r}")


def _refuse(promise: Output, wrong: str, *, is_final: bool = True) -> NoReturn:
    error = InvalidDagType(title(promise), f"{wrong}: it has no value yet in the task that called for it", _PASS_ON)
    if is_final:  # it holds even if the task catches it
        trace_of(promise).refused = trace_of(promise).refused or error
    raise error


_PASS_ON: Final = "pass it on to a task, as an argument or in a list, tuple, set or dict: there it is the value"


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(self: Promise, *_: object, **__: object) -> NoReturn:
        # Python itself asks for a length, and goes on without one.
        _refuse(self, REFUSED[name], is_final=name != "len")

    return refuse


for _name in REFUSED:
    setattr(Promise, f"__{_name}__", _refusal(_name))


class Growth(Trace):
    """The calls of a running dynamic task, in their order; `name` is what its graph is called."""

    is_growth = True

    def __init__(self, name: str) -> None:
        super().__init__(_NO_PROBES, {}, Table())
        self.name = name
        self.place = "the running task"
        self.home = name.rpartition(":")[2]
        self._promises: list[Promise] = []

    def __enter__(self) -> Growth:
        super().__enter__()
        return self

    def output(self, ref: Ref) -> Output:
        """Return the promise of a call."""
        return Promise(self, ref)

    def hash_of(self, ref: Ref) -> int:
        """Return the hash of a promise: each is itself only."""
        return hash(ref)

    def title(self, ref: Ref) -> str:
        """Return what to call a promise in an error."""
        assert isinstance(ref.base, Result), "a running task has values, not parameters and elements"
        return f"the promise of {self.calls[ref.base.call].callee.name!r}"

    def resumed(self) -> Growth:
        """Go on in the thread that this is called in."""
        self.thread = threading.get_ident()
        return self

    def ended(self, returned: Any) -> Any:
        """Return what the task returned, or the graph that it stands for if there were calls."""
        # Whatever an iterator calls, it calls now; and it may give one object again and again, changed.
        source = self.source(returned) if isinstance(returned, Iterator) else None
        if self.refused is not None:
            raise self.refused
        if not self.calls:
            return source.value if isinstance(source, Literal) else returned
        returns = source or self.source(returned)
        self.settle()
        return Grown(self.name, self.calls, returns)
