"""On real workers a graph grows as it does in process."""

from __future__ import annotations

from collections import Counter

import pytest

from dagcelery import RunState, Workflow, errors, task
from dagcelery.local import Cluster
from unit.engine.dynamic.vocabulary import Statuses, Tree, countdown, crawl, factorial, flaky, greeter, piped

SECONDS = 60.0

pytestmark = pytest.mark.usefixtures("cluster")


def test_a_crawl_finds_every_page() -> None:
    assert crawl.submit(page=0, pages=300).result(SECONDS) == list(range(300))


def test_the_nodes_that_were_added_are_seen_by_their_addresses() -> None:
    run = crawl.submit(page=0, pages=5)
    run.result(SECONDS)
    states = {node.name: (node.total, node.done, node.state) for node in run.status().nodes}
    assert set(states.values()) == {(1, 1, "done")}
    assert set(states) == {
        "crawl",
        "crawl/crawl",
        "crawl/crawl-2",
        "crawl/united",
        "crawl/crawl/crawl",
        "crawl/crawl/crawl-2",
        "crawl/crawl/united",
    }


def test_recursion_some_hundred_deep_ends() -> None:
    assert countdown.submit(n=400).result(SECONDS) == 0
    assert factorial.submit(n=20).result(SECONDS) == 2432902008176640000


def test_a_workflow_is_submitted_with_its_state() -> None:
    assert Statuses().submit().result(SECONDS) == Counter({0: 2, 1: 2})
    assert Tree(2).submit(2).result(SECONDS) == ["root.0.0", "root.0.1", "root.1.0", "root.1.1"]
    assert greeter.submit(["Ada"]).result(SECONDS) == ["hello, Ada"]


def test_a_workflow_that_workers_cannot_import_travels_by_value() -> None:
    class Local(Workflow):
        def __init__(self, by: int) -> None:
            self.by = by

        @task
        def entrypoint(self, xs: list[int]) -> list[int]:
            return [self.scaled(self.scaled(x)) for x in xs]

        @task
        def scaled(self, x: int) -> int:
            return x * self.by

    assert Local(3).submit([1, 2]).result(SECONDS) == [9, 18]


def test_a_graph_may_go_to_queues_that_its_run_did_not_have() -> None:
    assert piped.submit(x=1).result(SECONDS) == [3, 4]


def test_a_failure_within_is_resumed_where_it_happened(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("flaky")
    run = flaky.submit(folder=str(folder), xs=[1, 2, 3])
    with pytest.raises(errors.NodeFailed, match="node flaky/checked-2 failed with ValueError: not yet"):
        run.result(SECONDS)
    assert run.state is RunState.FAILED
    (folder / "allowed").touch()
    assert run.resume().result(SECONDS) == [1, 2, 3]
    assert (folder / "1").read_text() == "."
    assert [failure.address for failure in run.errors()] == ["flaky/checked-2"]


def test_a_dynamic_node_is_taken_back_with_all_that_it_made() -> None:
    run = crawl.submit(page=0, pages=7)
    assert run.result(SECONDS) == list(range(7))
    assert run.retry_from("crawl/crawl-2").result(SECONDS) == list(range(7))
    assert run.retry_from("crawl").result(SECONDS) == list(range(7))
    assert len(run.status().nodes) == 10


def _two_plans(cluster: Cluster, run_id: str) -> tuple[bytes, str]:
    found = [made for made in cluster.client.store.reader.child_plans(run_id, range(1, 500)) if made]
    return found[0][1], found[1][0]


def test_what_a_running_task_called_is_signed(cluster: Cluster) -> None:
    run = crawl.submit(page=0, pages=9)
    run.result(SECONDS)
    sealed, other = _two_plans(cluster, run.id)
    view = cluster.client.control.view(run.id)
    with pytest.raises(errors.BadSignature):
        view._take_in(99, other, sealed)


def test_a_tree_shows_what_a_node_has_grown() -> None:
    run = crawl.submit(page=0, pages=5)
    run.result(SECONDS)
    (root,) = run.tree().children
    assert [node.name for node in root.children] == ["crawl", "crawl-2", "united"]
    assert [[node.name for node in child.children] for child in root.children] == [
        ["crawl", "crawl-2", "united"],
        [],
        [],
    ]
    assert {root.state, *(node.state for node in root.children)} == {"done"}
