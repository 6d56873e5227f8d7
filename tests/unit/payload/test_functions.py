"""A function is found by another process: by its name where that leads to it, else by value."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import math
import operator
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pytest

from dagcelery.errors import (
    FunctionNotAllowed,
    FunctionNotFound,
)
from dagcelery.payload.functions import LargeCaptureWarning, describe, load, pickled
from dagcelery.payload.signing import Keyring

keyed = Keyring.parse("key")
keyless = Keyring.parse(None)

SHOP = """
import functools, os, subprocess
from os import system

class Task:
    def __init__(self, fn):
        self.fn = fn
        functools.update_wrapper(self, fn)
    def __call__(self, *args):
        return self.fn(*args)

def plain(x):
    return x + 1

@Task
def decorated(x):
    return x + 2

def wrap(f):
    @functools.wraps(f)
    def wrapper(x):
        return f(x) * 10
    return wrapper

@Task
@wrap
def twice(x):
    return x + 3

@functools.cache
def cached(x):
    return x + 4

class Model:
    def fit(self, x):
        return x + 5
    @classmethod
    def make(cls, x):
        return x + 6
    @staticmethod
    def check(x):
        return x + 7

class Adder:
    def __call__(self, x):
        return x + 8

adder = Adder()
nameless = lambda x: x + 9
job = functools.partial(plain, 1)
value = 5

def rebound(x):
    return x
old = rebound
def rebound(x):
    return -x
"""


@contextlib.contextmanager
def module_on_disk(folder: Path, name: str, source: str) -> Iterator[types.ModuleType]:
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(name, None)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Any]:
    with module_on_disk(tmp_path, "shop_for_tests", SHOP) as module:
        yield module


def travelled(func: Callable[..., Any], **options: Any) -> SimpleNamespace:
    """What another process has in hand: nothing live, and a pickle where the function travels by value."""
    described = describe(func, **options)
    blob = None if described["module"] else pickled(func, **options)
    return SimpleNamespace(**{**described, "live": None, "blob": blob})


def named(module: str, qualname: str, code: str = "") -> SimpleNamespace:
    return SimpleNamespace(module=module, qualname=qualname, hash=code, blob=None, python="", live=None)


# -- by name ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("plain", 2),
        ("decorated.fn", 3),
        ("decorated", 3),
        ("twice.fn", 40),
        ("twice.fn.__wrapped__", 4),
        ("cached", 5),
        ("cached.__wrapped__", 5),
        ("Model.make", 7),
        ("Model.check", 8),
    ],
)
def test_a_function_that_its_name_leads_to_travels_by_name(shop: Any, path: str, result: int) -> None:
    func = operator.attrgetter(path)(shop)
    spec = travelled(func)
    assert spec.module == "shop_for_tests"
    assert load(spec, imports=("shop_for_tests",), keyring=keyless)(1) == result


@pytest.mark.parametrize("func", [math.sqrt, operator.add, len, json.dumps])
def test_library_functions_travel_by_name(func: Callable[..., Any]) -> None:
    spec = travelled(func)
    assert spec.module
    assert load(spec, imports=None, keyring=keyless) is func


def test_a_function_whose_code_has_changed_is_still_loaded(shop: Any) -> None:
    spec = named("shop_for_tests", "twice", "311-0000")
    assert load(spec, imports=None, keyring=keyed) is shop.twice.fn


def test_a_celery_task_is_found_below_its_proxy(tmp_path: Path) -> None:
    source = (
        "from celery import Celery\napp = Celery(set_as_current=False)\n"
        "@app.task\ndef free(x): return x + 1\n"
        "@app.task(bind=True)\ndef bound(self, x): return self.name, x\n"
    )
    with module_on_disk(tmp_path, "celery_for_tests", source) as module:
        free = travelled(module.free.run)
        bound = travelled(module.bound.run)
        assert free.module == bound.module == "celery_for_tests"
        assert load(free, imports=None, keyring=keyed)(1) == 2
        assert load(bound, imports=None, keyring=keyed)(1) == ("celery_for_tests.bound", 1)


# -- by value ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("path", "result"), [("nameless", 10), ("adder", 9), ("job", 2), ("old", 1)])
def test_what_no_name_leads_to_travels_by_value(shop: Any, path: str, result: int) -> None:
    func = getattr(shop, path)
    spec = travelled(func)
    assert spec.module == ""
    loaded = load(spec, imports=(), keyring=keyed)
    assert (loaded() if path == "job" else loaded(1)) == result


def test_a_method_bound_to_an_object_travels_by_value(shop: Any) -> None:
    spec = travelled(shop.Model().fit)
    assert spec.module == ""
    assert load(spec, imports=(), keyring=keyed)(1) == 6


@pytest.mark.parametrize("module", [None, "__console__", "no_such_module", "__mp_main__"])
def test_functions_of_shells_travel_by_value(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = types.ModuleType(str(module))
    shell.__dict__["__name__"] = module
    exec("def f(x):\n    return x + 1", shell.__dict__)
    if module == "__mp_main__":
        monkeypatch.setitem(sys.modules, "__mp_main__", shell)
    spec = travelled(shell.f)
    assert spec.module == ""
    monkeypatch.delitem(sys.modules, "__mp_main__", raising=False)
    assert load(spec, imports=(), keyring=keyed)(1) == 2


def test_modules_named_by_value_travel_with_what_they_use_of_each_other(tmp_path: Path) -> None:
    with (
        module_on_disk(tmp_path, "helpers_a", "def double(x): return 2 * x"),
        module_on_disk(tmp_path, "helpers_b", "import helpers_a\ndef f(x): return helpers_a.double(x)") as b,
    ):
        spec = travelled(b.f, by_value=("helpers_a", "helpers_b"))
    assert spec.module == ""
    assert "helpers_a" not in sys.modules
    assert load(spec, imports=(), keyring=keyed)(2) == 4


def test_naming_modules_by_value_leaves_no_trace(shop: Any) -> None:
    before = cloudpickle.list_registry_pickle_by_value()
    pickled(shop.plain, by_value=("shop_for_tests",))
    assert cloudpickle.list_registry_pickle_by_value() == before


def test_large_captures_are_warned_about_by_name() -> None:
    weights = b"x" * 2_000_000
    small = 1

    def predict() -> int:
        return len(weights) + small

    with pytest.warns(LargeCaptureWarning, match="weights") as seen:
        pickled(predict)
    assert "small" not in str(seen[0].message)


# -- what may be loaded -----------------------------------------------------------------------------------
def test_in_the_process_that_planned_nothing_is_looked_up() -> None:
    func = functools.partial(int, "5")
    assert load(SimpleNamespace(**describe(func), blob=None), imports=(), keyring=keyless) is func


def test_an_unsigned_plan_may_not_name_what_is_not_listed(shop: Any) -> None:
    spec = travelled(shop.plain)
    for imports in ((), ("shop",), ("shop_for_tests.sub",)):
        with pytest.raises(FunctionNotAllowed, match="DAGCELERY_IMPORTS"):
            load(spec, imports=imports, keyring=keyless)


@pytest.mark.parametrize(
    "qualname",
    ["system", "os.system", "subprocess.run", "subprocess.Popen", "functools.partial", "Task.fn.system"],
)
def test_a_listed_module_gives_no_access_to_what_it_imported(shop: Any, qualname: str) -> None:
    with pytest.raises((FunctionNotAllowed, FunctionNotFound)):
        load(named("shop_for_tests", qualname), imports=("shop_for_tests",), keyring=keyless)


def test_a_listed_package_lists_its_modules(tmp_path: Path) -> None:
    with module_on_disk(tmp_path, "package_for_tests.inner", "def f(): return 1") as module:
        assert load(travelled(module.f), imports=("package_for_tests",), keyring=keyless)() == 1
    sys.modules.pop("package_for_tests", None)


class Moved:
    """As a task that moved says what it was called."""

    __aliases__ = ("old_shop:f",)

    def __init__(self, fn: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fn)

    def __call__(self, x: int) -> int: ...


def test_a_function_that_moved_is_found_by_its_former_name(shop: Any) -> None:
    shop.moved = Moved(shop.plain)
    assert load(named("old_shop", "f"), imports=None, keyring=keyed) is shop.plain
    assert load(named("old_shop", "f"), imports=("old_shop", shop.__name__), keyring=keyless) is shop.plain
    with pytest.raises(FunctionNotFound):
        load(named("old_shop", "g"), imports=None, keyring=keyed)


@pytest.mark.parametrize("keyring", [keyed, keyless])
def test_a_function_that_moved_is_found_in_a_listed_module_that_nothing_has_imported_yet(
    tmp_path: Path, keyring: Keyring
) -> None:
    source = "from dagcelery import task\n@task(aliases='old_shop:f')\ndef g(): return 1"
    with module_on_disk(tmp_path, "new_shop_for_tests", source):
        del sys.modules["new_shop_for_tests"]
        found = load(named("old_shop", "f"), imports=("broken_for_tests", "new_shop_for_tests"), keyring=keyring)
        assert found() == 1


def test_a_function_is_not_moved_into_a_module_that_is_not_allowed(shop: Any) -> None:
    shop.moved = Moved(shop.plain)
    with pytest.raises(FunctionNotFound):
        load(named("old_shop", "f"), imports=("old_shop",), keyring=keyless)


# -- scripts and modules that run -------------------------------------------------------------------------
PROGRAM = """
import json
from dagcelery.payload.functions import describe
def f(x):
    return x + 1
if __name__ == "__main__":
    print(json.dumps(describe(f)["module"]))
"""


def outcome_of(*arguments: str, folder: Path) -> object:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, check=True, text=True, timeout=30
    )
    return json.loads(done.stdout)


def test_functions_of_a_module_that_runs_travel_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "program.py").write_text(PROGRAM)
    (tmp_path / "inner" / "__main__.py").write_text(PROGRAM)
    assert outcome_of("-m", "inner.program", folder=tmp_path) == "inner.program"
    assert outcome_of("-m", "inner", folder=tmp_path) == "inner.__main__"


def test_functions_of_scripts_and_of_the_command_line_travel_by_value(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(PROGRAM)
    assert outcome_of("script.py", folder=tmp_path) == outcome_of("-c", PROGRAM, folder=tmp_path) == ""
