"""Submit a DAG and hold a Run; or invoke it right here.

`invoke` and eager mode run the engine of the workers on the store in memory, so they differ in speed, not in meaning.
"""

from __future__ import annotations

import asyncio
import importlib
import secrets
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from dagcelery.errors import (
    BrokerUnavailable,
    InvalidDag,
    InvalidDagType,
    InvalidParameters,
    NotConfigured,
    RunNotFound,
)
from dagcelery.model import DAG, Buildable, Task
from dagcelery.payload import addresses, values
from dagcelery.payload.signing import Keyring
from dagcelery.planner.build import plan as make_plan
from dagcelery.planner.plan import Plan
from dagcelery.planner.topology import topology
from dagcelery.runtime import parameters, results
from dagcelery.runtime.eager import Mailbox, patient
from dagcelery.runtime.engine import Engine
from dagcelery.runtime.pieces import is_executing
from dagcelery.runtime.results import Causes, RunState, RunStatus
from dagcelery.settings import Settings, masked
from dagcelery.store.base import NewRun, Store
from dagcelery.store.memory import MemoryStore

if TYPE_CHECKING:
    from celery import Celery

    from dagcelery.runtime.binding import Binding

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Node = Buildable[..., Any] | DAG | Task | str


class Run(Generic[R_co]):
    """One execution of a DAG. ``Run(id)`` finds it again from any process, and does no I/O until it is asked."""

    def __init__(self, run_id: str, *, client: Client | None = None, _engine: Engine | None = None) -> None:
        if not isinstance(run_id, str):
            raise InvalidParameters(f"run id {run_id!r}", "is no text", "give the id of a run as submit(...).id has it")
        self.id = run_id
        self._client = client
        self._engine_used = _engine

    @property
    def _engine(self) -> Engine:
        if self._engine_used is None:
            self._engine_used = (self._client or default_client()).engine
        return self._engine_used

    @property
    def state(self) -> RunState:
        """What the run is at this moment. Raises RunNotFound."""
        return results.state(self._engine.store, self.id)

    def status(self) -> RunStatus:
        """How far every node is: counts, times, queues. Raises RunNotFound."""
        return results.status(self._engine, self.id)

    def result(self, timeout: float | None = None) -> R_co:
        """Wait up to `timeout` seconds (None: for ever) for the run's end, and return what the DAG returns.

        Raises NodeFailed, RunCancelled, RunTimedOut if it ended so; ResultTimeout if it did not end; RunNotFound.
        """
        if is_executing():
            raise NotConfigured(
                "result() was called inside a task",
                "a task that waits for a run blocks the process that could execute it; take the output as an argument",
            )
        return cast(R_co, results.wait(self._engine, self.id, timeout))

    async def aresult(self, timeout: float | None = None) -> R_co:
        """`result` without blocking the event loop."""
        return await asyncio.to_thread(self.result, timeout)

    def cancel(self, reason: str = "") -> RunState:
        """End the run: pieces not started never start, live ones may still commit. A run that is over stays so."""
        found = self._engine.store.end(self.id, "cancelled", reason)
        if found == "gone":
            raise RunNotFound(self.id)
        return RunState(found)

    def delete(self) -> None:
        """Forget everything of this run; whoever waits for it is told that there is no such run."""
        self._engine.store.delete(self.id)

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


@dataclass
class Client:
    """Where runs are submitted to: settings, and a Celery app that carries the messages."""

    settings: Settings
    app: Celery | None = None
    _binding: Binding | None = field(default=None, repr=False)

    @property
    def binding(self) -> Binding:
        """Our tasks on the app, made with the first use: until then neither Celery nor Redis is imported."""
        if self._binding is None:
            from dagcelery.runtime.app import make_app
            from dagcelery.runtime.binding import binding_of

            self.app = self.app or make_app(self.settings)
            self._binding = binding_of(self.app)
        return self._binding

    @property
    def engine(self) -> Engine:
        """The engine of this process."""
        return self.binding.engine

    @property
    def store(self) -> Store:
        """The store of this client's runs."""
        return self.binding.store

    def submit(self, node: Node, params: Mapping[str, object] | None = None, *, key: str | None = None) -> Run[Any]:
        """Remember a run, send its first messages, and return at once; with a `key` that is known, its run."""
        _check_key(key)
        node, params = fixed(node, {} if params is None else params)
        app = self.binding.app
        if app.conf.task_always_eager:
            return self._eager(node, params, propagate=bool(app.conf.task_eager_propagates))
        engine = self.engine
        engine.store.ping()
        plan = plan_of(node, queue=app.conf.task_default_queue, settings=self.settings)
        run = new_run(engine, plan, params, self.settings, deadline=deadline_of(node))
        if key is not None:
            winner = engine.store.reserve(plan.name, key, run.id, self.settings.ttl_seconds)
            if winner != run.id and engine.store.record(winner) is not None:
                return Run(winner, client=self)
            if winner != run.id:  # its submitter has not come further, or never will: create it in its place
                run = new_run(engine, plan, params, self.settings, run_id=winner, deadline=run.deadline_seconds)
        self._start(run)
        return Run(run.id, client=self)

    def _start(self, run: NewRun) -> None:
        """Nothing is sent that is not remembered first; what cannot be sent is cancelled."""
        engine = self.engine
        reply = engine.store.create(run)
        try:
            engine.sender.start(engine.view(run.id), reply.opened)
        except Exception as error:
            engine.store.end(run.id, "cancelled", f"its first message could not be sent: {error}")
            raise BrokerUnavailable(
                f"run {run.id} was cancelled, because its first message could not be sent: {error}",
                masked(self.binding.settings.broker_url),
            ) from error

    def _eager(self, node: Node, params: Mapping[str, object], *, propagate: bool) -> Run[Any]:
        engine, run_id, causes = run_here(node, params, self.settings)
        run: Run[Any] = Run(run_id, client=self, _engine=engine)
        if propagate and causes.first is not None:
            raise causes.first
        return run


# -- which client --------------------------------------------------------------------------------
_lock = threading.Lock()
_default: Client | None = None


def default_client() -> Client:
    """The client that was attached last, else one made from the environment. Raises NotConfigured."""
    global _default
    with _lock:
        if _default is None:
            settings = Settings.from_environment()
            if not settings.broker_url or not settings.store_url:
                raise NotConfigured(
                    "there is no broker and no store",
                    "set DAGCELERY_BROKER_URL and DAGCELERY_STORE_URL, call dagcelery.attach(app) on your Celery app, "
                    "or try `dagcelery dev` on this machine",
                )
            _default = Client(settings)
        return _default


def set_default(client: Client | None) -> Client | None:
    """Make `client` the default; return the one it replaces."""
    global _default
    with _lock:
        replaced, _default = _default, client
        return replaced


def attach(app: Celery, *, store_url: str | None = None, signing_key: str | None = None) -> Client:
    """Put dagcelery's tasks on a team's own Celery app, and make it the default.

    The broker is the app's. The store is `store_url`, DAGCELERY_STORE_URL, the app's Redis result backend or its Redis
    broker, in this order; NotConfigured if none of them is a Redis. No setting of the app is changed.
    """
    from dagcelery.runtime import app as celery_side

    client = Client(celery_side.settings_of(app, store_url=store_url, signing_key=signing_key), app)
    celery_side.register(app, client.settings)
    set_default(client)
    return client


# -- what users call -----------------------------------------------------------------------------
def submit(
    node: Node,
    params: Mapping[str, object] | None = None,
    *,
    key: str | None = None,
    client: Client | None = None,
) -> Run[Any]:
    """Submit a DAG, a task, or ``"module:name"`` of one. Returns at once; the run is remembered when it does.

    With a `key`, submitting again gives the run that this DAG's name and key have, also from another process.

    Raises InvalidDag, InvalidParameters, SerializationError before anything is written; StoreUnavailable;
    BrokerUnavailable, after the run that could not be started was cancelled.
    """
    if client is not None and not isinstance(client, Client):
        raise InvalidParameters(f"client={client!r}", "is no Client", "give what attach(app) returned")
    return (client or default_client()).submit(node, params, key=key)


async def asubmit(
    node: Node,
    params: Mapping[str, object] | None = None,
    *,
    key: str | None = None,
    client: Client | None = None,
) -> Run[Any]:
    """`submit` without blocking the event loop."""
    return await asyncio.to_thread(submit, node, params, key=key, client=client)


def invoke(node: Node, params: Mapping[str, object] | None = None) -> Any:
    """Run a DAG or a task in this process, without Celery and Redis, and return its value.

    Raises what `submit` raises before it writes, and NodeFailed with the original error as its cause.
    """
    engine, run_id, causes = run_here(node, {} if params is None else params, Settings.from_environment())
    return results.wait(engine, run_id, 0, causes)


def run_here(node: Node, params: Mapping[str, object], settings: Settings) -> tuple[Engine, str, Causes]:
    """Run to the end on a store in memory; signed with a key that nobody else knows, so every codec is allowed."""
    mailbox, causes = Mailbox(), Causes()
    keyring = Keyring.parse(secrets.token_hex(16))
    engine = Engine(MemoryStore(), keyring, patient(settings), mailbox, observer=causes)
    node, params = fixed(node, params)
    plan = plan_of(node, queue="celery", settings=settings)
    run_id = uuid.uuid4().hex
    view = engine.adopt(run_id, plan)
    given = parameters.seal(view, params, engine.limits)
    run = NewRun(run_id, plan.name, b"", "", topology(plan), given.values, given.lists, given.all_blocks())
    mailbox.start(view, engine.store.create(run).opened)
    mailbox.deliver(engine)
    return engine, run_id, causes


def new_run(
    engine: Engine,
    plan: Plan,
    params: Mapping[str, object],
    settings: Settings,
    *,
    run_id: str | None = None,
    deadline: float | None = None,
) -> NewRun:
    """A run of a plan with its parameters, all sealed; nothing is written yet."""
    text = plan.encode(signed=engine.keyring.signed)
    run_id = run_id or uuid.uuid4().hex
    view = engine.adopt(run_id, plan)
    given = parameters.seal(view, params, engine.limits)
    return NewRun(
        id=run_id,
        name=plan.name,
        plan=values.seal_bytes(engine.keyring, addresses.plan(run_id), 0, text),
        digest=plan.digest,
        topology=topology(plan),
        values=given.values,
        lists=given.lists,
        blocks=given.all_blocks(),
        ttl_seconds=settings.ttl_seconds,
        deadline_seconds=deadline,
    )


def deadline_of(node: Node) -> float | None:
    """Seconds that a run of this DAG may take, or None."""
    dag = dag_of(node)
    return dag.options.deadline if isinstance(dag, DAG) else None


def fixed(node: Node, params: Mapping[str, object]) -> tuple[Node, Mapping[str, object]]:
    """Tell static parameters, which say what the DAG is, from those of the run."""
    if isinstance(node, type) or not isinstance(params, Mapping):
        return node, params  # which is refused where it is looked at
    names = getattr(node, "static", ())
    static = {name: params[name] for name in names if name in params}
    if not static:
        return node, params
    dag: DAG = node.__dag__(**static)  # type: ignore[union-attr]
    return dag, {name: value for name, value in params.items() if name not in static}


def dag_of(node: Node) -> DAG | Task:
    """The model behind what users hand in: a decorated function, a DAG, a Task, or ``"module:name"``."""
    if isinstance(node, str):
        return dag_of(_found(node))
    if isinstance(node, DAG | Task):
        return node
    if isinstance(node, Buildable) and not isinstance(node, type):
        return node.__dag__()
    raise InvalidDagType(
        f"{node!r}",
        "it is neither a DAG nor a task",
        "decorate the function with @dag or @task, or build a DAG(...)",
    )


def _found(text: str) -> Node:
    """Import what ``"module:name"`` says."""
    module, _, name = text.partition(":")
    if not module.strip(".") or not name:
        raise InvalidDagType(f"'{text}'", "it does not say where the DAG is", "write 'package.module:name'")
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # a module's body raises what it likes
        wrong = f"it cannot be imported here: {type(error).__name__}: {error}"
        raise InvalidDag(f"'{text}'", wrong, "write 'package.module:name' of a DAG on Python's path") from error
    return cast(Node, found)


def _check_key(key: object) -> None:
    if key is not None and (not isinstance(key, str) or not key):
        raise InvalidParameters(f"key={key!r}", "is no word", "give a str such as 'order-42'")


def plan_of(node: Node, *, queue: str = "celery", settings: Settings | None = None) -> Plan:
    """The plan of a DAG; made once for each DAG object."""
    dag, chosen = dag_of(node), settings or Settings()
    terms = (queue, chosen.serializer, chosen.max_nodes)
    known = _plans.get(id(dag))
    if known is None or known[0] is not dag or known[1] != terms:
        made = make_plan(dag, serializer={"k": chosen.serializer}, queue=queue, max_nodes=chosen.max_nodes)
        if len(_plans) >= 128:
            _plans.pop(next(iter(_plans)))
        known = _plans[id(dag)] = (dag, terms, made)
    return known[2]


_plans: dict[int, tuple[DAG | Task, tuple[str, str, int], Plan]] = {}
