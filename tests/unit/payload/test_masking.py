"""No value is in a masked text; where that is not sure, there is no text."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import ipaddress
import pathlib
import types
import uuid
from collections import deque
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest

from dagcelery.payload import failures
from dagcelery.payload.lazy import LazyList
from dagcelery.payload.masking import masking

SECRET = "hunter2-and-more"


@dataclass(slots=True)
class Slotted:
    token: str


class Under(Slotted):
    __slots__ = ()


class Named(list[str]):
    token = ""


class Color(enum.StrEnum):
    RED = SECRET


class Callable:
    def __init__(self) -> None:
        self.token = SECRET

    def __call__(self) -> None: ...


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    token: pydantic.SecretStr


def named() -> Named:
    made = Named()
    made.token = SECRET
    return made


def circle() -> list[object]:
    made: list[object] = [SECRET]
    made.append({"again": made})
    return made


UNDERSTOOD: Any = {
    "slots": (Slotted(SECRET), SECRET),
    "inherited slots": (Under(SECRET), SECRET),
    "an attribute of a list": (named(), SECRET),
    "an enum": (Color.RED, SECRET),
    "an object that is called": (Callable(), SECRET),
    "a model": (Model(token=pydantic.SecretStr(SECRET)), SECRET),
    "what a model has besides": (Model(token=pydantic.SecretStr("t"), more=SECRET), SECRET),  # type: ignore[call-arg]
    "a decimal": (decimal.Decimal("1234.5678"), "1234.5678"),
    "an id": (uuid.UUID(int=2**100 + 1), str(uuid.UUID(int=2**100 + 1))),
    "a date": (datetime.date(2020, 2, 3), "2020-02-03"),
    "an address": (ipaddress.ip_address("10.11.12.13"), "10.11.12.13"),
    "a path": (pathlib.Path("/tmp/secret"), "/tmp/secret"),
    "bytes that change": (bytearray(b"hunter2\xff"), "hunter2\\xff"),
    "a queue": (deque([SECRET]), SECRET),
    "a namespace": (types.SimpleNamespace(token=SECRET), SECRET),
    "a circle": (circle(), SECRET),
    "a line": (f"first\r\n  {SECRET}\nlast", SECRET),
    "a line of bytes": (f"first\n{SECRET}\nlast".encode(), SECRET),
}


@pytest.mark.parametrize("kind", UNDERSTOOD)
def test_a_value_is_masked_and_the_rest_stays(kind: str) -> None:
    value, text = UNDERSTOOD[kind]
    assert masking([value])(f"refused: {text}!") == "refused: ***!"


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


UNKNOWN: Any = {
    "a list read piecewise": LazyList(1, lambda lo, hi: iter([SECRET])),
    "too many": [f"{number}-{SECRET}" for number in range(20_000)],
    "too long": SECRET * 100_000,
    "a partial call": functools.partial(print, SECRET),
    "a function": lambda token=SECRET: token,
    "an iterator": iter([SECRET]),
    "an error": ValueError(SECRET),
    "a huge number": 10**5000,
    "a broken repr": Broken(),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_not_understood_leaves_no_message(kind: str) -> None:
    stand_in = failures.masked(ValueError(f"refused: 15000-{SECRET}"), [{"token": UNKNOWN[kind]}])
    assert str(stand_in) == failures.UNTOLD
    assert SECRET not in str(failures.describe(stand_in))
