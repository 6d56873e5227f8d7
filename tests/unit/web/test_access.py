"""Who may see the page, and who may act: everybody else gets a sentence, and nothing happens."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from dagcelery import dag, errors, task
from dagcelery.web import Token, app

from ..engine.worlds import World
from .pages import opened, page


@task
def one() -> int:
    return 1


@dag
def single() -> int:
    return one()


@pytest.fixture
def world() -> World:
    return World()


OF_A_RUN = ["", "/node", "/items", "/live", "/trace", "/report"]
READS = ["api/session", "api/runs", "api/dags/x", *(f"api/runs/{'0' * 32}{path}" for path in OF_A_RUN)]


@pytest.mark.parametrize("path", READS)
def test_nothing_is_told_without_a_session(world: World, path: str) -> None:
    answer = page(world, token=Token("what nobody knows")).get(path)
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "NoSession")


def test_a_token_becomes_a_cookie_once_and_no_script_and_no_other_site_gets_it(world: World) -> None:
    browser = page(world, token=Token("what nobody knows", single_use=True))
    assert browser.post("/api/login", json={"token": "something else"}).json()["error"]["type"] == "WrongToken"
    assert browser.post("/api/login", json={"token": None}).status_code == 401
    answer = browser.post("/api/login", json={"token": "what nobody knows"})
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(answer.headers["set-cookie"].split("; "))
    assert browser.get("/api/runs").json()["runs"] == []
    browser.cookies.clear()
    assert browser.post("/api/login", json={"token": "what nobody knows"}).json()["error"]["type"] == "TokenUsed"


def test_a_session_that_was_made_up_or_has_ended_is_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    token = Token("what nobody knows")
    session = token.session()
    until, _, proof = session.partition(".")
    assert token.knows(session)
    assert not [
        each for each in (f"{int(until) + 1}.{proof}", until, "", f"{until}.é", "²." + proof) if token.knows(each)
    ]
    monkeypatch.setattr("dagcelery.web.access.time.time", lambda: float(until) + 1)
    assert not token.knows(session)


def test_who_finds_a_token_that_was_used_can_make_no_session_of_it() -> None:
    once, found = Token("what nobody knows", single_use=True), Token("what nobody knows")
    assert once.knows(once.session())
    assert not once.knows(found.session())
    assert Token("what nobody knows").knows(found.session())


def test_a_token_that_could_be_guessed_is_refused() -> None:
    with pytest.raises(errors.InvalidSetting, match="fewer than 16 characters"):
        app(token="letmein")


FORGED: list[dict[str, str]] = [
    {},
    {"X-CSRF-Token": "made up"},
    {"X-CSRF-Token": "%C3%A9"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://elsewhere.example.com"},
    {"Content-Type": "application/x-www-form-urlencoded"},
]


@pytest.mark.parametrize("headers", FORGED)
def test_an_action_that_our_page_did_not_ask_for_is_refused(world: World, headers: dict[str, str]) -> None:
    run_id = world.submit(single)
    browser, ours = opened(world, actions=True)
    is_named = "X-CSRF-Token" in headers or not headers
    sent = {"Content-Type": "application/json"} | ({} if is_named else ours) | headers
    answer = browser.post(f"/api/runs/{run_id}/cancel", content=b"{}", headers=sent)
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "ForgedRequest")
    assert world.client.record(run_id).state != "cancelled"
    assert browser.post(f"/api/runs/{run_id}/cancel", json={}, headers=ours).json() == {"state": "cancelled"}


def test_a_page_only_shows_runs_unless_it_is_told_otherwise(world: World) -> None:
    run_id = world.submit(single)
    browser, ours = opened(world)
    assert browser.get("/api/session").json()["actions"] == []
    for action in ("cancel", "resume", "retry", "delete"):
        for preview in ("", "?preview=1"):
            answer = browser.post(f"/api/runs/{run_id}/{action}{preview}", json={}, headers=ours)
            assert (answer.status_code, answer.json()["error"]["type"]) == (403, "NotAllowed")


async def may_read_and_cancel(request: Request, action: str) -> bool:
    return action in ("read", "cancel")


@pytest.mark.parametrize(
    ("hook", "allowed"),
    [
        (may_read_and_cancel, ["cancel"]),
        (
            lambda request, action: None if action == "resume" else "yes" if action == "retry" else True,
            ["cancel", "delete"],
        ),
    ],
)
def test_a_hook_decides_and_only_true_is_yes(world: World, hook: Any, allowed: list[str]) -> None:
    browser = page(world, authorize=hook)
    assert browser.get("/api/session").json()["actions"] == allowed
    assert page(world, authorize=lambda request, action: action != "read").get("/api/runs").status_code == 403


@pytest.mark.parametrize("host", ["evil.example.com", "localhost.evil.com:80", "", "[::1", "localhost:80:90"])
def test_a_request_for_another_host_is_refused(world: World, host: str) -> None:
    browser = page(world, hosts=["localhost", "::1"])
    assert browser.get("/api/runs", headers={"Host": host}).json()["error"]["type"] == "WrongHost"
    for ours in ("localhost", "LocalHost:8765", "[::1]:8765", "[::1]"):
        assert browser.get("/api/runs", headers={"Host": ours}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/static/login.js",
        "/api/runs",
        "/api/none",
        "/static/none",
        f"/api/runs/{'0' * 32}",
        "/static/%2e%2e/server.py",
    ],
)
def test_every_answer_says_that_nothing_foreign_is_to_be_loaded(world: World, path: str) -> None:
    headers = page(world).get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] in ("no-store", "no-cache")


def test_an_answer_that_broke_says_so_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagcelery.web.application.Data.runs", lambda *asked: {}["open sesame"])
    answer = page(world).get("/api/runs")
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "InternalError")
    assert "sesame" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    ["..%2fserver.py", "%2e%2e/server.py", "../server.py", "..%5cserver.py", "/etc/passwd", "%00", "login.js%00"],
)
def test_only_the_pages_own_files_are_served(world: World, path: str) -> None:
    answer = page(world).get(f"/static/{path}")
    assert answer.status_code == 404
    assert "import" not in answer.text


def test_a_scraper_shows_the_token_with_each_request_and_may_do_nothing_else_with_it(world: World) -> None:
    shows = {"Authorization": "Bearer what nobody knows"}
    scraper = page(world, token=Token("what nobody knows"))
    assert "dagcelery_up 1.0" in scraper.get("/metrics", headers=shows).text
    assert scraper.get("/api/runs", headers=shows).status_code == 401
    for headers in ({}, {"Authorization": "Bearer something else"}, {"Authorization": "Basic what nobody knows"}):
        assert scraper.get("/metrics", headers=headers).json()["error"]["type"] == "WrongToken"
    once = page(world, token=Token("what nobody knows", single_use=True))
    assert once.get("/metrics", headers=shows).status_code == 401
    assert page(world, authorize=lambda request, action: False).get("/metrics").status_code == 403
    assert page(world).get("/metrics").status_code == 200
