"""Without a signing key only JSON travels, and only functions of modules that DAGCELERY_IMPORTS allows are called."""

from __future__ import annotations

import sys

import pytest
import redis

from dagcelery import AsPickle, dag, task
from dagcelery.client import lifecycle
from dagcelery.errors import BadSignature, CodeUnknown, NotConfigured
from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store

from . import flows
from .worlds import World

HERE = "unit.engine.flows"


@pytest.mark.parametrize("allowed", [HERE, "unit"])
def test_functions_of_allowed_modules_and_packages_run(store: Store, allowed: str) -> None:
    world = World(store, key=None, imports=(allowed,))
    assert world.run(flows.across, n=3) == flows.across(3)


@pytest.mark.parametrize("allowed", [(), ("unit.engine.flow",), ("flows",), ("unit.engine.flows.inner",)])
def test_functions_of_other_modules_are_refused_with_both_remedies(
    store: Store, allowed: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    world = World(store, key=None, imports=allowed)
    run_id = world.submit(flows.echo, x=1)
    world.settle()
    assert "add unit.engine.flows to DAGCELERY_IMPORTS, or set DAGCELERY_SIGNING_KEY" in caplog.text
    assert not world.client.record(run_id).is_over


def test_a_module_that_is_not_allowed_is_not_even_imported(
    store: Store, raw: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(store, key=None, imports=(HERE,))
    run_id = world.submit(flows.echo, x=1)
    plan = raw.hget(Keys().run(run_id, "o", "0"), "plan:0")
    assert HERE.encode() in plan
    raw.hset(Keys().run(run_id, "o", "0"), "plan:0", plan.replace(HERE.encode(), b"antigravity"))
    world.client._views.clear()
    world.client._programs_of.clear()
    world.settle()
    assert "antigravity:echo was named by unsigned data" in caplog.text
    store.machine.end(run_id, "cancelled", "enough")
    with pytest.raises(CodeUnknown, match="module 'antigravity' is neither in DAGCELERY_IMPORTS"):
        lifecycle.resume(world.client, run_id, None, allow_code_change=False)
    assert "antigravity" not in sys.modules


@task(serializer=AsPickle())
def pickled(x: int) -> int:
    return x


@dag(serializer=AsPickle())
def all_pickled(x: int) -> int:
    return flows.echo(x)


@dag
def odd_literal() -> int:
    return flows.echo(complex(1, 2))


@pytest.mark.parametrize("node", [pickled, all_pickled, odd_literal], ids=["a task's", "a DAG's", "a literal's"])
def test_pickle_is_refused_when_the_run_is_submitted(store: Store, raw: redis.Redis, node: object) -> None:
    world = World(store, key=None, imports=(HERE, __name__))
    with pytest.raises(NotConfigured, match="DAGCELERY_SIGNING_KEY"):
        world.submit(node, **({} if node is odd_literal else {"x": 1}))
    assert not raw.keys("*")


def test_a_worker_without_a_key_refuses_a_plan_that_would_have_it_unpickle(
    store: Store, raw: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(store, key=None, imports=(HERE,))
    run_id = world.submit(flows.echo, x=1)
    plan = raw.hget(Keys().run(run_id, "o", "0"), "plan:0")
    assert plan.count(b'"kind":"json"') == 1
    raw.hset(Keys().run(run_id, "o", "0"), "plan:0", plan.replace(b'"kind":"json"', b'"kind":"pickle"'))
    world.settle()
    assert "refused" in caplog.text
    assert world.client.record(run_id).state == "pending"


def test_a_process_with_a_key_refuses_what_nobody_signed(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    unsigned, signing = World(store, key=None, imports=(HERE,)), World(store)
    run_id = unsigned.submit(flows.echo, x=1)
    signing.deliver(unsigned.post.waiting[0])
    assert "they are not signed" in caplog.text
    assert unsigned.client.record(run_id).state == "pending"
    unsigned.settle()
    with pytest.raises(BadSignature, match="they are not signed"):
        signing.result(run_id)
