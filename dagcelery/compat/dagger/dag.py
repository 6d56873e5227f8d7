"""`dagger.dag`: a DAG that keeps py-dagger's rules, and the check of its parameters."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from dagcelery import model
from dagcelery.compat.dagger import rules
from dagcelery.errors import CyclicDependency, InvalidParameters
from dagcelery.model import EMPTY, FromNodeOutput, Literal, Node, Source

SupportedInputs = Source
SupportedOutputs = FromNodeOutput
CyclicDependencyError = CyclicDependency

__all__ = ["DAG", "CyclicDependencyError", "Node", "SupportedInputs", "SupportedOutputs", "validate_parameters"]


class DAG(model.DAG):
    """Nodes that feed each other.

    Raises InvalidDag, which is a ValueError, or CyclicDependencyError.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        inputs: Mapping[str, Source] | None = None,
        outputs: Mapping[str, Source] | None = None,
        runtime_options: Mapping[str, Any] | None = None,
        partition_by_input: str | None = None,
        **new: Any,
    ) -> None:
        super().__init__(nodes, inputs, outputs, runtime_options, partition_by_input, **new)
        rules.check_dag(self)


def validate_parameters(inputs: Mapping[str, Source], params: Mapping[str, object]) -> None:
    """Refuse parameters if one is missing, and warn of superfluous ones.

    Raises InvalidParameters, which is a ValueError.
    """
    if not isinstance(params, Mapping):
        raise InvalidParameters(f"params={params!r}", "are not a mapping", "give a dict of names and values")
    needed = {name for name, source in inputs.items() if not _has_a_value(source)}
    if missing := needed - params.keys():
        raise InvalidParameters(
            f"The parameters supplied to this node were supposed to contain {sorted(inputs)}",
            f"but only {sorted(params)} were actually supplied",
            f"We are missing: {sorted(missing)}",
        )
    if superfluous := params.keys() - inputs.keys():
        warnings.warn(
            f"These parameters are ignored, since the node does not use them: {sorted(superfluous)}", stacklevel=3
        )


def _has_a_value(source: Source) -> bool:
    return isinstance(source, Literal) or getattr(source, "default_value", EMPTY) is not EMPTY
