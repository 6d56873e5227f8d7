"""What is pickled comes back as it was: large data, classes that travel by value, what a module that runs has."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import pickle
import runpy
import sys
import types
from pathlib import Path
from typing import Any

import numpy
import pytest

from dagcelery.payload import pickles

SOURCE = """
import enum

class Own:
    class Nested: pass

class Color(enum.Enum):
    RED = 1

class Missing:
    def __reduce__(self): return "MISSING"

MISSING = Missing()
def helper(): return Own
"""


@pytest.mark.parametrize(("protocol", "as_view"), [(0, False), (2, True), (5, False), (5, True)])
def test_large_data_is_read_like_small(protocol: int, as_view: bool) -> None:
    value: Any = {
        "a": numpy.arange(20_000),
        "b": b"x" * 200_000,
        "c": ["text"] * 3,
        "d": bytearray(100_000),
        "e": 10**30,
    }
    data = pickle.dumps(value, protocol)
    back = pickles.loads(memoryview(data) if as_view else data)
    assert (back["a"] == value["a"]).all()
    assert {**back, "a": 0} == {**value, "a": 0}


@pytest.mark.parametrize("size", [0, 100, 200_000])
def test_data_that_ends_early_is_an_error(size: int) -> None:
    data = pickle.dumps(b"x" * 300_000)
    with pytest.raises((EOFError, pickle.UnpicklingError)):
        pickles.loads(data[:size])


def test_a_class_that_comes_back_by_value_keeps_what_it_has_here() -> None:
    class Local:
        made = 0

    there = pickles.dumps([Local, Local()])
    Local.made = 7
    kind, one = pickles.loads(there)
    assert kind is Local
    assert isinstance(one, Local)
    assert Local.made == 7


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module as ``python -m shop_that_runs.program`` makes one: it is called __main__."""
    folder = tmp_path / "shop_that_runs"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "program.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    for name in ("shop_that_runs", "shop_that_runs.program"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = types.ModuleType("__main__")
    module.__spec__ = importlib.util.find_spec("shop_that_runs.program")
    exec(compile(SOURCE, str(folder / "program.py"), "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def test_what_stands_in_the_module_that_runs_is_named_as_others_import_it(running: types.ModuleType) -> None:
    values = [running.Own, running.Own.Nested, running.Color.RED, running.MISSING, running.helper, running]
    data = pickles.dumps([*values, running.Own(), {"deep": (running.Own.Nested(),)}])
    back = pickles.loads(data)
    assert all(one is other for one, other in zip(values, back, strict=False))
    assert type(back[-2]) is running.Own
    assert type(back[-1]["deep"][0]) is running.Own.Nested
    assert "shop_that_runs.program" not in sys.modules
    sys.modules["__main__"] = types.ModuleType("__main__")  # as on a worker
    there = pickles.loads(data)
    imported = sys.modules["shop_that_runs.program"]
    assert (there[0], there[2], there[3]) == (imported.Own, imported.Color.RED, imported.MISSING)
    assert there[-3] is imported


def test_what_a_worker_names_is_found_in_the_module_that_runs(
    running: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = types.ModuleType("__main__")
    with monkeypatch.context() as there:
        there.setitem(sys.modules, "__main__", worker)
        imported = importlib.import_module("shop_that_runs.program")
        data = pickles.dumps([imported.Own(), imported.Color.RED, imported.MISSING, imported.helper, imported])
    del sys.modules["shop_that_runs.program"]
    back = pickles.loads(data)
    assert type(back[0]) is running.Own
    assert back[1] is running.Color.RED
    assert back[2] is running.MISSING
    assert back[3:] == [running.helper, running]
    assert "shop_that_runs.program" not in sys.modules


def test_what_stands_there_may_be_sent_by_value(running: types.ModuleType) -> None:
    data = pickles.dumps(running.Own(), by_value=("shop_that_runs.program",))
    sys.modules["__main__"] = types.ModuleType("__main__")
    assert type(pickles.loads(data)).__name__ == "Own"
    assert "shop_that_runs.program" not in sys.modules


def test_a_module_that_is_run_beside_the_main_one_is_a_script(running: types.ModuleType) -> None:
    sys.modules["__main__"] = types.ModuleType("__main__")
    names = runpy.run_module("shop_that_runs.program", run_name="__main__")
    assert pickles.reference(names["Own"]) is None
    assert type(pickles.loads(pickles.dumps(names["Own"]()))) is names["Own"]


@pytest.mark.parametrize("name", [None, "__main__", "__mp_main__", "no_such_module"])
def test_a_script_a_shell_and_an_archive_have_no_name(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("__main__")
    if name is not None:
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    monkeypatch.setitem(sys.modules, "__main__", module)
    assert pickles.module_that_runs() is None
