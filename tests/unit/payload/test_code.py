"""The hash of a function changes with what it does, and with nothing else."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from dagcelery.payload.fingerprints import code_hash, same_code


def made(source: str, filename: str = "a.py", name: str = "f") -> Callable[..., Any]:
    module = types.ModuleType("made")
    exec(compile(source, filename, "exec"), module.__dict__)
    function: Callable[..., Any] = module.__dict__[name]
    return function


BASE = "def f(x, n=3):\n    return [x + i for i in range(n)]\n"


@pytest.mark.parametrize(
    "source",
    [
        "\n\n" + BASE,
        "def f(x, n=3):\n    # a comment\n\n    return [x + i for i in range(n)]\n",
        "def f(x, n=3):\n    'A docstring.'\n    return [x + i for i in range(n)]\n",
        "def f(x: int, n: int = 3) -> list[int]:\n    return [x + i for i in range(n)]\n",
    ],
    ids=["moved", "commented", "documented", "annotated"],
)
def test_what_does_the_same_has_the_same_hash(source: str) -> None:
    assert code_hash(made(source, "elsewhere/b.py")) == code_hash(made(BASE))


@pytest.mark.parametrize(
    "body",
    [
        "    x(500); x('s')\n",
        "    return None\n",
        "    return lambda: ('s', 500)\n",
        "    return 'A docstring.'\n",
        "    async def g():\n        'Mine.'\n    return g\n",
        "".join(f"    x({number})\n" for number in range(1000, 1300)),
    ],
    ids=["constants", "none", "nested", "the same text", "documented within", "more constants than a byte counts"],
)
def test_a_docstring_changes_no_hash_whatever_is_beside_it(body: str) -> None:
    assert code_hash(made(f"def f(x):\n    'A docstring.'\n{body}")) == code_hash(made(f"def f(x):\n{body}"))
    assert code_hash(made(f"def f(x):\n    x('A docstring.')\n{body}")) != code_hash(made(f"def f(x):\n{body}"))


@pytest.mark.parametrize(
    "source",
    [
        BASE.replace("x + i", "x - i"),
        BASE.replace("n=3", "n=4"),
        BASE.replace("n=3", "n=3.0"),
        BASE.replace("range", "list"),
        BASE.replace("n=3", "*, n=3"),
        "def f(x, n=3):\n    return [x + 1 + i for i in range(n)]\n",
        "async " + BASE,
    ],
)
def test_what_does_something_else_has_another_hash(source: str) -> None:
    assert code_hash(made(source)) != code_hash(made(BASE))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("return 1", "return 2"),
        ("return 1", "return True"),
        ("return 'a'", "return 'b'"),
        ("return -0.0", "return 0.0"),
    ],
)
def test_constants_count(left: str, right: str) -> None:
    assert code_hash(made(f"def f():\n    {left}")) != code_hash(made(f"def f():\n    {right}"))


def test_inner_functions_count() -> None:
    outer = "def f():\n    def g():\n        {}\n    return g()\n"
    assert code_hash(made(outer.format("return 1"))) != code_hash(made(outer.format("return 2")))
    assert code_hash(made(outer.format("'Doc.'\n        return 1"))) == code_hash(
        made(outer.format("'Other.'\n        return 1"))
    )


def test_the_first_text_of_a_comprehension_is_no_docstring() -> None:
    assert code_hash(made("f = lambda: {'a' for _ in x}")) != code_hash(made("f = lambda: {'b' for _ in x}"))


def test_wrapped_functions_count() -> None:
    def wrap(func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def wrapper(*args: Any) -> Any:
            return func(*args)

        return wrapper

    assert code_hash(wrap(made("def f(): return 1"))) != code_hash(wrap(made("def f(): return 2")))


def test_methods_of_classes_count() -> None:
    source = "class C:\n    @staticmethod\n    def m(): return {}\n    @property\n    def p(self): return 5\n"
    one, two = (made(source.format(number), name="C") for number in (1, 2))
    assert code_hash(one) != code_hash(two)
    assert code_hash(one) == code_hash(made(source.format(1), "b.py", "C"))


def test_callable_objects_have_the_hash_of_their_class() -> None:
    source = "class C:\n    def __call__(self): return {}\n"
    one, two = (made(source.format(number), name="C")() for number in (1, 2))
    assert code_hash(one) != code_hash(two)


def test_partial_arguments_count() -> None:
    assert code_hash(functools.partial(math.pow, 2)) != code_hash(functools.partial(math.pow, 3))


def test_builtins_have_a_hash_of_their_name() -> None:
    assert code_hash(math.sqrt) == code_hash(math.sqrt) != code_hash(math.cos)


def test_a_bound_method_has_the_hash_of_its_function() -> None:
    class C:
        def m(self) -> int:
            return 1

    assert code_hash(C().m) == code_hash(C.m)


def test_the_hash_is_the_same_in_every_process() -> None:
    source = (
        "def f(x, y=frozenset(('a', 'b', 'c')), z=object()):\n    return x in {'d', 'e', 'f', 'g'}\n"
        "from dagcelery.payload.fingerprints import code_hash\nprint(code_hash(f))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", source],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_hashes_of_different_python_versions_are_not_compared() -> None:
    assert same_code("311-aa", "312-bb")
    assert not same_code("311-aa", "311-bb")
    assert same_code("311-aa", "311-aa")
    assert same_code("", "311-bb")
