"""Running stages, and saying so in the Redis of a pipeline that has one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from graphlib import TopologicalSorter
from multiprocessing.pool import ThreadPool
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any

from dagcelery.compat.pydags.cache import RedisCache
from dagcelery.compat.pydags.serialization import PickleSerializer

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Progress", "StageExecutor", "run_all"]


class StageExecutor(PickleSerializer, RedisCache):
    """While its block runs, names stages as `in_progress` in a Redis; then, unless it failed, among those `done`."""

    def __init__(self, redis_instance: Any, stages: list[str]) -> None:
        super().__init__(redis_instance)
        self.pipeline = self.read("pipeline")
        self.stages = stages

    def __enter__(self) -> Self:
        self.write("in_progress", self.serialize(self.stages))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            done = self.read("done")
            self.write("done", self.serialize([*(self.deserialize(done) if done else ()), *self.stages]))
        self.delete("in_progress")

    @staticmethod
    def execute(fn: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call a function."""
        fn(*args, **kwargs)


class Progress(PickleSerializer):
    """Names the stages that run, and those that are done, in a Redis, if there is one.

    Those that were done when a stage failed stay named, until the next start.
    """

    def __init__(self, redis_instance: Any, pipeline: bytes) -> None:
        self._cache = None if redis_instance is None else RedisCache(redis_instance)
        self._running: list[str] = []
        self._done: list[str] = []
        self._lock = Lock()
        if self._cache is not None:
            self._cache.write("pipeline", pipeline)
            self._cache.delete("done")

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Name a stage while a block runs it, and as done unless that fails."""
        with self._noted():
            self._running.append(name)
        try:
            yield
        except BaseException:
            with self._noted():
                self._running.remove(name)
            raise
        with self._noted():
            self._running.remove(name)
            self._done.append(name)

    def end(self) -> None:
        """Name nothing any more, since all is done."""
        if self._cache is not None:
            self._cache.delete("done")

    @contextmanager
    def _noted(self) -> Iterator[None]:
        with self._lock:
            yield
            if self._cache is None:
                return
            for key, names in (("done", self._done), ("in_progress", self._running)):
                if names:
                    self._cache.write(key, self.serialize(names))
                else:
                    self._cache.delete(key)


def run_all(before: Mapping[str, Iterable[str]], run: Callable[[str], object], threads: int) -> None:
    """Run each stage when those `before` it have finished, in so many threads; 0 is this one.

    After a failure, no other is begun. Threads that are interrupted do not hold up the end of the program, unlike those
    of an executor.
    """
    order = TopologicalSorter(before)
    if not threads:
        for name in order.static_order():
            run(name)
        return
    order.prepare()
    finished = SimpleQueue[tuple[str, BaseException | None]]()
    failures: list[BaseException] = []

    def attempt(name: str) -> None:
        try:
            if not failures:
                run(name)
        except BaseException as error:  # raised where the pipeline was started
            finished.put((name, error))
        else:
            finished.put((name, None))

    with ThreadPool(threads) as pool:
        running = 0
        while order.is_active() and (running or not failures):
            ready = () if failures else order.get_ready()
            for name in ready:
                pool.apply_async(copy_context().run, (attempt, name))
            name, error = finished.get()
            running += len(ready) - 1
            order.done(name)
            failures += [error] if error is not None else []
    if failures:
        raise failures[0]
