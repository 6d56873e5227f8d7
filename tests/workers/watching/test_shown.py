"""``print(run.status())`` is for people, and its repr is short."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from dagcelery import NodeStatus, RunState, RunStatus

SQUARE = NodeStatus("square", "celery", True, 10, 3, 1, 0, 1.0, None)
TOTAL = NodeStatus("total", "gpu", False, 1, 0, 0, 0, None, None, why="needs square")
STUCK = NodeStatus("<fit>", "gpu", True, None, 0, 0, 0, None, None, why="no worker listens to queue gpu", is_stuck=True)
LOAD = NodeStatus("load", "celery", False, 1, 1, 0, 0, 1.0, 3.5)


def shown(*nodes: NodeStatus, **told: str) -> RunStatus:
    fields = {"failed": "", "reason": ""} | told
    state = RunState.FAILED if fields["failed"] else RunState.RUNNING
    return RunStatus("r1", "shop:order", state, 1.0, 1.0, None, nodes=nodes, **fields)


def test_a_status_is_printed_as_lines() -> None:
    assert str(shown(LOAD, SQUARE, TOTAL)).splitlines() == [
        "shop:order r1 running",
        "  load                    done     2.50 s",
        "  square  3/10 1 running  running",
        "  total                   waiting  needs square",
    ]
    assert str(shown(failed="square[3]", error="OSError: x")) == "shop:order r1 failed: square[3]: OSError: x"
    assert str(shown()) == "shop:order r1 running"


def test_what_is_bad_is_printed_first() -> None:
    broken = replace(LOAD, name="read", done=0, failed=1)
    assert str(shown(LOAD, STUCK, broken)).splitlines() == [
        "shop:order r1 running: <fit>: no worker listens to queue gpu",
        "  read        failed   2.50 s",
        "  <fit>  0/?  waiting  no worker listens to queue gpu",
        "  load        done     2.50 s",
    ]


def test_a_notebook_shows_a_table_in_which_all_text_is_escaped() -> None:
    html = shown(LOAD, STUCK, failed="<fit>[3]", error="OSError: <script>")._repr_html_()
    assert html.index("&lt;fit&gt;") < html.index("load")
    assert "OSError: &lt;script&gt;" in html
    assert not re.search(r"<script|<fit|src=|href=|url\(", html)


@pytest.mark.parametrize(
    ("node", "text", "short"),
    [
        (LOAD, "load  done  2.50 s", "<NodeStatus load done>"),
        (SQUARE, "square  3/10 1 running  running", "<NodeStatus square 3/10 1 running running>"),
        (TOTAL, "total  waiting  needs square", "<NodeStatus total waiting>"),
    ],
)
def test_a_node_is_a_line_and_less_in_a_debugger(node: NodeStatus, text: str, short: str) -> None:
    assert (str(node), repr(node)) == (text, short)


def test_the_repr_of_a_status_says_what_it_is_however_many_nodes_it_has() -> None:
    many = shown(*[SQUARE] * 500, LOAD)
    assert repr(many) == "<RunStatus shop:order r1 running, 1 of 501 nodes done>"
    assert str(many).count("\n") == 501
