"""A pipeline is a list of stages; what came after what was said to the stages, and no two pipelines share anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.frontends.functional.naming import Names, valid
from dagcelery.frontends.stages.definition import Stage, checked
from dagcelery.frontends.stages.keeping import KeepingStage
from dagcelery.frontends.stages.picture import Picture
from dagcelery.model.graph import DAG, Task
from dagcelery.model.sources import Literal
from dagcelery.text import listed, shown

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
        names = Names()
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
            raise type(error)(f"stage {name!r}: {error.culprit}", error.wrong, error.right) from error

    def _repr_svg_(self) -> str | None:
        return Picture(self.__dag__()).svg

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return Picture(self.__dag__())._repr_mimebundle_(include, exclude)

    def __repr__(self) -> str:
        return f"<pipeline {self.name} of {len(self._stages)} stages>"
