"""What can be known of one source without those that it is made of, or that it lies in."""

from __future__ import annotations

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.model.depth import depth_fault
from dagcelery.model.options import check_serializer
from dagcelery.model.sources import FromNodeOutput, FromParam, Literal, Source, Splice
from dagcelery.text import shown


def check_alone(place: str, part: Source | Splice) -> None:
    """Raise InvalidDag naming `place` for a source that cannot be looked into, or holds a value that cannot travel."""
    if isinstance(part, FromParam | FromNodeOutput):
        check_serializer(part.serializer)
    value = part.value if isinstance(part, Literal) else getattr(part, "default_value", None)
    if fault := depth_fault(value):
        raise InvalidDag(place, *fault)
    held = getattr(part, "items", getattr(part, "pairs", getattr(part, "steps", ())))
    if not isinstance(held, tuple):
        kind, wrong = type(part).__name__, f"is made of {shown(held)}, which is no tuple"
        raise InvalidDagType(f"{place}: {kind}", wrong, f"write {kind}((..., ...))")
