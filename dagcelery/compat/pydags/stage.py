"""`pydags.stage`: stages as functions and as classes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from dagcelery.compat.pydags.cache import DiskCache, RedisCache
from dagcelery.compat.pydags.execution import StageExecutor
from dagcelery.compat.pydags.serialization import InvalidTypeForDeserializationException, PickleSerializer, naming
from dagcelery.frontends import stages

if TYPE_CHECKING:
    from typing import Self

__all__ = ["DecoratorStage", "DiskCacheStage", "RedisStage", "Stage", "StageExecutor", "stage"]

P = ParamSpec("P")


class Stage(stages.Stage):
    """Derive from it and write `run`; `preceding_stages` is a list."""

    @property
    def preceding_stages(self) -> list[stages.Stage]:  # type: ignore[override]
        """The stages that it comes after."""
        preceding: list[stages.Stage] = self.__dict__.setdefault("_preceding", [])
        return preceding

    def after(self, *others: stages.Stage) -> Self:
        """Start only when these have finished, too; returns the stage itself."""
        new = [other for other in map(stages.checked, others) if all(other is not each for each in self._preceding)]
        self.preceding_stages.extend(new)
        return self


class DecoratorStage(Stage, stages.FunctionStage):
    """One call of a function."""

    def __init__(self, stage_function: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
        super().__init__(stage_function, args, kwargs)
        self.stage_function, self.args, self.kwargs = stage_function, args, kwargs


def stage(stage_function: Callable[P, object]) -> Callable[P, DecoratorStage]:
    """Make stages out of calls of a function."""
    made = stages.stage(stage_function)

    @wraps(made.fn)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> DecoratorStage:
        return DecoratorStage(made.fn, *args, **kwargs)

    return wrapper


class RedisStage(Stage, PickleSerializer, RedisCache, stages.RedisStage):
    """A stage whose values stand, pickled, in the Redis that is passed, under the names that it gives them.

    Later runs and other programs find them there, so whoever may write to it can run code here. Without a Redis they
    live beside the run, and as long.
    """

    redis_instance: Any = None

    def __init__(self, redis_instance: Any = None) -> None:
        if redis_instance is not None:
            RedisCache.__init__(self, redis_instance)

    def read(self, k: str) -> Any:
        """Return a copy of the value of that name.

        Raises InvalidTypeForDeserializationException if there is none, or NotKept without a Redis.
        """
        if self.redis_instance is None:
            return stages.RedisStage.read(self, k)
        data = RedisCache.read(self, k)
        if data is None:
            remedy = "write it first, in a stage that this one comes after"
            raise InvalidTypeForDeserializationException(f"key {k!r}", "is not in the stage's Redis", remedy)
        with naming(f"the value of key {k!r}"):
            return self.deserialize(data)

    def write(self, k: str, v: object) -> None:
        """Keep a value under a name."""
        if self.redis_instance is None:
            stages.RedisStage.write(self, k, v)
        else:
            with naming(f"the value of key {k!r}"):
                data = self.serialize(v)
            RedisCache.write(self, k, data)

    def delete(self, k: str) -> None:
        """Forget the value of that name."""
        (stages.RedisStage if self.redis_instance is None else RedisCache).delete(self, k)


class DiskCacheStage(Stage, PickleSerializer, DiskCache, stages.DiskCacheStage):
    """A stage whose values stand, pickled, in the `diskcache.Cache` that is passed, under their names.

    With a folder instead of one, or without either, they are files of the run.
    """

    disk_cache: Any = None

    def __init__(self, cache: Any = None) -> None:
        if cache is None or isinstance(cache, str | os.PathLike):
            stages.DiskCacheStage.__init__(self, cache)
        else:
            DiskCache.__init__(self, cache)

    def read(self, k: str) -> Any:
        """Return a copy of the value of that name. Raises KeyError."""
        if self.disk_cache is None:
            return stages.DiskCacheStage.read(self, k)
        with naming(f"the value of key {k!r}"):
            return self.deserialize(DiskCache.read(self, k))

    def write(self, k: str, v: object) -> None:
        """Keep a value under a name."""
        if self.disk_cache is None:
            stages.DiskCacheStage.write(self, k, v)
        else:
            with naming(f"the value of key {k!r}"):
                data = self.serialize(v)
            DiskCache.write(self, k, data)

    def delete(self, k: str) -> None:
        """Forget the value of that name."""
        (stages.DiskCacheStage if self.disk_cache is None else DiskCache).delete(self, k)
