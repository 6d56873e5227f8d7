"""Stages: objects that come `after` each other, collected in a pipeline, which is a DAG of the model.

A stage is one node: a call of a function with literal arguments, or an object with a `run` method. Stages of one run
may hand values to each other by name, in Redis or in files. A pipeline is drawn as SVG or PNG where Graphviz is
installed, else as text.
"""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, ParamSpec, cast

from dagcelery.errors import InvalidDag, InvalidDagType, InvalidLocation, NotConfigured
from dagcelery.model.graph import DAG, Task
from dagcelery.model.names import UniqueNames, short_name, valid
from dagcelery.model.sources import Literal as Value
from dagcelery.text import listed, shown

if TYPE_CHECKING:
    from typing import Self

    from dagcelery.client.stage_cache import StageValues


P = ParamSpec("P")

_NAMELESS: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


class Stage(ABC):
    """Derive from it and write `run`, which is called without arguments; its returned value is dropped.

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
        each = {id(stage): stage for stage in (*self._preceding, *map(checked, stages))}
        self._preceding = tuple(each.values())
        return self

    def node(self, after: list[str]) -> Task:
        """Return the task that this stage is in a DAG, which starts after those nodes."""
        return Task(self.run, after=after)

    def __getstate__(self) -> dict[str, Any]:
        # The graph knows the order; with it each stage would carry all others along.
        return {name: value for name, value in self.__dict__.items() if name != "_preceding"}

    def __repr__(self) -> str:
        return f"<stage {self.name}>"


class StageFunction(Generic[P]):
    """A function that `@stage` decorated: each call makes another stage; the function itself is `fn`."""

    def __init__(self, fn: Callable[P, object]) -> None:
        functools.update_wrapper(cast(Any, self), fn)
        self.fn = fn

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Stage:
        """Return a stage that calls the function with these arguments.

        Raises InvalidDagType if they do not fit.
        """
        return FunctionStage(self.fn, args, kwargs)

    def __repr__(self) -> str:
        return f"<@stage {self.fn.__module__}:{short_name(self.fn)}>"


class FunctionStage(Stage):
    """One call of a function; the function travels by its name where it has one, the arguments as literals."""

    def __init__(self, fn: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._name = short_name(fn)
        for value in (*args, *kwargs.values()):
            if isinstance(value, Stage | StageFunction):
                problem = f"takes {shown(value)}, and stages give no values"
                remedy = "order them with after(), and hand values over by a RedisStage or a DiskCacheStage"
                raise InvalidDagType(f"the call of {self._name!r}", problem, remedy)
        self._func, self._arguments = _by_name(fn, args, kwargs)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._func(**self._arguments)

    def node(self, after: list[str]) -> Task:
        """Return the task: the function with literals, so that workers find it by its name."""
        return Task(self._func, {name: Value(value) for name, value in self._arguments.items()}, after=after)


def stage(fn: Callable[P, object], /) -> StageFunction[P]:
    """Make stages out of calls of a function: ``first = load("a.csv")``, ``train(epochs=3).after(first)``."""
    if not callable(fn) or isinstance(fn, type):
        raise InvalidDagType(f"{shown(fn)}", "is not a function", "decorate a function, or derive a class from Stage")
    return StageFunction(fn)


def checked(candidate: object) -> Stage:
    """Return a stage; refuse anything else, above all a function that was not called."""
    if isinstance(candidate, Stage):
        return candidate
    is_function = isinstance(candidate, StageFunction)
    remedy = "call it to make one" if is_function else "give what a @stage function returned"
    raise InvalidDagType(f"{shown(candidate)}", "is not a stage", remedy)


def _by_name(
    fn: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., object], dict[str, Any]]:
    """Return a call as a function and its arguments by name; arguments without names are bound to the function."""
    try:
        signature = inspect.signature(fn)
    except ValueError:
        return functools.partial(fn, *args, **kwargs), {}
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidDagType(f"the call of {short_name(fn)!r}", str(error), f"call it as {signature}") from None
    kinds = {name: signature.parameters[name].kind for name in bound.arguments}
    if any(kind in _NAMELESS for kind in kinds.values()):
        return functools.partial(fn, *args, **kwargs), {}
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        arguments |= value if kinds[name] is inspect.Parameter.VAR_KEYWORD else {name: value}
    return fn, arguments


class ValuesStage(Stage):
    """A stage that hands values to the stages after it: any that can be pickled, for the length of the run.

    Two runs of a pipeline never see each other's values. Outside of a run there are none.
    """

    _place_of_values: StageValues | None = None

    def read(self, key: str) -> Any:
        """Return a copy of the value that a stage of this run has written.

        Raises NotKept, which is a KeyError.
        """
        from dagcelery.client import stage_cache

        return stage_cache.read(key, self._stage_values())

    def write(self, key: str, value: object) -> None:
        """Write a value for the other stages of this run; it replaces the one of that key."""
        from dagcelery.client import stage_cache

        stage_cache.write(key, value, self._stage_values())

    def delete(self, key: str) -> None:
        """Delete the value of that key, if there is one."""
        from dagcelery.client import stage_cache

        stage_cache.delete(key, self._stage_values())

    def forget(self, run_id: str) -> None:
        """Delete the values that would stay when a run is over."""
        values = self._stage_values()
        if values is not None:
            values.delete_all(run_id)

    def _stage_values(self) -> StageValues | None:
        """Return the place of the values; None means beside the run."""
        return self._place_of_values


class RedisStage(ValuesStage):
    """A stage whose values are kept beside its run, and live as long: in the run's Redis, or in memory with `invoke`.

    With `redis_instance`, a client, they are kept in that Redis instead, for a week.
    """

    def __init__(self, redis_instance: object = None) -> None:
        if redis_instance is not None:
            from dagcelery.client import stage_cache

            self._place_of_values = stage_cache.elsewhere(redis_instance)


class DiskCacheStage(ValuesStage):
    """A stage whose values are kept in files below `directory`, which all workers must share.

    Without one it is that of DAGCELERY_CACHE_DIRECTORY. `Pipeline.start` removes a run's files when it is over; after
    `submit` they stay.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        from dagcelery.client import stage_cache

        self._place_of_values = stage_cache.in_folder(directory)

    def _stage_values(self) -> StageValues | None:
        if self._place_of_values is None:  # the constructor of a derived class did not call this one
            DiskCacheStage.__init__(self)
        return self._place_of_values


_SECONDS: Final = 60.0
"""How long Graphviz may take for a picture."""

_LANGUAGES: Final = {".svg": "svg", ".png": "png", ".mmd": "mermaid", ".dot": "dot", ".txt": "text"}
"""Languages in which a picture is saved, by the ending of its file."""


class Picture:
    """A drawing that notebooks show; printed it is text."""

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
        """Write a file; its ending chooses the language: .svg, .png, .mmd, .dot or .txt.

        Raises NotConfigured, and InvalidLocation where nothing can be written.
        """
        if not isinstance(path, str | os.PathLike):
            raise InvalidLocation(f"a picture at {shown(path)}", "is not a path", "give a str or a Path")
        language = _LANGUAGES.get(Path(path).suffix.lower())
        if language is None:
            raise NotConfigured(f"{os.fspath(path)!r} does not say what to draw", f"end it in {', '.join(_LANGUAGES)}")
        drawing: str | bytes | None = getattr(self, language)
        if drawing is None:
            problem = f"drawing {os.fspath(path)!r} needs Graphviz, whose program dot is not on PATH or failed"
            raise NotConfigured(problem, "install it, or save as .mmd, .dot or .txt")
        try:
            Path(path).write_bytes(drawing.encode() if isinstance(drawing, str) else drawing)
        except (OSError, ValueError) as error:  # the latter of a null byte
            problem = f"cannot be written: {error}"
            raise InvalidLocation(f"a picture at {shown(path)}", problem, "name another one") from error

    def __str__(self) -> str:
        return self.text.rstrip()

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        bundle = {"text/plain": str(self), "text/vnd.mermaid": self.mermaid}
        return bundle if self.svg is None else bundle | {"image/svg+xml": self.svg}

    def _drawn(self, language: Literal["svg", "png"]) -> bytes | None:
        program = shutil.which("dot")
        if program is None:
            return None
        command = [program, f"-T{language}"]
        try:
            return subprocess.run(
                command, input=self.dot.encode(), capture_output=True, timeout=_SECONDS, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError):
            return None


_STANDARD_ERROR: Final = 2
"""The file descriptor that shows what stages on other processes print."""


class Pipeline:
    """Stages that run together: in this process, on processes of this machine, or with `submit` on workers."""

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
        if not any(other is stage for other in self._stages):
            self._stages.append(stage)

    def add_stages(self, stages: Iterable[Stage]) -> None:
        """Add several stages, in any order.

        Raises InvalidDagType, and adds none, if one of them is not a stage.
        """
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

        self.__dag__()  # raises its errors before anything is started
        with local.cluster(num_cores, log=_STANDARD_ERROR) as cluster:
            run = client.submit(self, client=cluster.client)
            try:
                run.result()
            finally:
                for stage in self._stages:
                    if isinstance(stage, ValuesStage):
                        stage.forget(run.id)

    def visualize(self, path: str | os.PathLike[str] | None = None) -> Picture:
        """Return a picture, which notebooks show; with `path`, save it there: as .svg, .png, .mmd, .dot or .txt.

        In a script the text is printed. SVG and PNG need Graphviz.
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
        """Return the DAG of the stages.

        Raises InvalidDag, which names the stage.
        """
        if not self._stages:
            raise InvalidDag(f"pipeline {shown(self.name)}", "has no stage", "add_stage(...) first")
        names = UniqueNames()
        called = {id(stage): names.give(valid(stage.name)) for stage in self._stages}
        nodes = {called[id(stage)]: self._node(stage, called) for stage in self._stages}
        return DAG(nodes, name=self.name, returns=Value(None))

    def _node(self, stage: Stage, called: dict[int, str]) -> Task:
        name = called[id(stage)]
        for other in stage.preceding_stages:
            if id(other) not in called:
                problem = f"comes after stage {other.name!r}, which was never added to the pipeline"
                raise InvalidDag(f"stage {name!r}", problem, f"add it; there are {listed(called.values())}")
        try:
            return stage.node([called[id(other)] for other in stage.preceding_stages])
        except InvalidDag as error:
            raise type(error)(f"stage {name!r}: {error.culprit}", error.problem, error.remedy) from error

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return Picture(self.__dag__())._repr_mimebundle_(include, exclude)

    def __repr__(self) -> str:
        return f"<pipeline {self.name} of {len(self._stages)} stages>"
