"""What a body or a task reads may change between two runs; plain Python, `invoke` and `submit` still agree."""

from __future__ import annotations

import gc
import importlib
import sys
import weakref
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from dagcelery import build, dag, task
from dagcelery.client import lifecycle, plan_of
from dagcelery.frontends.functional import source_code
from dagcelery.planner.encoding import encode_plan

from . import settings_of_a_shop as shop
from .notebook import Notebook, sent
from .vocabulary import echo

TELL = """
@task
def tell(x): return x

@task
def t(x): return ("t", x)
"""

# What is there first, what changes, and whether the body is still the very DAG that it was while nothing does.
CHANGES = {
    "a global of a task": ("K = 1\n@task\ndef u(x): return x * K\n@dag\ndef d(x): return u(x)", "K = 2"),
    "a global of the body": ("K = 1\n@dag\ndef d(x): return tell([x, K])", "K = 2"),
    "to what is equal, but another": ("K = 1\n@dag\ndef d(x): return tell([x, repr(K)])", "K = True"),
    "to the other zero": ("K = 0.0\n@dag\ndef d(x): return tell([x, repr(K)])", "K = -0.0"),
    "a function that the body calls": (
        "def helper(): return 1\n@dag\ndef d(x): return tell([x, helper()])",
        "def helper(): return 2",
    ),
    "the code of a function": (
        "def helper(): return 1\n@dag\ndef d(x): return tell([x, helper()])",
        "def other(): return 2\nhelper.__code__ = other.__code__",
    ),
    "the code of a task": (
        "@task\ndef u(x): return 1\n@dag\ndef d(x): return u(x)",
        "def other(x): return 2\nu.fn.__code__ = other.__code__",
    ),
    "a task": ("@dag\ndef d(x): return t(x)", "@task\ndef t(x): return -1"),
    "a task that a list holds": ("STEPS = [t]\n@dag\ndef d(x): return [f(x) for f in STEPS]", "STEPS.append(tell)"),
    "a nested DAG": (
        "@dag\ndef inner(x): return t(x)\n@dag\ndef d(x): return inner(x)",
        "@dag\ndef inner(x): return tell(x)",
    ),
    "a global of a nested DAG of a nested DAG": (
        "K = 1\n@dag\ndef a(x): return tell([x, K])\n@dag\ndef b(x): return a(x)\n@dag\ndef d(x): return [b(x)]",
        "K = 2",
    ),
    "a list": ("K = [1]\n@dag\ndef d(x): return tell([x, len(K)])", "K.append(2)"),
    "a list in a dict in a tuple": (
        "K = ({'a': [1]},)\n@dag\ndef d(x): return tell([x, K[0]['a']])",
        "K[0]['a'][0] = 2",
    ),
    "the order of a dict": (
        "K = {'a': 1, 'b': 2}\n@dag\ndef d(x): return tell([x, *K])",
        "K['a'] = K.pop('a')",
    ),
    "a list that a task holds": ("K = [1]\n@task\ndef u(x): return [x, *K]\n@dag\ndef d(x): return u(x)", "K[0] = 2"),
    "an attribute of an object": (
        "class C: pass\nc = C()\nc.k = 1\n@dag\ndef d(x): return tell([x, c.k])",
        "c.k = 2",
    ),
    "an attribute of an object of a list": (
        "class C: pass\nc = [C()]\nc[0].k = 1\n@dag\ndef d(x): return tell([x, c[0].k])",
        "c[0].k = 2",
    ),
    "a property": (
        "class C:\n    k = property(lambda self: K)\nK, c = 1, C()\n@dag\ndef d(x): return tell([x, c.k])",
        "K = 2",
    ),
    "an attribute of a class": ("class C: k = 1\n@dag\ndef d(x): return tell([x, C.k])", "C.k = 2"),
    "an attribute of a function": (
        "def helper(): pass\nhelper.k = 1\n@dag\ndef d(x): return tell([x, helper.k])",
        "helper.k = 2",
    ),
    "an attribute of a task": ("t.k = 1\n@dag\ndef d(x): return tell([x, t.k])", "t.k = 2"),
    "a name that was not there": (
        "@dag\ndef d(x):\n    try: found = [K]\n    except NameError: found = []\n    return tell([x, found])",
        "K = 2",
    ),
    "a name of Python's own": ("@dag\ndef d(x): return tell([x, len('abc')])", "def len(_): return -1"),
    "a name that is asked for by name": ("K = 1\n@dag\ndef d(x): return tell([x, globals()['K']])", "K = 2"),
    "a variable around the body": (
        "def make():\n    k = 1\n    def set_k(v):\n        nonlocal k\n        k = v\n    @dag\n"
        "    def d(x): return tell([x, k])\n    return d, set_k\nd, set_k = make()",
        "set_k(2)",
    ),
    "a default of the body": (
        "@dag\ndef d(x, y=1): return tell([x, y])",
        "d.fn.__defaults__ = (2,)",
    ),
    "what a default holds": ("@dag\ndef d(x, y=[1]): return tell([x, y])", "d.fn.__defaults__[0].append(2)"),
    "a default that only a name gives": (
        "@dag\ndef d(x, *, y=1): return tell([x, y])",
        "d.fn.__kwdefaults__['y'] = 2",
    ),
    "the default of a task": ("@task\ndef d(x, y=1): return [x, y]", "d.fn.__defaults__ = (2,)"),
    "the default of a function that is called": (
        "def helper(k=1): return k\n@dag\ndef d(x): return tell([x, helper()])",
        "helper.__defaults__ = (2,)",
    ),
    "what a decorator around the body reads": (
        "import functools\nK = 1\ndef wrapped(f):\n    @functools.wraps(f)\n    def g(x): return tell([K, f(x)])\n"
        "    return g\n@dag\n@wrapped\ndef d(x): return t(x)",
        "K = 2",
    ),
    "what a branch reads": (
        "K = 1\n@dag\ndef d(x): return when(x, lambda: tell([x, K]), lambda: t(x))",
        "K = 2",
    ),
    "what a comprehension over a list reads": (
        "K = 1\n@dag\ndef d(x): return [tell([y, K]) for y in tell([x])]",
        "K = 2",
    ),
    "what a partial function holds": (
        "import functools\nkept = {'k': 1}\np = functools.partial(sorted, [2, 1])\n"
        "@dag\ndef d(x): return tell([x, p()])",
        "p = functools.partial(sorted, [4, 3])",
    ),
    "an object that travels": (
        "class C: pass\nc = C()\nc.k = 1\n@task\ndef u(x, c): return [x, c.k]\n@dag\ndef d(x): return u(x, c)",
        "c.k = 2",
    ),
    "a static value": (
        "@dag(static=('k',))\ndef e(x, k): return tell([x, repr(k)])\nK = (1, 0.0)\n@dag\ndef d(x): return e(x, K)",
        "K = (True, -0.0)",
    ),
    "an environment variable": (
        "import os\nos.environ['SHOP'] = '1'\n@dag\ndef d(x): return tell([x, os.environ['SHOP']])",
        "os.environ['SHOP'] = '2'",
    ),
    "a module's name": (
        "import math\n@dag\ndef d(x): return tell([x, math.floor(math.tau)])",
        "import types\nmath = types.SimpleNamespace(tau=1, floor=abs)",
    ),
    "an import within": (
        "import sys, types\nm = types.ModuleType('a_shop')\nm.k = 1\nsys.modules['a_shop'] = m\n"
        "@dag\ndef d(x):\n    from a_shop import k\n    return tell([x, k])",
        "m.k = 2",
    ),
    "a method of a class that a function makes an object of": (
        "class C:\n    def k(self): return 1\n@dag\ndef d(x): return tell([x, C().k()])",
        "C.k = lambda self: 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_all_ways_to_run_a_dag_agree_after_a_change(what: str) -> None:
    first, change = CHANGES[what]
    notebook = Notebook(TELL, first)
    before = notebook.answers(x=1)
    notebook.run(change)
    after = notebook.answers(x=1)
    again = notebook.answers(x=1)

    assert before == before[:1] * 3
    assert after == after[:1] * 3 == again
    assert before != after


@pytest.mark.parametrize("body", ["shop.RATE", "shop.rated()", "list(map(str, shop.EACH))", "[shop.EACH[0]]"])
def test_a_patch_counts_while_it_is_there(body: str) -> None:
    notebook = Notebook(TELL)
    notebook.names["shop"] = shop
    notebook.run(f"@dag\ndef d(x): return tell([x, {body}])")
    before = notebook.answers(x=1)
    with mock.patch.multiple(shop, RATE=4, EACH=[5]):
        patched = notebook.answers(x=1)

    assert before == before[:1] * 3 == notebook.answers(x=1)
    assert patched == patched[:1] * 3 != before


def test_a_module_that_is_loaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a_shop_to_reload.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file.write_text("from dagcelery import task\n@task\ndef rate(x):\n    return [x, 1]\n")
    notebook = Notebook("import a_shop_to_reload as shop\n@dag\ndef d(x): return shop.rate(x)")
    before = notebook.answers(x=1)
    file.write_text("from dagcelery import task\n@task\ndef rate(x):\n    return [x, 2, 2]\n")
    importlib.reload(sys.modules["a_shop_to_reload"])
    after = notebook.answers(x=1)

    assert before == ["[1, 1]"] * 3
    assert after == ["[1, 2, 2]"] * 3


@pytest.mark.parametrize(
    "asked",
    [
        "uuid.uuid4().hex",
        "time.perf_counter_ns()",
        "next(COUNT)",
        "random.random()",
        "read()",
        "datetime.datetime.now().isoformat()",
        "secrets.token_hex()",
        "Path(FILE).read_text()",
        "hidden()",
    ],
)
def test_what_is_another_each_time_is_asked_each_time(asked: str, tmp_path: Path) -> None:
    file = tmp_path / "text"
    notebook = Notebook(TELL, "import uuid, time, random, datetime, secrets, itertools\nfrom pathlib import Path")
    notebook.run(f"FILE, COUNT = {str(file)!r}, itertools.count()\ndef hidden(f=time.perf_counter_ns): return f()")
    notebook.run("def read():\n    with open(FILE) as file: return file.read()")
    notebook.run(f"@dag\ndef inner(x): return tell([x, {asked}])\n@dag\ndef d(x): return inner(x)")
    found = []
    for text in "abc":
        file.write_text(text)
        found.append(notebook.names["d"].invoke(x=1)[1])

    assert len(set(found)) == 3


def test_two_uses_of_a_nested_dag_ask_twice() -> None:
    notebook = Notebook(TELL, "import uuid\n@dag\ndef inner(x): return tell(uuid.uuid4().hex)")
    notebook.run("@dag\ndef d(x): return [inner(x), inner(x)]")

    assert len(set(notebook.names["d"].invoke(x=1))) == 2


def test_what_reads_nothing_that_changes_is_read_once() -> None:
    notebook = Notebook(
        TELL, "import math, enum\nfrom functools import partial\nclass E(enum.Enum): a = 1\nK = {'a': [1]}"
    )
    notebook.run("class C: k = 1\nc = C()\nc.k = 2\ndef helper(*a): return sorted(map(str, a))")
    notebook.run("@dag\ndef inner(x, y=(1, 2)): return [tell(each) for each in x]")
    notebook.run(
        "@dag(static=('n',))\ndef d(x, n=(1,)):\n"
        "    found = [t.options(name=f'n{i}')(math.floor(K['a'][0])) for i in range(len(n))]\n"
        "    return [inner(x), when(x, lambda: tell(c.k)), helper(C.k, E.a.value), E.a, found]"
    )
    d = notebook.names["d"]

    assert build(d) is build(d) is build(d, n=(1,))
    assert plan_of(d) is plan_of(d)
    assert build(d, n=(True,)) is not build(d)


@pytest.mark.parametrize(
    ("returned", "times"), [("tell(x)", 1), ("[tell(x), tell(1)]", 1), ("[tell(y) for y in x]", 5)]
)
def test_a_body_that_goes_through_no_list_is_run_once(returned: str, times: int) -> None:
    notebook = Notebook(TELL, "read = []", f"@dag\ndef d(x):\n    read.append(1)\n    return {returned}")
    build(notebook.names["d"])
    assert len(notebook.names["read"]) == times


def test_an_inner_body_that_cannot_be_told_is_read_only_twice_for_all_runs_of_outer_ones() -> None:
    notebook = Notebook(TELL, "read = []\nimport logging\nlog = logging.getLogger('a')")
    notebook.run("@dag\ndef a(x):\n    log.debug(read.append(1))\n    return [tell(y) for y in x]")
    notebook.run("@dag\ndef b(x): return [a(y) for y in x]\n@dag\ndef d(x): return [b(y) for y in x]")
    alone = len(notebook.names["read"])
    build(notebook.names["a"])
    alone = len(notebook.names["read"])
    build(notebook.names["d"])

    assert len(notebook.names["read"]) == 3 * alone
    assert notebook.answers(x=[[[1]]]) == ["[[[1]]]"] * 3


# --- what is kept ---


def made(number: int) -> Any:
    @dag
    def body(x: int) -> Any:
        return echo([x, number])

    return body


def test_definitions_that_nobody_has_any_more_are_gone() -> None:
    gone = []
    for number in range(lifecycle._KEPT_PLANS + 30):
        body = made(number)
        assert sent(body, x=1) == [1, number]
        gone.append(weakref.ref(body))
    del body
    gc.collect()

    assert sum(each() is not None for each in gone) <= lifecycle._KEPT_PLANS


def test_values_of_static_parameters_are_not_kept_for_ever() -> None:
    @dag(static=("n",))
    def body(n: int) -> Any:
        return echo(n)

    @task
    def rest(**given: int) -> int:
        return len(given)

    assert [body.invoke(n=n) for n in range(150)] == list(range(150))
    assert [rest.invoke(**{f"k{n}": n}) for n in range(150)] == [1] * 150
    assert max(len(body._dags), len(rest._dags)) <= 64
    assert len(lifecycle._plans) <= lifecycle._KEPT_PLANS


def test_memory_stays_where_it_is_after_many_bodies() -> None:
    def run(count: int) -> None:
        for number in range(count):
            names: dict[str, Any] = {"dag": dag, "echo": echo, "__name__": "a_cell"}
            exec(f"@dag\ndef d(x): return echo([x, {number}, 'text {number}'])", names)
            encode_plan(plan_of(names["d"]))

    run(600)  # caches are full
    gc.collect()
    before = sys.getallocatedblocks()
    run(200)
    gc.collect()

    assert sys.getallocatedblocks() - before < 2_000  # of what each body leaves, ten objects are none
    assert source_code.reads.cache_info().currsize <= 512
