"""Stages: objects that come `after` each other, collected in a pipeline, which is a DAG of the model.

A stage is one node: a call of a function with literal arguments, or an object with a `run` method. Stages of one run
may hand values to each other by name, in Redis or in files. What comes after what is said to the stages, and no two
pipelines share anything. A pipeline is drawn as SVG or PNG where Graphviz is installed, else as text.
"""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import subprocess
import sys
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, cast

from dagcelery.errors import InvalidDag, InvalidDagType, InvalidLocation, NotConfigured
from dagcelery.model.graph import DAG, Task
from dagcelery.model.nodes import UniqueNames, valid
from dagcelery.model.sources import Literal
from dagcelery.text import listed, shown

if TYPE_CHECKING:
    from typing import Self

    from dagcelery.client.stage_cache import StageValues


__all__ = ["DiskCacheStage", "Pipeline", "RedisStage", "Stage", "stage"]


P = ParamSpec("P")

_NAMELESS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


class Stage(ABC):
    """Derive from it and write `run`, which is called without arguments and whose returned value nobody gets.

    On workers a stage is a copy, which travels with what its constructor put into it: what can be pickled.
    """

    _name: str | None = None
    _preceding: tuple[Stage, ...] = ()

    @abstractmethod
    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Do what this stage is for."""

    @property
    def name(self) -> str:
        """What it is called in a pipeline, where a number tells it from others of that name; by default its class."""
        return self._name or type(self).__name__

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def preceding_stages(self) -> tuple[Stage, ...]:
        """The stages that it comes after, each once."""
        return self._preceding

    def after(self, *stages: Stage) -> Self:
        """Start only when `stages` have finished, and those that were given before; returns the stage itself."""
        known = {id(stage) for stage in self._preceding}
        for stage in stages:
            if id(checked(stage)) not in known:
                self._preceding = (*self._preceding, stage)
                known.add(id(stage))
        return self

    def node(self, after: list[str]) -> Task:
        """Return the task that this stage is in a DAG, which starts after those nodes."""
        return Task(self.run, after=after)

    def __getstate__(self) -> dict[str, Any]:
        # Who comes before is the graph's to know: each stage would carry all others along.
        return {name: value for name, value in self.__dict__.items() if name != "_preceding"}

    def __repr__(self) -> str:
        return f"<stage {self.name}>"


class StageFunction(Generic[P]):
    """A function that `@stage` decorated: each call makes another stage; the function itself is `fn`."""

    def __init__(self, fn: Callable[P, object]) -> None:
        functools.update_wrapper(cast(Any, self), fn)
        self.fn = fn

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Stage:
        """Return a stage that calls the function with these arguments. Raises InvalidDagType if they do not fit."""
        return FunctionStage(self.fn, args, kwargs)

    def __repr__(self) -> str:
        return f"<@stage {self.fn.__module__}:{_name_of(self.fn)}>"


class FunctionStage(Stage):
    """One call of a function; the function travels by its name where it has one, the arguments as literals."""

    def __init__(self, fn: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._name = _name_of(fn)
        for value in (*args, *kwargs.values()):
            if isinstance(value, Stage | StageFunction):
                right = "order them with after(), and hand values over by a RedisStage or a DiskCacheStage"
                raise InvalidDagType(
                    f"the call of {self._name!r}", f"takes {shown(value)}, and stages give no values", right
                )
        self._func, self._arguments = _by_name(fn, args, kwargs)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._func(**self._arguments)

    def node(self, after: list[str]) -> Task:
        """Return the task: the function with literals, so that workers find it by its name."""
        return Task(self._func, {name: Literal(value) for name, value in self._arguments.items()}, after=after)


def stage(fn: Callable[P, object], /) -> StageFunction[P]:
    """Make stages out of calls of a function: ``first = load("a.csv")``, ``train(epochs=3).after(first)``."""
    if not callable(fn) or isinstance(fn, type):
        raise InvalidDagType(f"{shown(fn)}", "is not a function", "decorate a function, or derive a class from Stage")
    return StageFunction(fn)


def checked(found: object) -> Stage:
    """Return what is a stage; refuse the rest, above all a function that nobody called."""
    if isinstance(found, Stage):
        return found
    right = "call it to make one" if isinstance(found, StageFunction) else "give what a @stage function returned"
    raise InvalidDagType(f"{shown(found)}", "is not a stage", right)


def _by_name(
    fn: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., object], dict[str, Any]]:
    """Return a call as a function and its arguments by name; what has no names is bound to the function."""
    try:
        signature = inspect.signature(fn)
    except ValueError:
        return functools.partial(fn, *args, **kwargs), {}
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidDagType(f"the call of {_name_of(fn)!r}", str(error), f"call it as {signature}") from None
    kinds = {name: signature.parameters[name].kind for name in bound.arguments}
    if any(kind in _NAMELESS for kind in kinds.values()):
        return functools.partial(fn, *args, **kwargs), {}
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        arguments |= value if kinds[name] is inspect.Parameter.VAR_KEYWORD else {name: value}
    return fn, arguments


def _name_of(fn: Callable[..., object]) -> str:
    return getattr(fn, "__name__", type(fn).__name__).strip("<>")


class KeepingStage(Stage):
    """A stage that keeps values for the stages after it: any that can be pickled, for the length of the run.

    Two runs of a pipeline never see each other's values. Outside of a run there are none.
    """

    def read(self, key: str) -> Any:
        """Return a copy of what a stage of this run has written. Raises NotKept, which is a KeyError."""
        from dagcelery.client import stage_cache

        return stage_cache.read(key, self._keeper())

    def write(self, key: str, value: object) -> None:
        """Keep a value for the other stages of this run, in the place of the one of that key."""
        from dagcelery.client import stage_cache

        stage_cache.write(key, value, self._keeper())

    def delete(self, key: str) -> None:
        """Forget the value of that key, if there is one."""
        from dagcelery.client import stage_cache

        stage_cache.delete(key, self._keeper())

    def forget(self, run_id: str) -> None:
        """Forget what this stage would leave behind of a run that is over."""
        keeper = self._keeper()
        if keeper is not None:
            keeper.forget(run_id)

    @abstractmethod
    def _keeper(self) -> StageValues | None:
        """Return who keeps the values; None means that they stand beside the run."""


class RedisStage(KeepingStage):
    """A stage whose values stand beside its run, and live as long: in the run's Redis, or in memory with `invoke`.

    With `redis_instance`, a client, they stand in that Redis instead, for a week.
    """

    _elsewhere: StageValues | None = None

    def __init__(self, redis_instance: object = None) -> None:
        if redis_instance is not None:
            from dagcelery.client import stage_cache

            self._elsewhere = stage_cache.elsewhere(redis_instance)

    def _keeper(self) -> StageValues | None:
        return self._elsewhere


class DiskCacheStage(KeepingStage):
    """A stage whose values stand in files below `directory`, which all workers must share.

    Without one it is that of DAGCELERY_CACHE_DIRECTORY. `Pipeline.start` removes a run's files when it is over; after
    `submit` they stay.
    """

    _folder: StageValues | None = None

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        from dagcelery.client import stage_cache

        self._folder = stage_cache.in_folder(directory)

    def _keeper(self) -> StageValues:
        if self._folder is None:  # a constructor that did not call this one's
            DiskCacheStage.__init__(self)
        assert self._folder is not None
        return self._folder


_SECONDS = 60.0


class Picture:
    """Shows itself in notebooks; printed it is text."""

    def __init__(self, dag: DAG) -> None:
        self._dag = dag

    @cached_property
    def text(self) -> str:
        """A tree of stages in the order in which they can start."""
        from dagcelery import draw

        return draw.text(self._dag)

    @cached_property
    def mermaid(self) -> str:
        """A flowchart for documents."""
        from dagcelery import draw

        return draw.mermaid(self._dag)

    @cached_property
    def dot(self) -> str:
        """A digraph for Graphviz."""
        from dagcelery import draw

        return draw.dot(self._dag)

    @cached_property
    def svg(self) -> str | None:
        """An image as text; None without Graphviz."""
        drawn = self._drawn("svg")
        return None if drawn is None else drawn.decode()

    @cached_property
    def png(self) -> bytes | None:
        """An image as bytes; None without Graphviz."""
        return self._drawn("png")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file; its ending says what: .svg, .png, .mmd, .dot or .txt.

        Raises NotConfigured, and InvalidLocation where nothing can be written.
        """
        if not isinstance(path, str | os.PathLike):
            raise InvalidLocation(f"a picture at {shown(path)}", "is not a path", "give a str or a Path")
        written = {".svg": "svg", ".png": "png", ".mmd": "mermaid", ".dot": "dot", ".txt": "text"}
        ending = Path(path).suffix.lower()
        if ending not in written:
            raise NotConfigured(f"{os.fspath(path)!r} does not say what to draw", f"end it in {', '.join(written)}")
        found: str | bytes | None = getattr(self, written[ending])
        if found is None:
            why = f"drawing {os.fspath(path)!r} needs Graphviz, whose program dot is not on PATH or failed"
            raise NotConfigured(why, "install it, or save as .mmd, .dot or .txt")
        try:
            Path(path).write_bytes(found.encode() if isinstance(found, str) else found)
        except (OSError, ValueError) as error:  # the latter of a null byte
            raise InvalidLocation(
                f"a picture at {shown(path)}", f"cannot be written: {error}", "name another one"
            ) from error

    def __str__(self) -> str:
        return self.text.rstrip()

    __repr__ = __str__

    def _repr_svg_(self) -> str | None:
        return self.svg

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        bundle = {"text/plain": str(self), "text/vnd.mermaid": self.mermaid}
        return bundle if self.svg is None else bundle | {"image/svg+xml": self.svg}

    def _drawn(self, language: typing.Literal["svg", "png"]) -> bytes | None:
        program = shutil.which("dot")
        if program is None:
            return None
        try:
            command = [program, f"-T{language}"]
            done = subprocess.run(command, input=self.dot.encode(), capture_output=True, timeout=_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout


_STANDARD_ERROR = 2
"""The file descriptor where what stages print on other processes is shown."""


class Pipeline:
    """Stages that run together: here, on processes of this machine, or with `submit` on workers."""

    def __init__(self, name: str = "pipeline") -> None:
        self.name = name
        self._stages: list[Stage] = []

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, in the order in which they were added."""
        return tuple(self._stages)

    def add_stage(self, stage: Stage) -> None:
        """Add a stage, unless it is in the pipeline already."""
        checked(stage)
        if not any(known is stage for known in self._stages):
            self._stages.append(stage)

    def add_stages(self, stages: Iterable[Stage]) -> None:
        """Add several stages; their order says nothing. Raises InvalidDagType; then none is added."""
        if not isinstance(stages, Iterable):
            raise InvalidDagType(shown(stages), "holds no stages", "give a list of what @stage functions returned")
        for stage in [checked(stage) for stage in stages]:
            self.add_stage(stage)

    def groups(self) -> list[list[str]]:
        """Return the names of the stages in groups: those of one group may run at once, after earlier groups.

        They need not: a stage starts when those that it comes after have finished, and waits for no others.
        """
        dag = self.__dag__()
        return [[name for name in dag.nodes if name in group] for group in dag.node_execution_order]

    def start(self, num_cores: int | None = None) -> None:
        """Run the stages one by one in this process; with `num_cores`, on so many processes of this machine.

        Raises InvalidDag, or NodeFailed for the first stage that failed.
        """
        from dagcelery import client

        if num_cores is None:
            client.invoke(self)
            return
        if isinstance(num_cores, bool) or not isinstance(num_cores, int) or num_cores < 1:
            raise InvalidDag(
                f"num_cores={shown(num_cores)}", "is not a number of processes", "give 1 or more, or leave it out"
            )
        from dagcelery import local

        self.__dag__()  # what is wrong with it is told before anything is started
        with local.cluster(num_cores, log=_STANDARD_ERROR) as cluster:
            run = client.submit(self, client=cluster.client)
            try:
                run.result()
            finally:
                for stage in self._stages:
                    if isinstance(stage, KeepingStage):
                        stage.forget(run.id)

    def visualize(self, path: str | os.PathLike[str] | None = None) -> Picture:
        """Return a picture, which notebooks show; with `path`, save it there: as .svg, .png, .mmd, .dot or .txt.

        A script shows no values, so that there the text is printed. SVG and PNG need Graphviz.
        """
        picture = Picture(self.__dag__())
        if path is not None:
            picture.save(path)
        elif not hasattr(sys, "ps1") and "IPython" not in sys.modules:
            print(picture)
        return picture

    def __call__(self) -> None:
        """Run it in this process."""
        self.start()

    def __dag__(self) -> DAG:
        """Return the DAG that the stages are now. Raises InvalidDag, which names the stage."""
        if not self._stages:
            raise InvalidDag(f"pipeline {shown(self.name)}", "has no stage", "add_stage(...) first")
        names = UniqueNames()
        called = {id(stage): names.give(valid(stage.name)) for stage in self._stages}
        nodes = {called[id(stage)]: self._node(stage, called) for stage in self._stages}
        return DAG(nodes, name=self.name, returns=Literal(None))

    def _node(self, stage: Stage, called: dict[int, str]) -> Task:
        name = called[id(stage)]
        for other in stage.preceding_stages:
            if id(other) not in called:
                wrong = f"comes after stage {other.name!r}, which was never added to the pipeline"
                raise InvalidDag(f"stage {name!r}", wrong, f"add it; there are {listed(called.values())}")
        try:
            return stage.node([called[id(other)] for other in stage.preceding_stages])
        except InvalidDag as error:
            raise type(error)(f"stage {name!r}: {error.culprit}", error.problem, error.remedy) from error

    def _repr_svg_(self) -> str | None:
        return Picture(self.__dag__()).svg

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return Picture(self.__dag__())._repr_mimebundle_(include, exclude)

    def __repr__(self) -> str:
        return f"<pipeline {self.name} of {len(self._stages)} stages>"
