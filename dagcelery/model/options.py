"""Options say how a task or a DAG is to be run: where, when, in which bytes; never what it means."""

from __future__ import annotations

from dataclasses import dataclass

from dagcelery.errors import InvalidDag
from dagcelery.model.serializers import Serialize, Serializer


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How one task is run.

    `taints` send it to a queue that only tolerating workers consume, `queue` to that very queue; one
    excludes the other. `name` is the node's name in a DAG. `lazy` are the parameters that take an iterable
    instead of a list. `serializer` carries its returned value. `by_value` are modules that travel with the
    function.
    """

    taints: tuple[str, ...] = ()
    queue: str | None = None
    name: str | None = None
    lazy: frozenset[str] = frozenset()
    serializer: Serialize | Serializer | None = None
    by_value: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("taints", "by_value"):
            object.__setattr__(self, field, _words(field, getattr(self, field)))
        object.__setattr__(self, "lazy", frozenset(self.lazy))
        _check_place(self.queue, self.taints)
        check_serializer(self.serializer)


@dataclass(frozen=True, slots=True)
class DagOptions:
    """How one DAG is run: the default serializer of its values, `deadline` in seconds."""

    serializer: Serializer | None = None
    deadline: float | None = None

    def __post_init__(self) -> None:
        check_serializer(self.serializer)
        if self.deadline is not None and not self.deadline > 0:
            raise InvalidDag(f"deadline={self.deadline!r}", "is not a time", "give seconds, more than 0")


def check_serializer(serializer: object) -> None:
    """Refuse what could not serialize, above all a class where its instance is due."""
    if serializer is None or isinstance(serializer, Serialize):
        return
    if isinstance(serializer, type) or not isinstance(serializer, Serializer):
        raise InvalidDag(
            f"serializer={serializer!r}",
            "is not a serializer",
            "give an object with extension, serialize(value, writer) and deserialize(reader): AsPickle()",
        )


def _check_place(queue: str | None, taints: tuple[str, ...]) -> None:
    if queue is not None and taints:
        raise InvalidDag(
            f"queue={queue!r} with taint={'+'.join(taints)!r}",
            "name two places for one task",
            "give either, since a taint chooses the queue by itself",
        )
    if queue is not None and (not isinstance(queue, str) or not queue.strip()):
        raise InvalidDag(f"queue={queue!r}", "is not the name of a queue", "give a word such as 'gpu'")
    for taint in taints:
        if "+" in taint:
            raise InvalidDag(f"taint={taint!r}", "has a '+', which joins taints", "give them as ('a', 'b')")


def _words(field: str, given: object) -> tuple[str, ...]:
    words = (given,) if isinstance(given, str) else tuple(given)  # type: ignore[arg-type]
    for word in words:
        if not isinstance(word, str) or not word.strip():
            raise InvalidDag(f"{field}={given!r}", f"holds {word!r}, which is not a word", "give words")
    return words
