"""JSON that is nested as deeply as nobody writes it is refused in a sentence, wherever it comes in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from dagcelery import errors, invoke, task
from dagcelery.cli import dag as program
from dagcelery.client import set_default
from dagcelery.client.run import Client
from dagcelery.local import Server
from dagcelery.planner.encoding import decode_plan
from dagcelery.settings import Settings
from dagcelery.store.keys import Keys

DEPTHS = [1_000, 100_000]


@task
def echo(x: object) -> object:
    return x


@task
def deep(depth: int) -> object:
    return nested(depth)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_parameter_is_refused_before_anything_runs(depth: int) -> None:
    with pytest.raises(errors.SerializationError, match=r"parameter 'x'.* is nested too deeply for JSON"):
        invoke(echo, {"x": nested(depth)})


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_result_fails_its_node(depth: int) -> None:
    with pytest.raises(errors.NodeFailed, match="is nested too deeply for JSON"):
        invoke(deep, {"depth": depth})


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("way", ["an option", "a file"])
def test_the_command_line_refuses_it(way: str, depth: int, tmp_path: Path) -> None:
    text = "[" * depth + "]" * depth
    (tmp_path / "params.json").write_text(f'{{"n": {text}}}')
    given = ["-p", f"n={text}"] if way == "an option" else ["--params", str(tmp_path / "params.json")]
    told = CliRunner().invoke(program, ["invoke", "unit.cli.targets:squares", *given])
    assert told.exit_code in (1, 2)
    assert isinstance(told.exception, SystemExit)
    assert "JSON" in told.stderr


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client without a key, whose store somebody else may write to."""
    made = Client(Settings(broker_url=server.url, store_url=server.url, imports=(__name__,)))
    replaced = set_default(made)
    yield made
    set_default(replaced)


@pytest.fixture
def raw(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as connection:
        yield connection


def body_of(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_value_that_somebody_put_into_an_unsigned_store_fails_its_reader(
    depth: int, client: Client, raw: redis.Redis
) -> None:
    run = client.submit(echo, {"x": 1})
    values = Keys().run(run.id, "o", "0")
    stored = raw.hget(values, "$x")
    assert stored.endswith(b"1")
    raw.hset(values, "$x", stored[:-1] + body_of(depth))
    client.app_context.engine.work(run.id, "celery")
    with pytest.raises(errors.NodeFailed, match=r"is not JSON|is nested too deeply"):
        run.result(timeout=0)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_plan_that_somebody_put_into_an_unsigned_store_is_refused(
    depth: int, client: Client, raw: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    run = client.submit(echo, {"x": 1})
    stored = raw.hget(Keys().run(run.id, "o", "0"), "plan:0")
    raw.hset(Keys().run(run.id, "o", "0"), "plan:0", stored[: stored.index(b"{")] + body_of(depth))
    client.app_context.engine._views.clear()
    client.app_context.engine.work(run.id, "celery")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "was refused: the plan in the store: was not written by dagcelery" in caplog.text
    assert client.control.record(run.id).state == "pending"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"null", b"[]", b'{"version": 2}', b'{"version": "x"}', b'{"version": 2, "bodies": 3}', b"\xff"]
)
def test_what_is_no_plan_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(errors.DeserializationError, match="was not written by dagcelery"):
        decode_plan(data)


@pytest.mark.parametrize("text", ['{"dagcelery.value":["date","2024-01-01"]}', '{"__type__":"date","__value__":"x"}'])
def test_the_command_line_takes_plain_json_and_nothing_else(text: str) -> None:
    done = CliRunner().invoke(program, ["invoke", f"{__name__}:echo", "-p", f"x={text}"])
    assert (done.exit_code, done.output) == (0, text.replace(":", ": ").replace(",", ", ") + "\n")
