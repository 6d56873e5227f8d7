"""A process that submits, watches and ends runs needs no engine: that is for workers."""

from __future__ import annotations

from dagcelery import dag, task
from dagcelery.client import Client
from dagcelery.local import Server
from dagcelery.settings import Settings


@task
def square(x: int) -> int:
    return x * x


@dag(max_active_runs=1)
def squares(n: int) -> list[int]:
    return [square(n), square(n)]


def test_a_submitter_builds_no_engine(server: Server) -> None:
    client = Client(Settings(broker_url="memory://", store_url=server.url, signing_key="a key of this test"))
    run, held = (client.submit(squares, {"n": n}, key=f"key {n}") for n in range(2))
    assert held.status().why == "max_active_runs=1 reached (1 active)"
    assert [node.state for node in run.tree().children] == ["waiting", "waiting"]
    assert [event.kind for event in run.events(follow=False)] == ["created"]
    assert (run.cancel("enough"), run.errors(), run.resume().state) == ("cancelled", [], "running")
    assert {summary.id for summary in client.runs()} == {run.id, held.id}
    run.delete()
    assert client.app_context._engine is None
