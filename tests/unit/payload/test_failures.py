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
    described = {"type": "antigravity.FlyError", "message": "", "traceback": ""}
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


def test_what_is_told_is_json() -> None:
    json.dumps(failures.describe(raised(errors.PayloadTooLarge("x", 2, 1))))
