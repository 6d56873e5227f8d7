"""Cells of a notebook that are run again: workers get what is there now."""

from __future__ import annotations

from typing import Any

from dagcelery.local import Cluster


def test_what_a_notebook_redefines_is_what_workers_get(cluster: Cluster) -> None:
    names: dict[str, Any] = {"__name__": "a_notebook"}
    exec(
        "from dagcelery import dag, task\nK, SEEN = 1, [0]\n"
        "@task\ndef t(x): return [x * K, list(SEEN)]\n@dag\ndef d(x): return t(x)",
        names,
    )
    d, found = names["d"], []
    for cell in ("", "K = 2", "SEEN.append(1)", "@task\ndef t(x): return -1"):
        exec(cell, names)
        found.append([d(x=1), d.invoke(x=1), d.submit(x=1).result(60)])

    assert [each == each[:1] * 3 for each in found] == [True] * 4
    assert [each[0] for each in found] == [[1, [0]], [2, [0]], [2, [0, 1]], -1]
