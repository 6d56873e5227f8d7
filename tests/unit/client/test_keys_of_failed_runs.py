"""What a key gives whose run failed: that run, that run resumed, or a new one; once, whichever submitter dies."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from dagcelery import Run, asubmit, dag, task
from dagcelery.client import Client
from dagcelery.errors import InvalidParameters, KeyReused, StoreFull, StoreUnavailable
from dagcelery.local import Server
from dagcelery.model.options import IfFailed
from dagcelery.settings import Settings
from dagcelery.store.redis import RedisServer


@task
def square(x: int) -> int:
    return x * x


@dag
def squares(n: int) -> list[int]:
    return [square(n), square(n)]


@pytest.fixture
def client(server: Server) -> Client:
    return Client(Settings(broker_url="memory://", store_url=server.url, signing_key="a key of this test"))


@pytest.fixture
def cancelled(client: Client) -> Run[Any]:
    """A run with the key "k" that was cancelled."""
    run = client.submit(squares, {"n": 1}, key="k")
    run.cancel("enough")
    return run


def epoch(run: Run[Any]) -> int:
    return run._control.record(run.id).epoch


def test_a_failed_run_is_returned_as_it_is_unless_something_else_is_asked_for(
    client: Client, cancelled: Run[Any]
) -> None:
    assert client.submit(squares, {"n": 1}, key="k") == cancelled
    assert cancelled.state == "cancelled"


def test_a_failed_run_may_be_resumed_by_its_key_from_then_on_it_is_as_any_other(
    client: Client, cancelled: Run[Any]
) -> None:
    runs = [squares.options(key="k", if_failed="resume", client=client).submit(n=1) for _ in range(2)]
    assert runs == [cancelled, cancelled]
    assert (cancelled.state, epoch(cancelled)) == ("running", 2)


def test_a_failed_run_may_give_its_key_to_a_new_one_and_is_kept_itself(client: Client, cancelled: Run[Any]) -> None:
    runs = [client.submit(squares, {"n": n}, key="k", if_failed="new") for n in (2, 2)]
    assert runs[0] == runs[1] != cancelled
    assert (runs[0].state, cancelled.state) == ("pending", "cancelled")
    assert client.submit(squares, {"n": 2}, key="k") == runs[0]
    with pytest.raises(KeyReused):
        client.submit(squares, {"n": 1}, key="k", if_failed="new")
    cancelled.resume()
    assert client.submit(squares, {"n": 2}, key="k") == runs[0], "the old run does not take its key back"


def test_a_run_whose_submitter_went_away_before_it_began_leaves_its_key_to_the_next(client: Client) -> None:
    first = client.submit(squares, {"n": 1}, key="k")
    first.cancel("its submitter went away before it could start")
    assert client.submit(squares, {"n": 1}, key="k") != first


@pytest.mark.parametrize("if_failed", ["resume", "new"])
def test_of_many_that_submit_at_once_all_get_one_run_that_goes_on_once(
    client: Client, cancelled: Run[Any], if_failed: IfFailed
) -> None:
    barrier = threading.Barrier(6)

    def submit(_: int) -> Run[Any]:
        barrier.wait()
        return client.submit(squares, {"n": 1}, key="k", if_failed=if_failed)

    with ThreadPoolExecutor(6) as pool:
        (run,) = set(pool.map(submit, range(6)))
    assert (run == cancelled, epoch(run)) == ((True, 2) if if_failed == "resume" else (False, 1))
    assert {each.id for each in client.runs()} == {run.id, cancelled.id}, "those that lost are deleted"


@pytest.mark.parametrize("if_failed", ["resume", "new"])
@pytest.mark.parametrize("is_lost_before", [True, False])
def test_a_submitter_that_dies_anywhere_leaves_a_key_that_the_next_one_can_use(
    client: Client, if_failed: IfFailed, is_lost_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = RedisServer.run, [0]

    def dying(self: RedisServer, *arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and is_lost_before:
            raise StoreUnavailable("gone")
        answer = real(self, *arguments)
        if left[0] == 0:
            raise StoreUnavailable("gone")
        return answer

    def submitted(key: str) -> Run[Any]:
        return client.submit(squares, {"n": 1}, key=key, if_failed=if_failed)

    for at in range(1, 100):
        failed = client.submit(squares, {"n": 1}, key=f"k{at}")
        failed.cancel("enough")
        with monkeypatch.context() as patched:
            patched.setattr(RedisServer, "run", dying)
            left[0] = at
            is_through = left[0] > 0 and _survives(lambda key=f"k{at}": submitted(key))  # type: ignore[misc]
        run = submitted(f"k{at}")
        assert run.state in {"pending", "running"}, f"call {at}"
        assert run._control.record(run.id).held == ""
        assert (run == failed, epoch(run)) == ((True, 2) if if_failed == "resume" else (False, 1))
        if is_through and left[0] > 0:
            return
    raise AssertionError("it never came to its end")


def test_a_submission_that_a_full_store_refuses_midway_leaves_nothing_behind(
    client: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RedisServer.run
    with redis.Redis.from_url(server.url) as raw:
        for refused in ("create", "reserve"):

            def run(self: RedisServer, verb: str, *arguments: Any, refused: str = refused) -> Any:
                if verb == refused:
                    raise StoreFull("used memory > 'maxmemory'")
                return real(self, verb, *arguments)

            with monkeypatch.context() as patched:
                patched.setattr(RedisServer, "run", run)
                patched.setattr(RedisServer, "run_together", lambda self, calls: [self.run(*call) for call in calls])
                with pytest.raises(StoreFull):
                    client.submit(squares, {"n": 1}, key="k")
            assert list(raw.scan_iter("dagcelery:{*")) == []
            assert client.runs() == []


def _survives(submit: Callable[[], object]) -> bool:
    try:
        submit()
    except StoreUnavailable:
        return False
    return True


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"key": "k", "if_failed": "renew"}, "does not say what a key gives"), ({"if_failed": "new"}, "without a key")],
)
def test_what_if_failed_cannot_mean_is_refused(client: Client, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidParameters, match=problem):
        asyncio.run(asubmit(squares, {"n": 1}, client=client, **options))
