"""Stages that hand values to each other by name, within one run: in Redis, or in files."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from dagcelery.frontends.stages.definition import Stage

if TYPE_CHECKING:
    from dagcelery.runtime.kept import StageValues


class KeepingStage(Stage):
    """A stage that keeps values for the stages after it: any that can be pickled, for the length of the run.

    Two runs of a pipeline never see each other's values. Outside of a run there are none.
    """

    def read(self, key: str) -> Any:
        """Return a copy of what a stage of this run has written. Raises NotKept, which is a KeyError."""
        from dagcelery.runtime import kept

        return kept.read(key, self._keeper())

    def write(self, key: str, value: object) -> None:
        """Keep a value for the other stages of this run, in the place of the one of that key."""
        from dagcelery.runtime import kept

        kept.write(key, value, self._keeper())

    def delete(self, key: str) -> None:
        """Forget the value of that key, if there is one."""
        from dagcelery.runtime import kept

        kept.delete(key, self._keeper())

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
            from dagcelery.runtime import kept

            self._elsewhere = kept.elsewhere(redis_instance)

    def _keeper(self) -> StageValues | None:
        return self._elsewhere


class DiskCacheStage(KeepingStage):
    """A stage whose values stand in files below `directory`, which all workers must share.

    Without one it is that of DAGCELERY_CACHE_DIRECTORY. `Pipeline.start` removes a run's files when it is over; after
    `submit` they stay.
    """

    _folder: StageValues | None = None

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        from dagcelery.runtime import kept

        self._folder = kept.in_folder(directory)

    def _keeper(self) -> StageValues:
        if self._folder is None:  # a constructor that did not call this one's
            DiskCacheStage.__init__(self)
        assert self._folder is not None
        return self._folder
