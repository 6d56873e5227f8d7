"""`dagger.input`: where inputs come from, and which parameters a node takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from dagcelery import model
from dagcelery.compat.dagger import old_paths
from dagcelery.compat.dagger.old_texts import WrongParameters, check_name
from dagcelery.compat.dagger.serializer import DefaultSerializer
from dagcelery.model import EMPTY, Serializer, Source
from dagcelery.model.sources import Empty as EmptyDefaultValue

__all__ = [
    "EmptyDefaultValue",
    "FromNodeOutput",
    "FromParam",
    "Input",
    "split_required_and_optional_inputs",
    "validate_and_clean_parameters",
    "validate_name",
]


@runtime_checkable
class Input(Protocol):
    """What every input has."""

    serializer: Serializer


class FromParam(model.FromParam):
    """A parameter of the DAG around the node; one that names no serializer has the default."""

    serializer: Serializer

    def __init__(
        self, name: str | None = None, default_value: object = EMPTY, serializer: Serializer = DefaultSerializer
    ) -> None:
        # In versions without defaults the serializer came second.
        if isinstance(default_value, Serializer) and serializer is DefaultSerializer:
            serializer, default_value = default_value, EMPTY
        super().__init__(name, default_value, serializer)

    def has_default_value(self) -> bool:
        """Whether there is a value for when the parameter is not given; None may be one."""
        return self.default_value is not EMPTY

    def __repr__(self) -> str:
        default = self.default_value if self.has_default_value() else "'None'"
        return f"FromParam(name={self.name}, default_value={default}, serializer={self.serializer})"


class FromNodeOutput(model.FromNodeOutput):
    """An output of a sibling node; one that names no serializer has the default."""

    serializer: Serializer

    def __init__(self, node: str, output: str, serializer: Serializer = DefaultSerializer) -> None:
        super().__init__(node, output, serializer)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, model.FromNodeOutput):
            return NotImplemented
        return (self.node, self.output, self.serializer) == (other.node, other.output, other.serializer)

    def __hash__(self) -> int:
        return hash((self.node, self.output))

    def __repr__(self) -> str:
        return f"FromNodeOutput(node={self.node}, output={self.output}, serializer={self.serializer})"


def validate_name(name: str) -> None:
    """Refuse a name that no input may have.

    Raises InvalidDag, which is a ValueError.
    """
    check_name("an input", "Inputs", name)


def split_required_and_optional_inputs(
    inputs: Mapping[str, Source],
) -> tuple[dict[str, Source], dict[str, model.FromParam]]:
    """Return the inputs that need a value, and those that have one if none is given."""
    optional = {
        name: each for name, each in inputs.items() if isinstance(each, model.FromParam) and _has_default_value(each)
    }
    return {name: each for name, each in inputs.items() if name not in optional}, optional


def validate_and_clean_parameters(inputs: Mapping[str, Source], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for each input; other parameters are left out.

    Raises InvalidParameters, which is a ValueError.
    """
    required, optional = split_required_and_optional_inputs(inputs)
    _validate_parameters(required, params)
    return _clean_parameters(required, optional, params)


def _validate_parameters(required_inputs: Mapping[str, Source], params: Mapping[str, Any]) -> None:
    if missing := sorted(required_inputs.keys() - params.keys()):
        raise WrongParameters(
            "",
            "The parameters supplied to this node were supposed to contain the following parameters: "
            f"{sorted(required_inputs)}. However, only the following parameters were actually supplied: "
            f"{sorted(params)}. We are missing: {missing}.",
        )


def _clean_parameters(
    required_inputs: Mapping[str, Source], optional_inputs: Mapping[str, model.FromParam], params: Mapping[str, Any]
) -> dict[str, Any]:
    defaults = {name: each.default_value for name, each in optional_inputs.items()}
    return {**{name: params[name] for name in required_inputs}, **defaults} | {
        name: params[name] for name in optional_inputs if name in params
    }


def _has_default_value(source: model.FromParam) -> bool:
    return source.default_value is not EMPTY


old_paths.register(__name__)
