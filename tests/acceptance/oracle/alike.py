"""One DAG or task that is given, one after the other, values that are equal for Python and are not the same."""

from __future__ import annotations

from hypothesis import strategies as st

from .programs import Draw
from .sessions import Session

GROUPS = (
    ("1", "True", "1.0", "Whole(1)", "Level.LOW", "1 + 0j"),
    ("0.0", "-0.0", "0", "False", "-0.0j", "0j"),
    ("(1,)", "(True,)", "(1.0,)"),
    ("(0.0,)", "(-0.0,)", "(0,)", "(False,)"),
    ("((0.0, 'a'),)", "((-0.0, 'a'),)", "((0, Text('a')),)"),
    ("'a'", "Text('a')"),
    ("Box(1)", "Box(2)", "Box([1])", "BOX"),
    ("Mark(v=1)", "Mark(v=2)", "Mark(v=True)"),
    ("Point(1, 0.0)", "Point(True, -0.0)", "(1, 0.0)"),
    ("frozenset({1})", "frozenset({True})", "frozenset({1.0})"),
    ("frozenset({0.0})", "frozenset({-0.0})"),
    ("[1]", "[True]", "[1.0]", "ROWS"),
    ("{1: 0.0}", "{True: -0.0}", "OrderedDict({1: 0.0})"),
    ("{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}"),
    ("{0.0}", "{-0.0}", "{0}"),
    ("deque([1], 3)", "deque([1], 4)", "deque([True])"),
    ("defaultdict(list, a=1)", "{'a': 1}", "defaultdict(int, a=True)"),
    ("partial(pair, 1)", "partial(pair, True)", "partial(pair, y=1.0)"),
    ("lambda x: [x, 1]", "lambda x: [x, True]", "lambda x: [x, ROWS]"),
    ("float('nan')", "float('nan') * -1", "None"),
)
"""`BOX` and `ROWS` are changed between calls."""

HEAD = """\
BOX = Box(0)
ROWS = [1]
CALLED = (lambda x: x).__class__, partial

def shown(x):
    return apply(x, 0) if isinstance(x, CALLED) else seen(x)

@dag
def inner(a, b=1):
    return [seen(a, b), b]

@dag(static=('s',))
def fixed(a, s=None):
    return {'said': shown(s), 's': [s, keep(a)], 'each': [keep(k) for k in (1, s)], 'type': type(s).__name__}

"""
GROWING = "@dag\ndef main(k):\n    return grow(k)\n@task(dynamic=True)\ndef grow(k):\n"
FIXED = (
    "@dag(static=('k',))\ndef main(k):\n    return [shown(k), k, {'when': when(k, lambda: keep(k), lambda: k)}]",
    "@dag(static=('k',))\ndef main(k):\n    return [keep(0), inner(0, k), fixed(1, k)]",
    "@dag(static=('k', 'm'))\ndef main(k, m=0):\n    return fixed(m, k), keep([k, m]), fixed(k, k)",
    "@dag(static=('k',))\ndef main(k):\n    return [[seen(j, k) for j in listed(0)], keep({'k': k})]",
    "@dag\ndef main(k):\n    return [keep(k), inner(k), [seen(k)]]",
    f"{GROWING}    return {{'said': shown(k), 'k': k}}",
    f"{GROWING}    return fixed(1, k), keep([k, seen(0)])",
)
MANY = (
    "{'said': shown(x), 'x': x}",
    "[keep(0), x]",
    "keep({'k': seen(0), 'x': x})",
    "[fixed(0, x), fixed(x, 0)]",
    "inner(0, x)",
    "inner(x)",
    "apply(lambda y: [x, y], 0)",
    "apply(partial(pair, x), 0)",
    "{x: seen(0)} if isinstance(x, (int, float, tuple, frozenset, str)) else x",
    "keep({(x, 1): seen(0)}) if isinstance(x, (int, float, tuple, frozenset, str)) else keep(x)",
)


@st.composite
def fixed(draw: Draw) -> Session:
    """A DAG that is run with values of one group in turn, while those that can be changed are changed."""
    group = draw(st.sampled_from(GROUPS))
    calls = tuple(draw(st.lists(st.sampled_from(group), min_size=2, max_size=6)))
    changes = tuple(draw(st.sampled_from(("BOX.v += 1", "ROWS.append(1)", "ROWS[0] = 1.0"))) for _ in calls[1:])
    return Session("AsPickle()", HEAD + draw(st.sampled_from(FIXED)), changes, calls)


@st.composite
def grown(draw: Draw) -> Session:
    """A dynamic task that makes a graph for each of the values of a group."""
    group = draw(st.sampled_from(GROUPS))
    items = ", ".join(draw(st.lists(st.sampled_from(group), max_size=6)))
    made = draw(st.sampled_from(MANY))
    main = draw(
        st.sampled_from(
            (
                "@dag\ndef main(items):\n    return [grow(x) for x in items]\n"
                "@task(dynamic=True)\ndef grow(x):\n    return {}",
                "@task(dynamic=True)\ndef main(items: Carried):\n    return [{} for x in items]",
            )
        )
    )
    return Session("AsPickle()", HEAD + main.replace("{}", made), (), (f"[{items}]",))
