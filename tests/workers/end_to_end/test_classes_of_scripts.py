"""What a program defines is the same on workers and back: its classes, enum members, functions and variables."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from dagcelery.client import set_default
from dagcelery.local import Cluster, cluster
from dagcelery.local.cluster import import_paths

from .site import bare_environment

SECONDS = 120.0

PROGRAM = """
    import dataclasses, enum, functools, sys, typing
    from typing import Annotated, Any
    from dagcelery import AsDill, AsPickle, dag, task

    LOADED = [module for module in sys.modules if module.startswith("shop")]

    class Color(enum.Enum):
        RED = 1
        BLUE = 2

    class Level(enum.IntFlag):
        LOW = 1
        HIGH = 2

    class Own:
        made = 0
        class Nested:
            pass
        def __init__(self, x): self.x = x
        def doubled(self): return Own(self.x * 2)

    @dataclasses.dataclass(frozen=True)
    class Row:
        own: Any

    class Pair(typing.NamedTuple):
        a: int
        b: object

    class Broken(ValueError):
        pass

    class Missing:
        def __reduce__(self): return "MISSING"

    MISSING = Missing()
    T = typing.TypeVar("T")
    UserId = typing.NewType("UserId", int)

    def helper(own): return own.doubled()

    KINDS = {{
        "own": lambda v: isinstance(v, Own) and v.x == 1,
        "nested": lambda v: isinstance(v, Own.Nested),
        "red": lambda v: v is Color.RED,
        "flags": lambda v: v == Level.LOW | Level.HIGH and type(v) is Level,
        "row": lambda v: v.own.x == 1 and isinstance(v, Row) and isinstance(v.own, Own),
        "pair": lambda v: isinstance(v, Pair) and v.b is Color.BLUE,
        "error": lambda v: isinstance(v, Broken) and v.args == ("no",),
        "class": lambda v: v is Own,
        "enum": lambda v: v is Color,
        "bound": lambda v: type(v().x) is int and isinstance(v(), Own),
        "deep": lambda v: isinstance(v["a"][0][0], Own.Nested),
    }}
    # named

    def values():
        made = {{
            "own": Own(1), "nested": Own.Nested(), "red": Color.RED, "flags": Level.LOW | Level.HIGH,
            "row": Row(Own(1)), "pair": Pair(1, Color.BLUE), "error": Broken("no"), "class": Own, "enum": Color,
            "bound": Own(1).doubled, "deep": {{"a": [(Own.Nested(),)]}},
        }}
        return {{**made, **named()}}

    def wrong(values):
        known = {{**KINDS, **NAMED}}
        return [name for name, value in values.items() if not known[name](value)]

    @task
    def look(found: Annotated[Any, {serializer}], kept: Annotated[Any, {serializer}]) -> list[str]:
        return wrong(found) + wrong(kept)

    @task(serializer={serializer})
    def give(found: Annotated[Any, {serializer}]) -> Any:
        return values()

    @task(serializer={serializer})
    def echo(found: Annotated[Any, {serializer}]) -> Any:
        return found

    @task
    def by_value(found: Annotated[Any, {serializer}]) -> list[str]:
        return (lambda given: wrong(given))(found)

    @dag(serializer={serializer})
    def literal(n: int):
        return look(values(), values())

    if __name__ == "__main__":
        before = vars(Own)["doubled"]
        Own.made = 7
        print("there", look.submit(values(), values()).result(timeout=60))
        print("literal", literal.submit(n=1).result(timeout=60))
        print("by value", by_value.submit(values()).result(timeout=60))
        print("made there", wrong(give.submit(values()).result(timeout=60)))
        print("and back", wrong(echo.submit(values()).result(timeout=60)))
        print("here", wrong(echo.invoke(values())), look.invoke(values(), values()))
        own = echo.submit(Own(1)).result(timeout=60)
        print("the class", vars(Own)["doubled"] is before, Own.made, own.doubled.__globals__ is globals())
        print("once", [module for module in sys.modules if module.startswith("shop")] == LOADED)
"""
NAMED = """
    NAMED = {
        "missing": lambda v: v is MISSING,
        "typevar": lambda v: v is T,
        "newtype": lambda v: v is UserId,
        "function": lambda v: v is helper,
        "partial": lambda v: v.func is helper,
        "task": lambda v: v is look,
    }

    def named():
        return {
            "missing": MISSING, "typevar": T, "newtype": UserId, "function": helper,
            "partial": functools.partial(helper), "task": look,
        }
"""
UNNAMED = """
    NAMED = {}

    def named():
        return {}
"""
RIGHT = """there []
literal []
by value []
made there []
and back []
here [] []
the class True 7 True
once True
"""


def program(*, serializer: str = "AsPickle()", by_name: bool = True) -> str:
    more = dedent(NAMED if by_name else UNNAMED)
    return dedent(PROGRAM).format(serializer=serializer).replace("# named", more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all programs are, each under a name of its own, since one worker imports them all."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def beside(folder: Path) -> Iterator[Cluster]:
    """A worker that finds the modules in the folder of the programs."""
    with cluster(workers=1, environment={"PYTHONPATH": os.pathsep.join((str(folder), *import_paths()))}) as made:
        set_default(None)
        yield made


def run(local: Cluster, folder: Path, *command: str) -> str:
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=bare_environment(local.environment),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return ran.stdout


@pytest.mark.parametrize(
    ("serializer", "file", "name"),
    [
        ("AsPickle()", "shop_pickled/program.py", "shop_pickled.program"),
        ("AsDill()", "shop_dilled/program.py", "shop_dilled.program"),
        ("AsPickle()", "shop_package/__main__.py", "shop_package"),
    ],
)
def test_a_module_or_a_package_that_is_run_keeps_its_classes_and_is_imported_once(
    serializer: str, file: str, name: str, beside: Cluster, folder: Path
) -> None:
    (folder / file).parent.mkdir()
    (folder / file).with_name("__init__.py").touch()
    (folder / file).write_text(program(serializer=serializer))
    assert run(beside, folder, "-m", name) == RIGHT


def test_a_script_keeps_its_classes_though_they_travel_by_value(beside: Cluster, folder: Path) -> None:
    (folder / "script.py").write_text(program(by_name=False))
    assert run(beside, folder, "script.py") == RIGHT


def test_a_zip_file_that_is_run_keeps_its_classes(beside: Cluster, folder: Path) -> None:
    with zipfile.ZipFile(folder / "program.pyz", "w") as file:
        file.writestr("__main__.py", program(by_name=False))
    assert run(beside, folder, "program.pyz") == RIGHT
