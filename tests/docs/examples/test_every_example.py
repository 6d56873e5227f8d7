"""Every example prints as a script what is stated here, and its DAGs give on workers what they should."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from checkout import ROOT
from dagcelery import errors, submit
from dagcelery.local import Cluster
from dagcelery.local import cluster as local_cluster

from .scripts import Script

JSON_FOLDER = str(Path(json.__file__).parent)


@dataclass(frozen=True)
class Stated:
    """A DAG of an example, what it is given, and what it returns."""

    module: str
    dag: str
    params: Mapping[str, object] = field(default_factory=dict)
    result: object = None

    def node(self) -> Any:
        return getattr(import_module(f"examples.{self.module}"), self.dag)


def commonest_words(folder: str, most: int) -> list[list[object]]:
    """What the word count should find, counted in one go."""
    text = "\n".join(path.read_text() for path in Path(folder).rglob("*.py"))
    return [list(pair) for pair in sorted(Counter(re.findall("[A-Za-z_]{3,}", text)).items(), key=by_count)][:most]


def by_count(pair: tuple[str, int]) -> tuple[int, str]:
    return -pair[1], pair[0]


STATED = [
    Stated("hello", "greeting", {}, "hello, world!"),
    Stated("hello", "greeting", {"name": "Ada"}, "hello, Ada!"),
    Stated("map_reduce", "map_reduce", {"n": 10}, 285),
    Stated("map_reduce", "map_reduce", {"n": 0, "exponent": 3}, 0),
    Stated("nested_dags", "full_name", {"first": "  ADA ", "last": " Lovelace"}, "ada lovelace"),
    Stated("map_in_map", "triangle", {"n": 5}, 20),
    Stated("map_in_map", "row_totals", {"n": 5}, [0, 0, 1, 5, 14]),
    Stated("element_wise", "thumbnails", {"urls": ["a"]}, [{"url": "a", "image": "small<a>"}]),
    Stated("element_wise", "thumbnails", {"urls": []}, []),
    Stated("parts", "train", {"rows": [1, 2, 3, 4]}, {"error": 2.0, "version": "final"}),
    Stated(
        "shared_outputs",
        "report",
        {"n": 4},
        {"sum": 10, "largest": 4, "doubles": 20, "squares": 30, "largest square": 16},
    ),
    Stated("arguments", "sale", {}, "pen 2.00, book 10.00; customer: Ada, paid: True"),
    Stated("serializers", "study", {"text": "a b\nc a"}, ([["a", "c"], ["b", "a"]], "a")),
    Stated("serializers", "alphabet", {"word": "banana"}, {"a", "b", "n"}),
    Stated("lazy_reduce", "book", {"n": 1000}, 99),
    Stated("gpu_routing", "pipeline", {"path": "a.txt"}, "saved [10.0, 4.0]"),
    Stated(
        "dynamic_workflow",
        "crawl",
        {"page": "home"},
        ["home", "home/news", "home/news/sport", "home/shop", "home/shop/cart"],
    ),
    Stated("async_tasks", "measure", {"url": "example.org"}, 19),
    Stated("ordering", "refresh", {}, "all loaded"),
    Stated("declarative", "map_reduce", {"n": 10}, {"sum": 285}),
    Stated("static_parameters", "cross_validate", {"rows": [1, 2, 3, 4]}, 8),
    Stated(
        "current_piece",
        "charge_all",
        {"amounts": [500, 250]},
        ["charge[0]: item 0, attempt 1, 500 cents", "charge[1]: item 1, attempt 1, 250 cents"],
    ),
    Stated("errors", "quotients", {"a": 6, "divisors": [2, 3]}, [3.0, 2.0]),
    Stated("files", "report", {"text": "3 5 4"}, {"areas": [9, 25, 16], "largest": 25}),
    Stated("retries_and_resume", "digest", {"urls": ["a", "gone", "b"]}, "<a> <b>, but there is no gone"),
    Stated("schedule", "report", {}, "3 orders"),
    Stated("watching", "census", {"n": 3}, 102),
    Stated("spill", "archive", {"pages": [1, 2]}, [100_000, 100_000]),
    Stated("stages", "pipeline", {}, None),
    Stated(
        "conditionals", "review", {"texts": ["good", "", "a b c d"]}, ["GOOD", "nothing to read", "4 words: too long"]
    ),
    Stated("conditionals", "review", {"texts": []}, []),
    Stated("cache", "bill", {"names": ["pen", "book"], "customer": "Ada"}, 8.75),
    Stated("tables", "season", {}, "apple"),
    Stated("word_count", "word_count", {"folder": JSON_FOLDER, "most": 3}, commonest_words(JSON_FOLDER, 3)),
]

SAYS = {
    "arguments": "customer: Grace",
    "async_tasks": "19",
    "attach_own_app": "[1, 4, 9]",
    "cache": "Bob pays 13.75 after asking for lamp",
    "conditionals": "when/then/publish: done 2, skipped 2",
    "current_piece": "charge[1]: item 1, attempt 1, 250 cents",
    "declarative": "may run at once: [{'numbers'}, {'power'}, {'total'}]",
    "dynamic_workflow": "home/news/sport",
    "element_wise": "small<b.png>",
    "errors": "NodeFailed: node divide[2] failed with ZeroDivisionError: division by zero",
    "files": "largest, from the files: 25",
    "gpu_routing": "embed on queue gpu",
    "hello": "hello, world!",
    "lazy_reduce": "99",
    "map_in_map": "[0, 0, 1, 5, 14]",
    "map_reduce": "power: done, 1000 of 1000",
    "nested_dags": "ada lovelace",
    "ordering": "['empty users', 'empty orders', 'load users', 'load orders', 'all loaded']",
    "parts": "{'error': 2.0, 'version': 'final'}",
    "retries_and_resume": "no page was asked for again: True",
    "schedule": "the clock goes forward: 2026-03-29T03:30:00+02:00",
    "serializers": "([['a', 'c'], ['b', 'a']], 'a')",
    "shared_outputs": "'largest square': 16",
    "spill": "files after run.delete(): 0",
    "stages": "the largest is 32",
    "static_parameters": "3 folds: fit, fit-2, fit-3, best",
    "tables": "apple",
    "watching": "no worker listens to queue gpu\ndone rank",
    "word_count": "self",
}
"""A line, or a part of one, that each example prints when it is run as a script."""

GIVEN = {"word_count": [JSON_FOLDER]}
"""Words of the command line: all of the standard library are thousands of files."""


def name(stated: Stated) -> str:
    return f"{stated.module}-{stated.dag}-{len(repr(stated.params))}"


def test_every_example_has_its_results_stated() -> None:
    files = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert files == SAYS.keys() == {each.module for each in STATED} | {"attach_own_app"}


def test_every_example_opens_with_what_to_notice() -> None:
    for module in SAYS:
        if module != "attach_own_app":  # importing it would attach it to this process
            assert len((import_module(f"examples.{module}").__doc__ or "").splitlines()) > 2, module


@pytest.mark.parametrize("stated", STATED, ids=name)
def test_on_workers(stated: Stated, cluster: Cluster) -> None:
    assert submit(stated.node(), stated.params).result(timeout=30) == stated.result


@pytest.mark.parametrize("module", SAYS)
def test_as_a_script(module: str, script: Script) -> None:
    assert SAYS[module] in script(f"examples.{module}", *GIVEN.get(module, []), alone=module == "watching")


def test_a_failing_node_is_told_with_its_address_from_workers_too(cluster: Cluster) -> None:
    run = submit(import_module("examples.errors").quotients, {"a": 1, "divisors": [1, 2, 0]})
    with pytest.raises(errors.NodeFailed) as failed:
        run.result(timeout=30)
    assert failed.value.address == "divide[2]"
    assert failed.value.type_name == "ZeroDivisionError"
    assert "return a / b" in failed.value.traceback


def test_a_team_s_own_app_runs_its_tasks_and_dags() -> None:
    program = (
        "from examples.attach_own_app import add, squares\n"
        "print(squares.submit(xs=[1, 2, 3]).result(timeout=30), add.delay(1, 2).get(timeout=30))"
    )
    with local_cluster(workers=0, app="examples.attach_own_app", queues=["team"]) as local:
        local.start_worker()
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=os.environ | local.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout.strip() == "[1, 4, 9] 3", done.stderr
