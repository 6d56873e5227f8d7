"""`pydags.stage`: stages as functions and as classes."""

from __future__ import annotations

import os
from typing import Any

from dagcelery.frontends import stages
from dagcelery.frontends.stages import FunctionStage as DecoratorStage
from dagcelery.frontends.stages import RedisStage, Stage, stage

__all__ = ["DecoratorStage", "DiskCacheStage", "RedisStage", "Stage", "stage"]


class DiskCacheStage(stages.DiskCacheStage):
    """A stage whose values are kept in files: in the folder of a diskcache `Cache`, or in that folder."""

    def __init__(self, cache: Any = None) -> None:
        directory: str | os.PathLike[str] | None = getattr(cache, "directory", cache)
        super().__init__(directory)
