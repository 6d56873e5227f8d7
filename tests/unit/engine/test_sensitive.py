"""What is sensitive is shown nowhere: neither as a parameter of a run, nor in the error of a task that gets it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from dagcelery import DAG, FromParam, FromReturnValue, Retry, Task, dag, errors, invoke, task, when
from dagcelery.client import Run
from dagcelery.client.following import errors as errors_of
from dagcelery.client.status import run_status
from dagcelery.engine.hooks import Notice
from dagcelery.model import DagOptions, TaskOptions
from dagcelery.testing.lending import eager_client
from dagcelery.worker.signals import Announcer

from .worlds import World, celery_app

SECRET = "hunter2-and-more"
NOTICES: list[Notice] = []


@dataclass
class Login:
    user: str
    password: str


def noted(notice: Notice) -> None:
    NOTICES.append(notice)


@task(sensitive="token", retry=Retry(2, wait=0), on_failure=noted, on_retry=noted)
def fetch(url: str, token: str) -> str:
    try:
        return {"": ""}[token]
    except KeyError as error:
        raise ValueError(f"{url} refuses {token!r}") from error


@task(sensitive=True)
def login(who: Any) -> str:
    raise ValueError(f"{who} is unknown")


@task(sensitive=("logins", "pin"))
def part(logins: list[Login], pin: int) -> str:
    raise ValueError(logins[0].password, pin, 12345)


@task
def plain(text: str) -> str:
    raise ValueError(f"not {text}")


def fails(node: Any, **params: Any) -> tuple[str, str, Run[Any]]:
    """The message of the error that a run ends with, everything that its texts say, and the run."""
    run = eager_client().submit(node, params)
    with pytest.raises(errors.NodeFailed) as failed:
        run.result()
    chain = "".join(filter(None, (str(failed.value), failed.value.traceback, str(failed.value.__cause__))))
    return failed.value.message, f"{chain}{run.status()}{run.status().to_dict()}{run.errors()}{run.params!r}", run


def test_named_parameters_are_masked_and_the_rest_of_the_error_stays() -> None:
    message, texts, run = fails(fetch, url="https://a", token=SECRET)
    assert message == "https://a refuses '***'"
    assert SECRET not in texts
    assert "KeyError: '***'" in texts
    assert 'raise ValueError(f"{url} refuses {token!r}") from error' in texts
    assert run.status().params == {"url": "'https://a'", "token": "***"}
    assert run.params == {"url": "https://a", "token": SECRET}


def test_a_task_that_is_sensitive_as_a_whole_shows_type_and_place_only() -> None:
    message, texts, run = fails(login, who=SECRET)
    assert message == "(not shown, since its task is sensitive)"
    assert SECRET not in texts
    assert "ValueError" in texts
    assert 'raise ValueError(f"{who} is unknown")' in texts
    assert run.status().params == {"who": "***"}


def test_values_within_others_are_masked_and_short_ones_as_whole_words() -> None:
    assert fails(part, logins=[Login("me", SECRET)], pin=12)[0] == "('***', ***, 12345)"


@dag(sensitive="secret", static="folds")
def outer(url: str, secret: str, folds: int = 3) -> Any:
    return [inner(url, secret) for _ in range(folds)]


@dag
def inner(url: str, password: str) -> Any:
    return when(url, then=lambda: plain(password), otherwise=lambda: plain(url))


@task
def send(text: str) -> str:
    raise ValueError("cannot send " + text)


@task(sensitive="token")
def check(token: str) -> str:
    return "ok"


@task(sensitive="token")
def sign_in(token: str = SECRET) -> str:
    raise ValueError("cannot sign in with " + token)


@task(sensitive="token", dynamic=True)
def grow(token: str) -> Any:
    return send(token)


@task(sensitive="token", dynamic=True)
def grow_deeper(token: str) -> Any:
    return [regrow(f"Bearer {token}"), both(token)]


@task(dynamic=True)
def regrow(text: str) -> Any:
    return send(text.upper().lower())


@dag
def siblings(token: str) -> Any:
    return [check(token), send(token)]


@dag
def siblings_within(text: str) -> Any:
    return [checked(text), send(text)]


@dag
def checked(token: str) -> Any:
    return check(token)


@dag
def literal_within() -> Any:
    return siblings(SECRET)


@dag
def each_of(tokens: list[str]) -> Any:
    return [siblings(token) for token in tokens]


@dag
def both(text: str) -> Any:
    return [check(text), send(text)]


@dag
def by_default() -> Any:
    return sign_in()


@dag(sensitive="token")
def growing(token: str) -> Any:
    return grow(token)


@dag
def growing_deeper(text: str) -> Any:
    return grow_deeper(text)


@pytest.mark.parametrize(
    ("node", "params"),
    [
        (siblings, {"token": SECRET}),
        (siblings_within, {"text": SECRET}),
        (each_of, {"tokens": [SECRET]}),
        (literal_within, {}),
        (by_default, {}),
        (sign_in, {}),
        (growing, {"token": SECRET}),
        (growing_deeper, {"text": SECRET}),
    ],
)
def test_it_covers_defaults_and_all_that_share_a_parameter_or_are_called_with_it(
    node: Any, params: dict[str, Any]
) -> None:
    _, texts, run = fails(node, **params)
    assert SECRET not in texts + run.status()._repr_html_()
    assert "cannot " in texts
    assert set(run.status().params.values()) <= {"***"}


@pytest.mark.parametrize("sensitive", ["folds", ("secret", "folds"), True])
def test_a_static_parameter_cannot_be_sensitive(sensitive: Any) -> None:
    def split(secret: str, folds: int) -> list[str]:
        return [plain(secret) for _ in range(folds)]

    with pytest.raises(errors.InvalidDag, match=r"'folds' of DAG .*static and sensitive"):
        dag(sensitive=sensitive, static="folds")(split)


@dag(sensitive=True)
def mapped(secrets: list[str]) -> Any:
    return [inner(secret, secret) for secret in secrets]


@dag
def passed_on(url: str, key: str) -> Any:
    return fetch(url, key)


@pytest.mark.parametrize(
    ("node", "params", "shown"),
    [
        (outer, {"url": "u", "secret": SECRET, "folds": 2}, {"folds": "2", "url": "'u'", "secret": "***"}),
        (mapped, {"secrets": [SECRET]}, {"secrets": "***"}),
        (passed_on, {"url": "u", "key": SECRET}, {"url": "'u'", "key": "***"}),
    ],
)
def test_it_stays_so_where_it_is_passed_on(node: Any, params: dict[str, Any], shown: dict[str, str]) -> None:
    _, texts, run = fails(node, **params)
    assert SECRET not in texts
    assert run.status().params == shown


def test_workers_log_and_tell_hooks_and_signals_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    NOTICES.clear()
    caplog.set_level(logging.DEBUG)
    world = World(listener=Announcer(celery_app()))
    for node in (fetch, login):
        run_id = world.ended(node, **{"url": "u", "token": SECRET} if node is fetch else {"who": SECRET})
        with pytest.raises(errors.NodeFailed):
            world.result(run_id)
        assert SECRET not in str(errors_of(world.client, run_id)) + str(run_status(world.client, run_id))
    assert SECRET not in caplog.text
    assert "raise ValueError" in caplog.text
    assert [(notice.state, notice.error) for notice in NOTICES] == [
        ("retried", "ValueError: u refuses '***'"),
        ("failed", "ValueError: u refuses '***'"),
    ]


def test_a_parameter_that_cannot_be_written_is_not_shown_either() -> None:
    with pytest.raises(errors.SerializationError, match="parameter 'who': cannot be serialized") as refused:
        invoke(login, {"who": {SECRET: object(), 1: 2}})
    assert SECRET not in str(refused.value)


def test_a_literal_is_not_in_the_repr_of_its_task() -> None:
    @dag
    def literal() -> str:
        return fetch("u", SECRET)

    assert SECRET not in repr(literal.__dag__().nodes["fetch"])


@pytest.mark.parametrize("text", ["tokne", ("url", "tokne")])
def test_unknown_names_are_refused(text: Any) -> None:
    def call(url: str, token: str) -> str:
        return url

    returned = {"return_value": FromReturnValue()}
    inputs = {"url": FromParam(), "token": FromParam()}
    made = [
        lambda: task(sensitive=text)(call),
        lambda: dag(sensitive=text)(call),
        lambda: Task(call, inputs, returned, options=TaskOptions(sensitive=text)),
        lambda: DAG({"call": Task(call, inputs, returned)}, inputs, options=DagOptions(sensitive=text)),
    ]
    for make in made:
        with pytest.raises(errors.InvalidDag, match=r"sensitive='tokne' of .*did you mean 'token'"):
            make()
