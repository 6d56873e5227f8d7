"""`pydags.pipeline`: collects stages, and runs them."""

from __future__ import annotations

from collections.abc import Iterator

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.frontends import stages

__all__ = ["DAGException", "DAGVerificationException", "InvalidStageTypeException", "Pipeline", "StageException"]

DAGException = DAGVerificationException = StageException = InvalidDag
InvalidStageTypeException = InvalidDagType


class Pipeline(stages.Pipeline):
    """Stages that run together. Pipelines share nothing, and need no Redis."""

    def topological_sort_grouped(self) -> Iterator[list[str]]:
        """Yield the names of the stages in groups; a group may run in parallel, after the earlier groups."""
        yield from self.groups()
