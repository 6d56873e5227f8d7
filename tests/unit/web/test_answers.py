"""What the page is told of runs: what the client tells, in bounds, and nothing that nobody is to decode or see."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest
from flower.utils.search import Or, Term, parse_query

from dagcelery import AsPickle, dag, task
from dagcelery.client.status import run_status
from dagcelery.client.structure import structure
from dagcelery.client.tree import tree
from dagcelery.engine.pieces import TailHandler, keep_tails_of
from dagcelery.payload.formats.plain_json import AsPlainJSON

from ..client.test_nodes import everything, one
from ..engine.worlds import World
from .pages import opened, page

HOSTILE = "<img src=x onerror=alert(1)>"


@task
def double(x: int) -> int:
    if x < 0:
        raise ValueError(HOSTILE)
    return 2 * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def doubled(xs: list[int], note: str = "") -> int:
    return total([double(x) for x in xs])


@dag
def each_apart(xs: list[int]) -> list[int]:
    return [one(x) for x in xs]


class Loud:
    """What cannot be unpickled in silence."""

    unpickled = 0

    def __reduce__(self) -> Any:
        return Loud.again, ()

    @staticmethod
    def again() -> Loud:
        Loud.unpickled += 1
        return Loud()


@task
def made() -> Any:
    return Loud()


@task
def kept(loud: Any) -> Any:
    return loud


@dag(serializer=AsPickle())
def pickled() -> Any:
    return kept(made())


@task(sensitive=("password",))
def opened_with(user: str, password: str) -> str:
    return f"{user}:{password}"


@task
def asked() -> str:
    return "open sesame"


@dag
def per_user(user: str, password: str) -> str:
    return opened_with(user, password)


@dag
def secretive(users: list[str], password: str) -> Any:
    return [per_user(user, asked()) for user in users], opened_with("root", password)


@pytest.fixture
def world() -> World:
    return World()


def test_runs_are_listed_newest_first_page_by_page_and_each_once(world: World) -> None:
    runs = [world.ended(doubled, xs=[number], note=f"note {number}") for number in range(7)]
    failed = world.ended(doubled, xs=[1, -1])
    browser = page(world)
    first = browser.get("/api/runs?limit=3").json()
    second = browser.get("/api/runs", params={"limit": 10, "before": first["before"]}).json()
    assert [run["id"] for run in first["runs"] + second["runs"]] == [failed, *reversed(runs)]
    assert (first["more"], second["more"]) == (True, False)
    assert first["runs"][0]["news"] == f"double[1]: ValueError: {HOSTILE}"
    found = {
        "state=failed": [failed],
        "text=NOTE 3": [runs[3]],
        f"dag={doubled.__dag__().name}&limit=1": [failed],
        "dag=nothing": [],
        "key=nothing": [],
    }
    for query, expected in found.items():
        assert [run["id"] for run in browser.get(f"/api/runs?{query}").json()["runs"]] == expected


def test_a_row_says_how_far_a_run_is(world: World) -> None:
    world.submit(doubled, xs=[1, 2, 3])
    (row,) = page(world).get("/api/runs").json()["runs"]
    assert row["progress"] == {"done": 0, "total": 4}


def test_a_run_is_told_as_the_client_tells_it(world: World) -> None:
    run_id = world.ended(everything, n=3, xs=[4, 0, 6])
    told = page(world).get(f"/api/runs/{run_id}").json()
    status = json.loads(json.dumps(run_status(world.client, run_id).to_dict()))
    assert [told["usual"] | node for node in told["nodes"]] == status.pop("nodes")
    assert told["run"] == status | {"news": ""}
    usual = {"kind": "task", "taints": [], "parent": ""}
    graph = structure(world.client, run_id).to_dict()
    assert [usual | node for node in told["graph"]["nodes"]] == graph["nodes"]
    assert [{"kind": "data"} | edge for edge in told["graph"]["edges"]] == graph["edges"]
    assert told["result"]["text"] == json.dumps([20, 3, 12, 20, 4 / 12 + 1 / 12, 14])


def test_a_nodes_items_are_told_a_page_at_a_time_and_by_state(world: World) -> None:
    run_id = world.ended(doubled, xs=[*range(30), -1, *range(30)])
    ask = lambda query: page(world).get(f"/api/runs/{run_id}/node?address=double&{query}").json()  # noqa: E731
    first = ask("from=0&limit=20")
    rest = ask(f"from={first['next']}&limit=100")
    assert [item["index"] for item in first["items"] + rest["items"]] == list(range(61))
    assert (first["total"], sum(first["states"].values()), rest["next"]) == (61, 61, None)
    (failed,) = ask("state=failed")["items"]
    assert (failed["index"], failed["attempt"]) == (30, 1)
    (attempt,) = page(world).get(f"/api/runs/{run_id}/node?address=double[30]").json()["attempts"]
    assert attempt["error"]["message"] == HOSTILE
    density = page(world).get(f"/api/runs/{run_id}/items?address=double&buckets=7").json()
    assert len(density["buckets"]) == 7
    assert sum(start for start, _ in density["buckets"]) == sum(end for _, end in density["buckets"])


def test_items_of_a_mapped_dag_are_told_as_the_tree_tells_them(world: World) -> None:
    run_id = world.ended(each_apart, xs=[1, 2, -1, *range(20)])
    shown = {node.name: node for node in tree(world.engine("reader"), run_id, 100, 1_000).children}["one"]
    told = page(world).get(f"/api/runs/{run_id}/node?address=one").json()
    states = {f"one[{item['index']}]": item["state"] for item in told["items"]}
    assert {child.name: states[child.name] for child in shown.children} == {
        child.name: child.state for child in shown.children
    }
    assert {state: list(states.values()).count(state) for state in told["states"]} == told["states"]
    for state, count in told["states"].items():
        found = page(world).get(f"/api/runs/{run_id}/node?address=one&state={state}").json()["items"]
        assert [item["state"] for item in found] == [state] * count


def test_what_is_not_json_is_told_by_kind_and_size_and_never_decoded(world: World) -> None:
    run_id = world.ended(pickled)
    Loud.unpickled = 0
    browser = page(world)
    node = browser.get(f"/api/runs/{run_id}/node?address=kept").json()
    values = [node["inputs"][0]["value"], node["result"], browser.get(f"/api/runs/{run_id}").json()["result"]]
    assert [(value["kind"], value["text"], value["size"] > 0) for value in values] == [("pickle", "", True)] * 3
    assert Loud.unpickled == 0


def test_what_is_sensitive_is_nowhere_on_the_page(world: World) -> None:
    run_id = world.ended(secretive, users=["ann", "bob"], password="open sesame")
    browser = page(world)
    names = ["opened_with", "asked", "per_user", "per_user[0]", "per_user[0]/opened_with", "per_user[*]/opened_with"]
    told = [browser.get(f"/api/runs/{run_id}/node", params={"address": name}) for name in names]
    assert [answer.status_code for answer in told] == [200] * len(names)
    pages = [*told, browser.get("/api/runs"), browser.get("/api/dags/x")]
    pages += [browser.get(f"/api/runs/{run_id}{path}") for path in ("", "/trace", "/report")]
    assert [answer.status_code for answer in pages] == [200] * len(pages)
    assert not [answer.url for answer in pages if "sesame" in answer.text]
    assert told[0].json()["inputs"][0]["value"]["text"] == '"root"'


@dataclass
class Point:
    x: int


@task
def points(n: int) -> list[Point]:
    return [Point(x) for x in range(n)]


@task
def moved(point: Point) -> Point:
    return Point(point.x + 1)


@dag
def travelled(n: int) -> list[Point]:
    return [moved(point) for point in points(n)]


@pytest.mark.parametrize(("serializer", "params"), [(None, {"n": 2}), (AsPlainJSON(), {"xs": [1, 2]})])
def test_objects_and_plain_json_are_shown_as_the_json_that_they_are(world: World, serializer: Any, params: Any) -> None:
    graph = travelled if serializer is None else dag(serializer=serializer)(doubled.fn)
    run_id = world.ended(graph, **params)
    address = "moved" if serializer is None else "double"
    node = page(world).get(f"/api/runs/{run_id}/node?address={address}[1]").json()
    values = [node["inputs"][0]["value"], node["result"]]
    assert [value["kind"] for value in values] == ["json", "json"]
    assert [re.findall(r"\d+", value["text"])[-1] for value in values] == (
        ["1", "2"] if serializer is None else ["2", "4"]
    )


def test_a_large_value_is_not_read_and_a_long_list_begins(world: World) -> None:
    run_id = world.ended(doubled, xs=list(range(5_000)), note="x" * 400_000)
    result = page(world).get(f"/api/runs/{run_id}/node?address=double").json()["result"]
    assert result["text"].endswith('"… and 4,900 more"]')


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/api/runs/{run}/node?address=nothing", 400, "InvalidParameters"),
        ("/api/runs/{run}/node?address=double[99]", 400, "InvalidParameters"),
        ("/api/runs/{run}/node?address=one[*]/nothing", 400, "InvalidParameters"),
        ("/api/runs/{run}/node?address=double&state=odd", 400, "InvalidParameters"),
        ("/api/runs/{run}/node?address=double&from=-1", 400, "InvalidParameters"),
        ("/api/runs/{run}/node?address=double&limit=1e9", 400, "InvalidParameters"),
        ("/api/runs/{run}/node?address=double&from=99999999999999999999999", 400, "InvalidParameters"),
        ("/api/runs/{run}/items?address=double&buckets=²", 400, "InvalidParameters"),
        ("/api/runs?text=" + "x" * 5_000, 400, "InvalidParameters"),
        ("/api/runs?dag=%00", 400, "InvalidParameters"),
        ("/api/runs?before=nan", 400, "InvalidParameters"),
        ("/api/runs?before=soon:1", 400, "InvalidParameters"),
        (f"/api/runs/{'0' * 32}", 404, "RunNotFound"),
        (f"/api/runs/{'0' * 32}/live", 404, "RunNotFound"),
        ("/api/runs/*/node?address=x", 404, "RunNotFound"),
        ("/api/nothing", 404, "NotFound"),
    ],
)
def test_what_makes_no_sense_is_an_error_of_a_type(world: World, path: str, status: int, kind: str) -> None:
    run_id = world.ended(doubled, xs=[1])
    answer = page(world).get(path.format(run=run_id))
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)


# -- actions ----------------------------------------------------------------------------------------
def test_a_retry_executes_what_its_preview_has_said(world: World) -> None:
    run_id = world.ended(doubled, xs=[1, 2, 3])
    browser, ours = opened(world, actions=True)
    path, body = f"/api/runs/{run_id}/retry", {"address": "double[1]"}
    said = browser.post(f"{path}?preview=1", json=body, headers=ours).json()
    assert said["will"] == "2 nodes ('double' and 'total') and 1 item will be executed again"
    before = world.committed(run_id)
    assert browser.post(path, json=body, headers=ours).json() == {"state": "running"}
    world.settle()
    again = world.committed(run_id)
    for piece in before:
        again.remove(piece)
    assert len(again) == 2 == said["nodes"]


def test_a_failed_item_is_retried_and_a_run_that_goes_on_is_not_deleted(world: World) -> None:
    run_id = world.ended(doubled, xs=[1, -1])
    browser, ours = opened(world, actions=True)
    act = lambda action, **body: browser.post(f"/api/runs/{run_id}/{action}", json=body, headers=ours)  # noqa: E731
    assert "1 piece that failed among them" in act("resume?preview=1").json()["will"]
    assert act("resume").json() == {"state": "running"}
    assert act("delete").json()["error"]["type"] == "NotOver"
    assert act("resume").json()["error"]["type"] == "NotResumable"
    assert act("retry", address="nothing").status_code == 400
    assert act("retry", address=["double"]).status_code == 400
    assert act("explode").status_code == 404
    assert browser.post(f"/api/runs/{run_id}/cancel", content=b"x" * 20_000, headers=ours).status_code == 403
    assert act("cancel").json() == {"state": "cancelled"}
    assert act("delete").json() == {"state": "deleted"}
    assert browser.get(f"/api/runs/{run_id}").status_code == 404


@task
def noted(x: int) -> int:
    logging.getLogger("shop").warning("%d has come", x)
    return x


@dag
def all_noted(xs: list[int]) -> list[int]:
    return [noted(x) for x in xs]


@pytest.fixture
def _keeps_lines() -> Iterator[None]:
    """This process keeps what is logged, as a worker does."""
    root = logging.getLogger()
    keep_tails_of(root)
    yield
    root.handlers = [each for each in root.handlers if not isinstance(each, TailHandler)]


@pytest.mark.usefixtures("_keeps_lines")
def test_a_node_has_the_lines_that_it_logged_and_a_run_its_trace(world: World) -> None:
    run_id = world.ended(all_noted, xs=[5, 6])
    lines = page(world).get(f"/api/runs/{run_id}/node?address=noted[1]").json()["log"]
    assert [line.partition("shop: ")[2] for line in lines] == ["6 has come"]
    assert page(world).get(f"/api/runs/{run_id}/trace").json()["traceEvents"]


def test_links_lead_elsewhere_with_the_run_in_them() -> None:
    settings = {"flower_url": "https://flower.example.com/", "log_link": "https://logs.example.com/?q={run}%20{node}"}
    world = World(**settings)
    run_id = world.ended(doubled, xs=[1])
    links = page(world).get(f"/api/runs/{run_id}").json()["links"]
    assert links["flower"] == f"https://flower.example.com/tasks?name={run_id}%20OR%20kwargs:run%3D{run_id}"
    searched = "name:" + unquote(links["flower"].partition("name=")[2])
    assert parse_query(searched) == Or((Term("name", run_id), Term("kwargs", f"run={run_id}")))
    assert links["log"] == f"https://logs.example.com/?q={run_id}%20"
    assert page(world).get("/api/session").json()["log_link"] == settings["log_link"]


def test_a_dags_page_has_its_last_runs_and_its_slowest_nodes(world: World) -> None:
    good, bad = world.ended(doubled, xs=[1]), world.ended(doubled, xs=[-1])
    told = page(world).get(f"/api/dags/{doubled.__dag__().name}").json()
    assert [run["id"] for run in told["runs"]] == [bad, good]
    assert told["success"] == {"done": 1, "over": 2}
    assert {node["node"] for node in told["slowest"]} == {"double", "total"}
    assert {node["address"] for node in told["graph"]["nodes"]} == {"double", "total"}


def test_who_asks_for_a_dag_runs_no_code_that_its_name_leads_to(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lazy, asked = ModuleType("lazy"), list[str]()
    lazy.__dict__["__getattr__"] = asked.append
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    assert page(world).get("/api/dags/lazy:connection.pool").json()["schedule"] is None
    assert asked == []


@task
def half() -> str:
    return "\ud83d"


@dag(serializer=AsPlainJSON())
def halved() -> str:
    return half()


def test_half_a_character_in_a_value_is_shown_as_json_writes_it(world: World) -> None:
    run_id = world.ended(halved)
    assert page(world).get(f"/api/runs/{run_id}").json()["result"]["text"] == r'"\ud83d"'
