"""What users call: `submit`, `runs` and their twins; and `invoke`, which runs the workers' engine on the store in
memory, so that it differs in speed, not in meaning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from dagcelery.client import results
from dagcelery.client.files import Outputs, invoke_for
from dagcelery.client.run import Client, Run, RunSummary, default_client, run_here
from dagcelery.client.submissions import Submittable
from dagcelery.errors import InvalidParameters, NotConfigured
from dagcelery.payload import functions
from dagcelery.settings import Settings
from dagcelery.store.cache import OF_THIS_PROCESS
from dagcelery.text import shown
from dagcelery.tracebacks import Shortened, shortened


@shortened
def submit(
    node: Submittable,
    params: Mapping[str, object] | None = None,
    *,
    key: str | None = None,
    deadline: float | None = None,
    client: Client | None = None,
) -> Run[Any]:
    """Submit a DAG, a task, or ``"module:name"`` of one. Returns at once; the run is remembered when it does.

    With a `key`, submitting again gives the run that this DAG's name and key have, also from another process. After
    `deadline` seconds a run that is not over ends as timed out.

    Raises InvalidDag, InvalidParameters, SerializationError before anything is written; KeyReused where a key stands
    for other parameters; StoreUnavailable; BrokerUnavailable, or NotSent where the broker is not to blame, after the
    run that could not be started was cancelled. After these, submitting again with the same key starts a run unless one
    was started.
    """
    return _client(client).submit(node, params, key=key, deadline=deadline)


async def asubmit(
    node: Submittable,
    params: Mapping[str, object] | None = None,
    *,
    key: str | None = None,
    deadline: float | None = None,
    client: Client | None = None,
) -> Run[Any]:
    """`submit` without blocking the event loop."""
    with Shortened():
        return await asyncio.to_thread(submit, node, params, key=key, deadline=deadline, client=client)


@shortened
def invoke(node: Submittable, params: Mapping[str, object] | None = None, outputs: Outputs | None = None) -> Any:
    """Run a DAG or a task in this process, without Celery and Redis, and return its value.

    With `outputs` it returns a mapping of outputs by name instead: to values, or to files that it writes.

    Raises what `submit` raises before it writes, NodeFailed with the original error as its cause, and InvalidLocation.
    """
    if outputs is not None:
        return invoke_for(node, {} if params is None else params, outputs, Settings.from_environment())
    engine, run_id, causes = run_here(node, {} if params is None else params, Settings.from_environment())
    return results.wait(engine, run_id, 0, causes)


def forget(task: Callable[..., Any] | str, *, client: Client | None = None) -> int:
    """Drop the results of a task, or of ``"module:name"``, that its `cache=` has kept; answers how many there were.

    Those in the client's store are dropped, by default in that of the default client if there is one, and those that
    `invoke` has kept in this process. Raises InvalidParameters, StoreUnavailable.
    """
    if isinstance(task, str) and ":" in task:
        name = task
    elif callable(task):
        found = functions.describe(getattr(task, "fn", task))
        name = f"{found['module']}:{found['qualname']}"
    else:
        raise InvalidParameters(f"task={shown(task)}", "is not a task", "give one, or its name as 'module:name'")
    try:
        at = _client(client)
    except NotConfigured:
        return OF_THIS_PROCESS.delete(name)
    is_eager = at.app_context.app.conf.task_always_eager
    return OF_THIS_PROCESS.delete(name) + (0 if is_eager else at.store.fleet.cache.delete(name))


def runs(
    dag: Submittable | str | None = None,
    *,
    state: str | None = None,
    limit: int = 20,
    client: Client | None = None,
) -> list[RunSummary]:
    """The newest runs that are still remembered, newest first: at most `limit`, of one `dag`, in one `state`.

    `dag` is a DAG or its name. Looking for a state reads the records of newer runs too; no other keys are looked at.
    The newest 100,000 runs are listed. Raises InvalidParameters.
    """
    return _client(client).runs(dag, state, limit)


async def aruns(
    dag: Submittable | str | None = None,
    *,
    state: str | None = None,
    limit: int = 20,
    client: Client | None = None,
) -> list[RunSummary]:
    """`runs` without blocking the event loop."""
    return await asyncio.to_thread(runs, dag, state=state, limit=limit, client=client)


def _client(client: Client | None) -> Client:
    if client is not None and not isinstance(client, Client):
        raise InvalidParameters(f"client={shown(client)}", "is not a Client", "give what attach(app) returned")
    return client or default_client()
