"""What expressions do with values that were read: they take parts of them, copy them, and choose by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dagcelery import objects
from dagcelery.errors import DeserializationError, SerializationError
from dagcelery.payload.skipped import Skipped
from dagcelery.text import shown


def part_of(value: Any, path: Sequence[tuple[str, str | int]]) -> Any:
    """What lies at `path` within a value; a step that is missing is named."""
    if type(value) is Skipped:
        return value
    for kind, name in path:
        try:
            value = value[name] if kind == "key" else getattr(value, str(name))
        except (LookupError, TypeError, AttributeError) as error:
            raise DeserializationError(
                "an argument",
                f"it is read from a {type(value).__name__} without the {kind} {shown(name)}",
                "return a value that has it, or read another part",
            ) from error
    return value


def choice(condition: Any) -> tuple[list[bool], list[bool], Skipped | None]:
    """Which branch is taken, as a list with one element and one with none; neither if the condition was skipped."""
    if type(condition) is Skipped:
        return [], [], condition
    return ([True], [], None) if condition else ([], [True], None)


def copied(value: Any) -> Any:
    """A copy of a literal, so that no call sees what another one did to it."""
    try:
        return objects.copied(value)
    except Exception as error:  # __deepcopy__ and __reduce__ methods raise what they like
        right = "pass plain data, and open files, locks and connections where they are used"
        culprit = f"a literal of type {type(value).__name__}"
        raise SerializationError(culprit, f"cannot be copied: {error}", right) from error
