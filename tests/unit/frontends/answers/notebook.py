"""Cells of a notebook: code that no worker can import, and what became of it when it was submitted."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from dagcelery.client import plan_of
from dagcelery.client.local_runs import LocalRun
from dagcelery.planner.encoding import decode_plan, encode_plan
from dagcelery.settings import Settings


class Notebook:
    """Cells share their names; `answers` are those of plain Python, of `invoke`, and of what `submit` would send."""

    def __init__(self, *cells: str) -> None:
        self.names: dict[str, Any] = {"__name__": "a_notebook"}
        exec("from dagcelery import dag, task, when", self.names)
        for cell in cells:
            self.run(cell)

    def run(self, cell: str) -> None:
        exec(textwrap.dedent(cell), self.names)

    def answers(self, **params: Any) -> list[str]:
        """As text, since what is given back may change, too."""
        node = self.names["d"]
        return [json.dumps(answer) for answer in (node(**params), node.invoke(**params), sent(node, **params))]


def sent(node: Any, **params: Any) -> Any:
    """What workers would make of the bytes that travel."""
    here = LocalRun(node, Settings())
    here.plan = decode_plan(encode_plan(plan_of(node)))
    here._view = here.engine.adopt(here.run_id, here.plan)
    here.run(params)
    return here.result()
