"""A function that workers cannot find, or may not call, is refused by name; so is a DAG that is named by text."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dagcelery import AsPickle, invoke, task
from dagcelery.errors import (
    BadSignature,
    DeserializationError,
    FunctionNotAllowed,
    FunctionNotFound,
    InvalidDag,
    NotConfigured,
    SerializationError,
    UnknownKey,
)
from dagcelery.payload import addresses, functions
from dagcelery.payload.signing import Keyring
from dagcelery.planner.plan import FunctionSpec

from .telling import Bad
from .vocabulary import map_reduce

SIGNED, UNSIGNED = Keyring(["key"]), Keyring()
HERE = map_reduce.__module__


def found(module: str, name: str = "f", keyring: Keyring = SIGNED, **spec: Any) -> Any:
    """What a worker finds that was told of a function; without a key it may import this very package."""
    return functions.load(FunctionSpec(module, name, "", **spec), imports=(HERE.split(".")[0],), keyring=keyring)


@pytest.fixture(autouse=True)
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that fails while it is imported."""
    (tmp_path / "broken_shop.py").write_text("raise RuntimeError('closed')\n")
    monkeypatch.syspath_prepend(tmp_path)


# --- at a worker ---

NOT_FOUND = {
    "a module that it does not have": (lambda: found("no_such_shop"), "no_such_shop:f", "No module named"),
    "a module that fails": (lambda: found("broken_shop"), "broken_shop:f", "RuntimeError: closed"),
    "a name that its module lacks": (lambda: found(HERE, "powwer"), f"{HERE}:powwer", "it has no 'powwer' here"),
    "a name for what is not a function": (lambda: found(HERE, "__doc__"), f"{HERE}:__doc__", "which cannot be called"),
}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_a_function_that_a_worker_cannot_find_is_named_with_a_remedy(name: str) -> None:
    do, culprit, wrong = NOT_FOUND[name]
    Bad(do, culprit, wrong, "put its module on this worker's path", FunctionNotFound).is_refused()


NOT_ALLOWED = {
    "another module": (lambda: found("antigravity", keyring=UNSIGNED), "antigravity"),
    "what an allowed module imports": (lambda: found(HERE, "AsPickle", keyring=UNSIGNED), AsPickle.__module__),
}


@pytest.mark.parametrize("name", NOT_ALLOWED)
def test_a_function_off_the_allow_list_is_named_without_a_key_with_both_remedies(name: str) -> None:
    do, module = NOT_ALLOWED[name]
    wrong, right = "was named by unsigned data", f"add {module} to DAGCELERY_IMPORTS, or set DAGCELERY_SIGN"
    Bad(do, module, wrong, right, FunctionNotAllowed).is_refused()
    assert "antigravity" not in sys.modules


BY_VALUE = {
    "without a key": (lambda: found("", "f", UNSIGNED, blob=b""), "function f", "no signing key", NotConfigured),
    "of another Python": (lambda: found("", python="2.7"), "function f", "from Python 2.7", DeserializationError),
    "that cannot be read": (lambda: found("", blob=b"?"), "function f", "cannot be unpickled", DeserializationError),
}


@pytest.mark.parametrize("name", BY_VALUE)
def test_a_function_by_value_that_a_worker_cannot_read_is_named(name: str) -> None:
    do, culprit, wrong, kind = BY_VALUE[name]
    right = {"without a key": "DAGCELERY_SIGNING_KEY", "of another Python": "one version"}.get(name, "by_value=")
    Bad(do, culprit, wrong, right, kind).is_refused()


def test_bytes_whose_signature_fails_are_named_and_not_read() -> None:
    place = addresses.value("some-run", "0", "3.0")
    sealed = bytearray(SIGNED.seal(place, b"true"))
    sealed[-1] ^= 1
    with pytest.raises(BadSignature, match=r"value 3\.0.*run some-run.*signature does not fit"):
        SIGNED.open(place, bytes(sealed))
    with pytest.raises(UnknownKey, match="add it to DAGCELERY_SIGNING_KEY"):
        Keyring(["another"]).open(place, SIGNED.seal(place, b"true"))


# --- at the client ---


def test_a_function_by_value_is_refused_without_a_key_when_it_is_submitted(client_of: Any, raw: Any) -> None:
    with pytest.raises(NotConfigured, match=r"<lambda> has to travel by value.*DAGCELERY_SIGNING_KEY.*into a module"):
        client_of(signing_key="").submit(task(lambda x: x), {"x": 1})
    assert not raw.keys("*")


def test_a_function_that_captures_what_cannot_travel_is_named(client_of: Any, raw: Any) -> None:
    captured = threading.Lock()
    node, right = task(lambda: captured), "open what it captures inside"
    Bad(lambda: client_of().submit(node), "<lambda>", "cannot pickle", right, SerializationError).is_refused()
    assert not raw.keys("*")


def test_a_module_by_value_that_nobody_imported_is_named(client_of: Any, raw: Any) -> None:
    node, right = task(by_value="helprs")(lambda: 1), "that the function's own module imports"
    Bad(lambda: client_of().submit(node), "'helprs'", "not a module in use", right, SerializationError).is_refused()
    assert not raw.keys("*")


TEXTS = {
    "without a name": ("shop", "does not name a module and an object", "write 'package.module:name'"),
    "with an empty name": ("shop:", "does not name a module and an object", "write 'package.module:name'"),
    "with an empty module": (":train", "does not name a module and an object", "write 'package.module:name'"),
    "of a module that is none": ("no_such_shop:train", "module 'no_such_shop' does not exist", "on Python's path"),
    "of a relative module": (".shop:train", "not the name of a module", "write 'package.module'"),
    "of a file": ("shop/train.py:train", "is a file", "write its module's name, 'shop.train'"),
    "of a module that fails": ("broken_shop:train", "RuntimeError: closed", "repair it"),
    "of a name that the module lacks": ("json:dumsp", "module 'json' has no 'dumsp'", "did you mean 'dump' or 'dumps'"),
    "of what is no DAG": ("json:dumps", "neither a DAG nor a task", "decorate the function"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_dag_named_by_text_that_leads_nowhere_is_told(name: str) -> None:
    text, wrong, right = TEXTS[name]
    culprit = "dumps" if text == "json:dumps" else text
    Bad(lambda: invoke(text), culprit, wrong, right, InvalidDag).is_refused()


@pytest.mark.parametrize("node", [3, None, len, [map_reduce], type(map_reduce)], ids=repr)
def test_what_is_no_dag_cannot_be_run(node: Any) -> None:
    Bad(lambda: invoke(node), repr(node), "neither a DAG nor a task", "decorate the function", InvalidDag).is_refused()
