"""`dagger.task`: a task that keeps py-dagger's rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dagcelery import model
from dagcelery.compat.dagger import rules
from dagcelery.model import Source, TaskOutput

SupportedInputs = Source
SupportedOutputs = TaskOutput

__all__ = ["SupportedInputs", "SupportedOutputs", "Task"]


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
        super().__init__(func, inputs, outputs, runtime_options, partition_by_input, **new)
        rules.check_task(self)
