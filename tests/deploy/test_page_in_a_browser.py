"""Who opens the page in a browser sees runs as they go on, finds what failed, and lets one item be executed again.

``PAGE_SCREENSHOTS=docs/images pytest --basetemp=/tmp/shop -k "list_and or one_item or a_dag"`` keeps what is seen.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dagcelery import Client, NodeStatus, Retry, Run, RunState, RunStatus, dag, task, when
from dagcelery.local import Cluster, cluster
from dagcelery.local.cluster import default_client
from dagcelery.local.server import free_ports

from .browsing import CHROMIUM, NO_CHROMIUM, watched_page

pytestmark = NO_CHROMIUM
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")

SECONDS = 30.0
HOSTILE = "<img src=x onerror=alert(1)>"
SHOTS = os.environ.get("PAGE_SCREENSHOTS", "")


# -- what runs --------------------------------------------------------------------------------------
def is_open(gate: str) -> bool:
    """Wait until somebody opens a gate; a test that fails leaves nothing waiting for ever."""
    waiting = threading.Event()
    return any(Path(gate).exists() or waiting.wait(0.02) for _ in range(int(SECONDS / 0.02)))


@task
def days(folder: str) -> list[str]:
    return [f"{folder}/{day}" for day in range(4)]


@task
def load(day: str) -> int:
    assert is_open(day)
    return int(Path(day).name)


@task
def total(loads: list[int]) -> int:
    return sum(loads)


@dag(name="warehouse.load")
def loading(folder: str) -> int:
    return total([load(day) for day in days(folder)])


def takes(seconds: float) -> None:
    threading.Event().wait(seconds)


@task
def catalog(day: str, pace: float) -> str:
    takes(pace)
    return day


@task
def stores(catalog: str, number: int) -> list[int]:
    return list(range(number))


@task
def clean(store: int, pace: float) -> int:
    takes(pace * (1 + store % 3))
    return store


@task(retry=Retry(max_attempts=2, wait=0.01))
def fit(store: int, folder: str, pace: float) -> int:
    takes(pace * (2 + store % 5))
    logging.getLogger("shop").warning("18,402 rows of store %d", store)
    if store == 3 and not Path(folder, "values").exists():
        raise ValueError(f"3 of 18,402 rows of store {store} have no basket value")
    return store


@task
def score(model: int, pace: float) -> float:
    takes(pace)
    return model / 2


@dag
def forecast(store: int, folder: str, pace: float) -> float:
    return score(fit(clean(store, pace), folder, pace), pace)


@task
def is_good(scores: list[float]) -> bool:
    return bool(scores)


@task
def publish(scores: list[float]) -> int:
    return len(scores)


@task
def send_back(scores: list[float]) -> int:
    return -1


@dag(name="shop.forecast")
def forecasts(day: str, folder: str, number: int = 6, pace: float = 0.0) -> int:
    scores = [forecast(store, folder, pace) for store in stores(catalog(day, pace), number)]
    return when(is_good(scores), then=lambda: publish(scores), otherwise=lambda: send_back(scores))


@task
def echo(text: str) -> str:
    raise ValueError(text)


@dag(name=HOSTILE)
def hostile(text: str) -> str:
    return echo(text)


# -- what looks -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def workers() -> Iterator[Cluster]:
    with cluster(workers=2) as local, default_client(local.client):
        yield local


@contextmanager
def serving(client: Client | None, **options: Any) -> Iterator[str]:
    """Serve the page of a client below a path of its own."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from dagcelery.web import app

    (port,) = free_ports(1)
    mounted = Starlette(routes=[Mount("/runs", app(client, **options))])
    server = uvicorn.Server(
        uvicorn.Config(mounted, port=port, log_level="warning", ws="none", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def host(workers: Cluster) -> Iterator[str]:
    with serving(workers.client, actions=True) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, host: str) -> Iterator[Any]:
    with watched_page(browser, host, viewport={"width": 1280, "height": 800}) as page:
        page.set_default_timeout(1000 * SECONDS)
        yield page


@pytest.fixture
def canned(page: Any, host: str) -> Callable[[dict[str, Any]], str]:
    """Let the page be told of a run that is nowhere: any names, any number of items, at once."""

    def told(answers: dict[str, Any]) -> str:
        def answer(route: Any) -> None:
            path = urlsplit(route.request.url).path.partition("/api/runs/made")[2]
            answered = answers.get(path.lstrip("/"), {"buckets": []})
            route.fulfill(
                json=answered(parse_qs(urlsplit(route.request.url).query)) if callable(answered) else answered
            )

        page.route("**/api/runs/made**", answer)
        return f"http://{host}/runs/#/run/made"

    return told


def made(
    nodes: list[NodeStatus], graph: dict[str, Any] | None = None, name: str = "made", **more: Any
) -> dict[str, Any]:
    """What the page asks for first, of a run that is over."""
    status = RunStatus("made", name, RunState.DONE, 0.0, 1.0, 9.0, "", "", tuple(nodes), params={"n": HOSTILE})
    told = status.to_dict()
    return {"run": told, "nodes": told.pop("nodes"), "graph": graph or {"nodes": [], "edges": []}, "now": 10.0, **more}


def done(name: str, total: int = 1) -> NodeStatus:
    return NodeStatus(name, "celery", total > 1, total, total, 0, 0, 1.0, 9.0, is_over=True)


@pytest.fixture
def see() -> Callable[[Any], Any]:
    playwright.expect.set_options(timeout=1000 * SECONDS)
    return playwright.expect


def forecasted(folder: Path) -> Run[int]:
    """Forecast six stores; of one of them the values are wrong until they are there."""
    number, pace = (12, 0.1) if SHOTS else (6, 0.0)
    return forecasts.submit(day="2026-11-29", folder=str(folder), number=number, pace=pace)


def some_runs(folder: Path) -> None:
    """Let a list have something to show: some that are done, some that failed, and one that goes on."""
    (ready := folder / "ready").mkdir()
    (ready / "values").touch()
    for number in range(9):
        day, where = f"2026-11-{20 + number}", folder if number in (3, 5) else ready
        run = forecasts.options(key=f"forecast-{day}").submit(day=day, folder=str(where), number=5, pace=0.01)
        run.wait(SECONDS)
    for day in ("0", "1", "3"):
        (ready / day).touch()
    loading.submit(folder=str(ready))


def row(page: Any, address: str) -> Any:
    """A node's row in the timeline."""
    return page.locator(f'.timeline .row[data-address="{address}"]')


def shot(page: Any, name: str, scheme: str = "light") -> None:
    if SHOTS:
        page.emulate_media(color_scheme=scheme)
        page.mouse.move(0, 0)
        page.screenshot(path=f"{SHOTS}/{name}.png", animations="disabled")
        page.emulate_media(color_scheme="light")


# -- what is seen -----------------------------------------------------------------------------------
def test_a_run_is_found_in_the_list_and_followed_to_its_end(page: Any, host: str, see: Any, tmp_path: Path) -> None:
    run = loading.submit(folder=str(tmp_path))
    page.goto(f"http://{host}/runs/")
    page.locator(".runs tr", has_text="warehouse.load").get_by_role("link", name="warehouse.load").click()
    see(page.locator(".run-head")).to_contain_text("running")
    see(row(page, "load")).to_contain_text("0/4")
    (tmp_path / "0").touch()
    (tmp_path / "2").touch()
    see(row(page, "load")).to_contain_text("2/4")
    see(row(page, "total")).to_contain_text("needs load")
    shot(page, "run")
    (tmp_path / "1").touch()
    (tmp_path / "3").touch()
    see(page.locator(".run-head .state")).to_have_text("done")
    see(page.get_by_role("region", name="The run").get_by_text("6", exact=True)).to_be_visible()
    assert page.url.endswith(f"#/run/{run.id}")


def test_a_page_that_was_cut_off_is_right_when_it_comes_back(page: Any, host: str, see: Any, tmp_path: Path) -> None:
    live, run = re.compile(r"/live\?"), loading.submit(folder=str(tmp_path))
    page.route(live, lambda route: route.fulfill(body="retry: 500\n\n", content_type="text/event-stream"))
    page.goto(f"http://{host}/runs/#/run/{run.id}")
    see(page.locator(".live")).to_have_text("connecting")
    for day in range(4):
        (tmp_path / str(day)).touch()
    assert run.wait(SECONDS) == "done"
    page.unroute(live)
    see(page.locator(".run-head .state")).to_have_text("done")
    see(row(page, "load")).to_contain_text("4/4")


SLEEP = """() => {
  const now = Date.now, seen = (hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  };
  seen(true);
  Date.now = () => now() + 60_000;
  seen(false);
}"""


def test_a_page_that_slept_shows_what_became_of_a_run_that_was_over(
    page: Any, canned: Callable[[dict[str, Any]], str], see: Any
) -> None:
    answers = {"": made([done("first")])}
    page.goto(canned(answers))
    see(row(page, "first")).to_be_visible()
    answers[""] = made([done("second")])  # what grew was taken back, and grew again
    page.evaluate(SLEEP)
    see(row(page, "second")).to_be_visible()
    see(row(page, "first")).to_have_count(0)


STREAM = """window.EventSource = class extends EventTarget {
  constructor() { super(); window.stream = this; }
  close() {}
}"""
TELL = "([kind, data]) => stream.dispatchEvent(new MessageEvent(kind, { data: JSON.stringify(data) }))"


def test_an_answer_takes_back_no_state_that_came_meanwhile_and_a_failure_is_no_end(
    page: Any, host: str, see: Any
) -> None:
    asked: list[Any] = []
    node = done("load", 4).to_dict() | {"state": "running", "done": 1, "ended": None, "is_over": False}
    whole = made([done("load", 4)]) | {"nodes": [node]}
    whole["run"] |= {"state": "running", "ended": None, "seconds": None}
    error = {
        "address": "load[1]",
        "attempt": 1,
        "type_name": "ValueError",
        "message": "no",
        "traceback": "",
        "stands": 1,
    }
    page.add_init_script(STREAM)
    page.route("**/api/runs/made", lambda route: asked.append(route))  # playwright takes no methods of lists
    with page.expect_request("**/api/runs/made"):
        page.goto(f"http://{host}/runs/#/run/made")
    asked.pop().fulfill(json=whole)
    see(row(page, "load")).to_contain_text("1/4")
    with page.expect_request("**/api/runs/made"):
        page.evaluate(TELL, ["change", {"nodes": {"0": {"failed": 1}}}])
    page.evaluate(TELL, ["change", {"nodes": {"0": {"done": 3}}}])
    asked.pop().fulfill(json=whole | {"errors": [error]})
    see(page.locator(".errors .message")).to_have_text("ValueError: no")
    see(row(page, "load")).to_contain_text("3/4")
    with page.expect_request("**/api/runs/made"):
        page.evaluate(TELL, ["failure", {"type": "StoreUnavailable", "message": "gone"}])


def test_one_item_that_failed_is_executed_again(page: Any, host: str, see: Any, tmp_path: Path) -> None:
    run = forecasted(tmp_path)
    page.goto(f"http://{host}/runs/#/run/{run.id}")
    see(page.locator(".run-head .state")).to_have_text("failed")
    page.locator(".run-head .news .address").click()
    panel = page.locator(".node-panel")
    see(panel.locator(".traceback")).to_contain_text('raise ValueError(f"3 of 18,402 rows')
    see(row(page, "forecast[*]/fit")).to_have_attribute("aria-selected", "true")
    see(panel.locator(".log pre")).to_contain_text("WARNING shop: 18,402 rows of store 3")
    shot(page, "failed")
    (tmp_path / "values").touch()
    panel.get_by_role("button", name="Retry from here").click()
    dialog = page.get_by_role("dialog")
    see(dialog).to_contain_text("executed again")
    dialog.get_by_role("button", name="Execute again").click()
    see(page.locator(".run-head .state")).to_have_text("done")
    see(row(page, "when/otherwise")).to_have_attribute("aria-label", "when/otherwise, skipped, not taken")
    see(panel.locator(".narrow .facts")).to_contain_text("done")
    assert run.result(SECONDS) > 0
    shot(page, "dark", "dark")


def test_a_token_opens_the_page_and_leaves_the_address(browser: Any, workers: Cluster, see: Any) -> None:
    token = "token-of-thirty-two-characters-or"
    with serving(workers.client, token=token) as host:
        page = browser.new_context().new_page()
        page.goto(f"http://{host}/runs/#token={token}")
        see(page.get_by_text("read only")).to_be_visible()
        assert token not in page.url
        page.get_by_role("searchbox", name="Search runs").fill("shop")
        see(page).to_have_url(re.compile(r"#/\?text=shop$"))
        page.context.clear_cookies()
        page.reload()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Open").click()
        see(page.get_by_text("read only")).to_be_visible()
        page.context.close()


def test_what_comes_from_users_is_text(page: Any, host: str, see: Any) -> None:
    run = hostile.submit(text=HOSTILE)
    run.wait(SECONDS)
    for place in ("", f"#/run/{run.id}?node=echo", f"#/dag/{HOSTILE}"):
        page.goto(f"http://{host}/runs/{place}")
        see(page.get_by_text(HOSTILE).first).to_be_visible()
        assert page.locator("img").count() == 0


def test_names_of_nodes_that_no_dag_may_have_are_text_too(
    page: Any, canned: Callable[[dict[str, Any]], str], see: Any
) -> None:
    graph = {"nodes": [{"address": HOSTILE, "label": HOSTILE, "kind": HOSTILE, "parent": ""}], "edges": []}
    error = {
        "address": HOSTILE,
        "attempt": 1,
        "type_name": HOSTILE,
        "message": HOSTILE,
        "traceback": HOSTILE,
        "stands": 1,
    }
    value = {"kind": "json", "text": f'"{HOSTILE}"', "size": 30}
    node = {"name": HOSTILE, "state": "done", "started": 1.0, "ended": 9.0, "worker": HOSTILE, "attempt": 1}
    details = {
        "node": node,
        "items": [],
        "inputs": [{"name": HOSTILE, "value": value}],
        "result": value,
        "log": [HOSTILE],
    }
    whole = made([done(HOSTILE)], graph, HOSTILE, errors=[error], code={HOSTILE: {"hash": HOSTILE, "python": HOSTILE}})
    page.goto(canned({"": whole | {"result": value}, "node": details}))
    see(page.locator(".errors .message")).to_have_text(f"{HOSTILE}: {HOSTILE}")
    row(page, HOSTILE).click()
    see(page.locator(".log pre")).to_have_text(HOSTILE)
    assert page.locator("img").count() == 0


def test_of_a_hundred_thousand_items_those_are_drawn_that_are_seen(
    page: Any, canned: Callable[[dict[str, Any]], str], see: Any
) -> None:
    def node(asked: dict[str, list[str]]) -> dict[str, Any]:
        first = int(asked["from"][0])
        items = [
            {"index": first + at, "state": "done", "seconds": 0.1, "attempt": 1, "worker": "w"} for at in range(100)
        ]
        about = {"name": "square", "state": "done", "started": 1.0, "ended": 9.0}
        return {"node": about, "items": items, "total": 100_000, "states": {"done": 100_000}, "next": first + 100}

    page.goto(canned({"": made([done("square", 100_000)]), "node": node}) + "?node=square")
    rows = page.locator(".item-rows")
    see(rows.get_by_text("[99]")).to_have_count(0)
    rows.focus()
    page.keyboard.press("End")
    see(rows.get_by_text("[99,999]")).to_be_visible()
    assert rows.locator(".item").count() < 100


def test_of_eight_thousand_nodes_those_are_drawn_that_are_seen(
    page: Any, canned: Callable[[dict[str, Any]], str], see: Any
) -> None:
    names = [f"node-{number}" for number in range(8_000)]
    nodes = [{"address": name, "label": name, "kind": "task", "parent": ""} for name in names]
    edges = [{"from": names[max(0, at - 20)], "to": name, "kind": "data"} for at, name in enumerate(names) if at]
    whole = made([done(name) for name in names], {"nodes": nodes, "edges": edges})
    page.goto(canned({"": whole, "node": {"node": {"name": names[-1], "state": "done"}, "items": []}}))
    see(page.locator(".graph canvas")).to_be_visible()
    page.keyboard.press("End")
    see(row(page, "node-7999")).to_be_visible()
    assert page.locator(".timeline .row").count() < 100


def test_keys_move_what_is_chosen(page: Any, host: str, see: Any, tmp_path: Path) -> None:
    (tmp_path / "values").touch()
    run = forecasted(tmp_path)
    run.wait(SECONDS)
    page.goto(f"http://{host}/runs/#/run/{run.id}")
    see(row(page, "catalog")).to_be_visible()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    see(row(page, "forecast[*]/clean")).to_have_attribute("aria-selected", "true")
    see(page).to_have_url(re.compile(re.escape("node=forecast%5B*%5D%2Fclean")))
    page.keyboard.press("/")
    page.keyboard.type("send")
    see(page.locator(".timeline .row")).to_have_count(1)
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    see(page.locator(".node-panel")).to_have_count(0)


def test_the_page_of_a_dag_has_its_last_runs(page: Any, host: str, see: Any, tmp_path: Path) -> None:
    if SHOTS:
        some_runs(tmp_path)
    (tmp_path / "values").touch()
    run = forecasted(tmp_path)
    run.wait(SECONDS)
    page.goto(f"http://{host}/runs/#/dag/shop.forecast")
    see(page.locator(f'.strip a[href="#/run/{run.id}"]')).to_have_attribute("aria-label", re.compile("^done, "))
    see(page.locator(".slowest li").first).to_be_visible()
    shot(page, "dag")
    page.goto(f"http://{host}/runs/")
    see(page.locator(".runs tbody tr").first).to_be_visible()
    shot(page, "list")


def test_a_page_that_was_saved_needs_nobody(browser: Any, workers: Cluster, see: Any, tmp_path: Path) -> None:
    run = hostile.submit(text=f"</script>{HOSTILE}")
    run.wait(SECONDS)
    file = run.to_html(tmp_path / "run.html")
    with watched_page(browser) as page:
        page.goto(f"{file.as_uri()}#/?node=echo")
        see(page.locator(".node-panel .message")).to_have_text(f"ValueError: </script>{HOSTILE}")
        see(page.locator(".node-panel .values")).to_contain_text(HOSTILE)
        assert page.locator("img").count() == 0
