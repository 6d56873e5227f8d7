"""`dagger.task`: a task that keeps py-dagger's rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from dagcelery import model
from dagcelery.compat.dagger import old_paths
from dagcelery.compat.dagger.data_structures import FrozenMapping
from dagcelery.compat.dagger.input import validate_name as validate_input_name
from dagcelery.compat.dagger.old_texts import BrokenRule, WrongType, check_partition
from dagcelery.compat.dagger.output import validate_name as validate_output_name
from dagcelery.model import Source, TaskOutput
from dagcelery.model.nodes import OUTPUTS
from dagcelery.signatures import binding

SupportedInputs = Source
SupportedOutputs = TaskOutput

__all__ = ["SupportedInputs", "SupportedOutputs", "Task"]

_UNCHANGED: Final = (
    "We do this to guarantee that, once initialized, the structures you build with dagger remain valid and consistent."
)
_READ_ON: Final = (
    "Check the documentation to better understand how partitioning works: "
    "https://larribas.me/dagger/user-guide/partitioning/"
)


class Task(model.Task):
    """A function with its inputs and outputs.

    Raises InvalidDag, which is a ValueError, or a TypeError as well.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        inputs: Mapping[str, Source] | None = None,
        outputs: Mapping[str, TaskOutput] | None = None,
        runtime_options: Mapping[str, Any] | None = None,
        partition_by_input: str | None = None,
        **new: Any,
    ) -> None:
        title = f"task {getattr(func, '__name__', func)!r}"
        inputs = FrozenMapping(inputs or {}, f"You may not mutate the inputs of a task. {_UNCHANGED}")
        outputs = FrozenMapping(outputs or {}, f"You may not mutate the outputs of a task. {_UNCHANGED}")
        _check_parts(title, inputs, outputs)
        _check_call(title, func, inputs)
        _check_partitions(title, inputs, outputs, partition_by_input)
        super().__init__(func, inputs, outputs, runtime_options, partition_by_input, **new)
        self._become(inputs=inputs, outputs=outputs)

    def __eq__(self, other: object) -> bool:
        """Whether another task is the same, as far as py-dagger tells."""
        if not isinstance(other, model.Task):
            return NotImplemented
        return _compared(self) == _compared(other)

    __hash__ = model.Task.__hash__

    def __repr__(self) -> str:
        return (
            f"Task(func={self.func}, inputs={self.inputs}, outputs={self.outputs}, "
            f"runtime_options={self.runtime_options}, partition_by_input={self.partition_by_input})"
        )


def _compared(task: model.Task) -> tuple[object, ...]:
    return task.func, task.inputs, task.outputs, task.runtime_options


def _check_parts(title: str, inputs: Mapping[str, Source], outputs: Mapping[str, TaskOutput]) -> None:
    for name, source in inputs.items():
        validate_input_name(name)
        if not isinstance(source, Source):
            supported = "nodes only support the following types of inputs: ['FromParam', 'FromNodeOutput']"
            raise WrongType(title, f"Input '{name}' is of type '{type(source).__name__}'. However, {supported}")
    for name, output in outputs.items():
        validate_output_name(name)
        if not isinstance(output, OUTPUTS):
            supported = (
                "nodes only support the following types of outputs: ['FromReturnValue', 'FromKey', 'FromProperty']"
            )
            raise WrongType(title, f"Output '{name}' is of type '{type(output).__name__}'. However, {supported}")


def _check_call(title: str, func: Callable[..., Any], inputs: Mapping[str, Source]) -> None:
    takes = binding(func) if callable(func) else None
    if takes is None or takes.fits(inputs.keys()):
        return
    try:
        takes.signature.bind(**dict.fromkeys(inputs))
    except TypeError as error:
        raise WrongType(
            title,
            f"This node was declared with the following inputs: {list(inputs)}. However, the node's function has the "
            f"following signature: {takes.signature}. The inputs could not be bound to the parameters because: "
            f"{error}.",
        ) from None


def _check_partitions(
    title: str, inputs: Mapping[str, Source], outputs: Mapping[str, TaskOutput], partition_by_input: str | None
) -> None:
    check_partition(title, partition_by_input, inputs)
    if not partition_by_input:
        return
    if isinstance(inputs[partition_by_input], model.FromParam):
        raise BrokenRule(
            title,
            f"This node is partitioned by input '{partition_by_input}', which comes from a parameter. In Dagger, nodes "
            f"may not be partitioned by an input that comes from a parameter. {_READ_ON}",
        )
    if any(output.is_partitioned for output in outputs.values()):
        raise BrokenRule(title, PARTITIONED_TWICE)


PARTITIONED_TWICE: Final = (
    "This node is partitioned. In Dagger, partitioned nodes may not generate partitioned outputs. " + _READ_ON
)

old_paths.register(__name__)
