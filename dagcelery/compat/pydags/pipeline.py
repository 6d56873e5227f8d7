"""`pydags.pipeline`: collects stages, and runs them in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from inspect import iscoroutine
from typing import Any

from dagcelery import client
from dagcelery.compat.pydags.cache import RedisCache
from dagcelery.compat.pydags.execution import Progress, run_all
from dagcelery.compat.pydags.serialization import CloudPickleSerializer, naming
from dagcelery.engine.attempts import finished
from dagcelery.errors import CyclicDependency, InvalidDag, InvalidDagType, NodeFailed
from dagcelery.frontends import stages
from dagcelery.model import Literal, Task
from dagcelery.text import shown

__all__ = ["DAGException", "DAGVerificationException", "InvalidStageTypeException", "Pipeline", "StageException"]

DAGException = DAGVerificationException = StageException = InvalidDag
InvalidStageTypeException = InvalidDagType


@dataclass(frozen=True)
class Graph:
    """The stages of a pipeline: `nodes` by name, each with its "stage_wrapper"; `edges` lead to what comes after."""

    nodes: Mapping[str, Mapping[str, stages.Stage]]
    edges: tuple[tuple[str, str], ...]


class Pipeline(stages.Pipeline, CloudPickleSerializer, RedisCache):
    """Stages that run together. Pipelines share nothing.

    With `redis_cache`, a client of a Redis, `start` writes there what it does: keys `pipeline`, `in_progress` and,
    while it runs, `done`. None is needed.
    """

    redis_instance: Any = None

    def __init__(self, redis_cache: Any = None, *, name: str = "pipeline") -> None:
        super().__init__(name)
        if redis_cache is not None:
            RedisCache.__init__(self, redis_cache)

    @property
    def pipeline(self) -> Graph:
        """The stages and their order."""
        dag, names = self.__dag__(), self._names()
        nodes = {name: {"stage_wrapper": stage} for name, stage in zip(names.values(), self.stages, strict=True)}
        edges = [(names[before], names[name]) for name, node in dag.nodes.items() for before in node.after]
        return Graph(nodes, tuple(edges))

    def add_stage(self, stage: stages.Stage) -> None:
        """Add a stage, unless it is in the pipeline already.

        Raises InvalidStageTypeException, and DAGVerificationException for a cycle.
        """
        stages.checked(stage)
        waiting, order = [stage], dict[stages.Stage, Any]()
        while waiting:
            each = waiting.pop()
            if each not in order:
                order[each] = each.preceding_stages
                waiting += each.preceding_stages
        try:
            TopologicalSorter(order).prepare()
        except CycleError as error:
            raise CyclicDependency([each.name for each in error.args[1][1:]]) from None
        super().add_stage(stage)

    def topological_sort_grouped(self) -> Iterator[list[str]]:
        """Yield the names of the stages in groups; a group may run in parallel, after the earlier groups."""
        names = self._names()
        for group in self.groups():
            yield [names[name] for name in group]

    def _names(self) -> dict[str, str]:
        """Return what the stages are called here by what they are called in a DAG: their own names, if these differ."""
        own = [stage.name for stage in self.stages]
        return {
            name: each if own.count(each) == 1 else name for name, each in zip(self.__dag__().nodes, own, strict=True)
        }

    def run_stage(self, stage_name: str) -> None:
        """Run one stage, in this process."""
        _run(self.pipeline.nodes[stage_name]["stage_wrapper"])

    def start(self, num_cores: int | None = None) -> None:
        """Run the stages in this process: one by one, or with `num_cores` in so many threads.

        A stage starts when those that it comes after have finished. What a stage raises is raised here.
        """
        if num_cores is not None and (not isinstance(num_cores, int) or num_cores < 0):
            culprit = f"num_cores={shown(num_cores)}"
            raise InvalidDag(culprit, "is not a number of threads", "give 1 or more, or leave it out")
        graph = self.pipeline
        with naming(f"pipeline {self.name!r}"):
            told = self.serialize(graph) if self.redis_instance is not None else b""
        progress = Progress(self.redis_instance, told)

        def run(name: str) -> None:
            with progress.of(name):
                _run(graph.nodes[name]["stage_wrapper"])

        before = {name: [first for first, then in graph.edges if then == name] for name in graph.nodes}
        in_one_piece(lambda: run_all(before, run, num_cores or 0))
        progress.end()


def _run(stage: stages.Stage) -> None:
    returned: object = stage.run()
    if iscoroutine(returned):
        finished(returned)


_called: dict[int, Callable[[], None]] = {}
"""What runs now, by number: a task that holds stages would be compared with all the data in them."""


def in_one_piece(run: Callable[[], None]) -> None:
    """Call a function as one piece of a run, so that stages without a Redis find each other's values beside it."""
    failure: BaseException | None = None
    _called[id(run)] = run
    try:
        client.invoke(Task(_call, {"number": Literal(id(run))}))
    except NodeFailed as error:
        failure = error.__cause__ or error
    finally:
        del _called[id(run)]
    if failure is not None:
        raise failure


def _call(number: int) -> None:
    _called[number]()
