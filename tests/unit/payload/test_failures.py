"""An error is told from afar as text, and nothing that the text names is imported."""

from __future__ import annotations

import json
import sys

import pytest

from dagcelery import errors
from dagcelery.payload import failures


class CustomError(Exception):
    pass


def fail(error: Exception) -> None:
    raise error


def raised(error: Exception) -> Exception:
    with pytest.raises(type(error)) as caught:
        fail(error)
    return caught.value


def told(error: Exception) -> dict[str, object]:
    return failures.decode(failures.encode(raised(error)))


def test_type_message_and_traceback_are_told() -> None:
    described = told(ValueError("no rows"))
    assert described["type"] == "ValueError"
    assert described["message"] == "no rows"
    assert "raise error" in str(described["traceback"])


def test_a_class_is_told_by_its_qualified_name() -> None:
    assert told(CustomError())["type"] == f"{__name__}.CustomError"


def test_causes_are_in_the_traceback() -> None:
    error = ValueError("no rows")
    error.__cause__ = KeyError("table")
    assert "KeyError: 'table'" in str(told(error)["traceback"])


def test_the_node_that_failed_is_named() -> None:
    error = failures.as_error("train[3]/fit", told(ValueError("no rows")))
    assert (error.address, error.type_name, error.message) == ("train[3]/fit", "ValueError", "no rows")
    assert "raise error" in error.traceback


def test_reading_imports_nothing() -> None:
    described = {"type": "antigravity.FlyError", "message": "", "traceback": "", "args": []}
    assert failures.typed(described) is None
    failures.as_error("fly", described)
    assert "antigravity" not in sys.modules


def test_a_message_that_cannot_be_shown_is_replaced() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    described = told(Broken())
    assert "RuntimeError" in str(described["message"])
    assert "raise error" in str(described["traceback"])


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    message = str(told(ValueError("first" + "x" * 1_000_000 + "last"))["message"])
    assert message.startswith("first")
    assert message.endswith("last")
    assert len(message) < failures.TEXT_BYTES + 100


def test_any_text_can_be_told() -> None:
    assert told(ValueError("\ud83d é"))["message"] == "\\ud83d é"


def test_an_error_of_ours_comes_back_as_itself() -> None:
    error = failures.typed(told(errors.InvalidParameters("parameter 'n'", "is missing", "give one")))
    assert type(error) is errors.InvalidParameters
    assert str(error) == "parameter 'n': is missing; give one"


def test_an_error_derived_from_ours_is_told_as_text_only() -> None:
    class Sneaky(errors.InvalidDag):
        pass

    assert "args" not in told(Sneaky("x"))


def test_an_error_of_ours_with_arguments_that_are_no_json_is_told_as_text_only() -> None:
    assert "args" not in told(errors.DagceleryError({1}))


@pytest.mark.parametrize("name", ["dagcelery.errors.annotations", "dagcelery.errors.sentence", "dagcelery.errors.Nope"])
def test_only_error_classes_are_ours(name: str) -> None:
    assert failures.typed({"type": name, "args": ["x"]}) is None


def test_arguments_of_another_version_are_no_error() -> None:
    assert failures.typed({"type": "dagcelery.errors.RunNotFound", "args": [1, 2, 3]}) is None


def test_what_is_told_is_json() -> None:
    json.dumps(failures.describe(raised(errors.PayloadTooLarge("x", 2, 1))))
