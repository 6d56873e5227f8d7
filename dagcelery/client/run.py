"""A client knows where runs are submitted to; a `Run` is the handle of one: how far it is, and when it is over.

What begins with an ``a`` does the same without blocking the event loop.
"""

from __future__ import annotations

import asyncio
import math
import re
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from dagcelery.client import events, lifecycle, results
from dagcelery.client.events import RunEvent
from dagcelery.client.lifecycle import Failure
from dagcelery.client.local_runs import InMemoryBroker, LocalRun
from dagcelery.client.results import Causes, RunState, RunStatus
from dagcelery.client.submissions import Submittable, dag_of, deadline_of, fixed, new_run, plan_of, static_of
from dagcelery.client.tree import TreeNode, tree
from dagcelery.engine.pieces import is_executing
from dagcelery.engine.worker_loop import Engine
from dagcelery.errors import BrokerUnavailable, InvalidParameters, KeyReused, NotConfigured, NotSent
from dagcelery.model.options import MOST_SECONDS, is_number
from dagcelery.settings import Settings
from dagcelery.store.protocol import Store
from dagcelery.store.records import NewRun, RunRecord
from dagcelery.text import shown

if TYPE_CHECKING:
    from celery import Celery

    from dagcelery.worker.app_context import AppContext


_PORTION = 200

_SURROGATE = re.compile("[\ud800-\udfff]")


class Watched:
    """The part of a `Run` that changes nothing."""

    id: str

    @property
    def _engine(self) -> Engine:
        raise NotImplementedError

    @property
    def state(self) -> RunState:
        """What the run is at this moment. Raises RunNotFound."""
        return results.state(self._engine.store, self.id)

    def status(self) -> RunStatus:
        """How far every node is: counts, times, queues, and why it waits. Raises RunNotFound."""
        return results.status(self._engine, self.id)

    async def astatus(self) -> RunStatus:
        """`status` without blocking the event loop."""
        return await asyncio.to_thread(self.status)

    def wait(self, timeout: float | None = None) -> RunState:
        """Wait up to `timeout` seconds (None: for ever) until the run is over; answers its state then, over or not.

        Raises RunNotFound.
        """
        _refuse_in_tasks("wait()")
        check_timeout(timeout)
        return RunState(results.wait_for_end(self._engine, self.id, timeout))

    async def await_(self, timeout: float | None = None) -> RunState:
        """`wait` without blocking the event loop."""
        _refuse_in_tasks("await_()")
        check_timeout(timeout)
        return RunState(await results.await_end(self._engine, self.id, timeout))

    def events(self, after: str = "", *, follow: bool = True) -> Iterator[RunEvent]:
        """Yield what has happened since the position `after` ("": all), then what happens, until the run is over.

        With `follow=False` it ends with what has happened so far. Whoever was cut off goes on with
        ``events(after=event.position)``. A piece has one event; of a fan-out each item has its own up to 1,000 items,
        and beyond that each range that was committed together. The newest 10,000 are kept, and an event of kind
        "missed" stands for others. Raises RunNotFound.
        """
        return events.events(self._engine, self.id, after, follow=follow)

    def aevents(self, after: str = "", *, follow: bool = True) -> AsyncGenerator[RunEvent, None]:
        """`events` without blocking the event loop: ``async for event in run.aevents()``."""
        return events.aevents(self._engine, self.id, after, follow=follow)

    def tree(self, items: int = 10, most: int = 1_000) -> TreeNode:
        """The run's nodes as a tree: below one that maps a DAG its items, below these the nodes within, and so on.

        Of each mapped DAG up to `items` items are shown, failed and running ones before others, and in all about `most`
        nodes. Raises RunNotFound.
        """
        for name, number in (("items", items), ("most", most)):
            check_number(name, number)
        return tree(self._engine, self.id, items, most)

    async def atree(self, items: int = 10, most: int = 1_000) -> TreeNode:
        """`tree` without blocking the event loop."""
        return await asyncio.to_thread(self.tree, items, most)

    def errors(self) -> list[Failure]:
        """Every attempt that failed, with its remote traceback, repeated ones too. Raises RunNotFound."""
        return list(lifecycle.errors(self._engine, self.id))

    async def aerrors(self) -> list[Failure]:
        """`errors` without blocking the event loop."""
        return await asyncio.to_thread(self.errors)

    def _result(self, timeout: float | None) -> Any:
        _refuse_in_tasks("result()")
        check_timeout(timeout)
        return results.wait(self._engine, self.id, timeout)

    async def _aresult(self, timeout: float | None) -> Any:
        _refuse_in_tasks("aresult()")
        check_timeout(timeout)
        state = RunState(await results.await_end(self._engine, self.id, timeout))
        return await asyncio.to_thread(results.outcome, self._engine, self.id, state, timeout)


def _refuse_in_tasks(verb: str) -> None:
    if is_executing():
        raise NotConfigured(
            f"{verb} was called inside a task",
            "a task that waits for a run blocks the process that could execute it; take the output as an argument",
        )


def check_timeout(timeout: object) -> None:
    """Refuse what is no time to wait for."""
    if timeout is not None and not (is_number(timeout) and 0 <= timeout <= math.inf):
        raise InvalidParameters(f"timeout={shown(timeout)}", "is not a time", "give seconds, or None to wait for ever")


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a list of runs: what it is and when it was what, in seconds since the epoch, 0: not yet."""

    id: str
    name: str
    state: RunState
    created: float
    started: float
    ended: float
    run: Run[Any]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        names = ("id", "name", "created", "started", "ended")
        return {name: getattr(self, name) for name in names} | {"state": str(self.state)}


def check_text(culprit: str, text: object, right: str) -> None:
    """Refuse what is no text, or what the store could not hold: a lone surrogate, such as a shell's byte that is no
    UTF-8.
    """
    if not isinstance(text, str):
        raise InvalidParameters(culprit, "is not a str", right)
    if not text.isascii() and _SURROGATE.search(text):
        raise InvalidParameters(culprit, "has a lone surrogate, which UTF-8 cannot hold", right)


def check_number(name: str, number: object) -> None:
    """Refuse what does not say how many to show."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InvalidParameters(f"{name}={shown(number)}", "does not say how many", "give an int, at least 1")


def check_listing(state: object, limit: object) -> RunState | None:
    """Refuse a state that there is not, and a limit that is no number."""
    check_number("limit", limit)
    if state is None:
        return None
    if isinstance(state, str) and state in set(RunState):
        return RunState(state)
    raise InvalidParameters(f"state={shown(state)}", "is not a state of a run", f"give one of {', '.join(RunState)}")


def listed(store: Store, name: str, state: RunState | None, limit: int) -> Iterator[RunRecord]:
    """Yield up to `limit` runs of a DAG ("": of all) that are in this state, if one is given, newest first."""
    before, seen = math.inf, set[str]()
    while limit:
        found = store.fleet.runs(name, before, _PORTION)
        new = [run for run in found if run.id not in seen]
        for run in new:
            if run.record is not None and state in (None, run.record.state) and limit:
                limit -= 1
                yield run.record
        if not new:
            return
        # What was enrolled at the very same moment may be on both sides of the border.
        before = found[-1].created
        seen = {run.id for run in found if run.created == before}


def summary(record: RunRecord, client: Client) -> RunSummary:
    """A run as lists show it."""

    run: Run[Any] = Run(record.id, client=client)
    state = RunState(record.state)
    return RunSummary(record.id, record.name, state, record.created, record.started, record.ended, run)


R_co = TypeVar("R_co", covariant=True)

_UNSENT = "its first message could not be sent"
"""Why a run was cancelled that gives way to the next one with its key."""


class Run(Watched, Generic[R_co]):
    """One execution of a DAG. ``Run(id)`` finds it again from any process, and does no I/O until it is asked.

    It may be pickled, and be a parameter: what travels is its id. Where it arrives it belongs to the default client of
    that process, whichever client it was made with, since a client holds connections and keys of its own process.
    """

    def __init__(self, run_id: str, *, client: Client | None = None, _engine: Engine | None = None) -> None:
        check_text(f"run id {shown(run_id)}", run_id, "give the id of a run as submit(...).id has it")
        self.id = run_id
        self._client = client
        self._engine_used = _engine

    @property
    def _engine(self) -> Engine:
        if self._engine_used is None:
            self._engine_used = (self._client or default_client()).engine
        return self._engine_used

    def result(self, timeout: float | None = None) -> R_co:
        """Wait up to `timeout` seconds (None: for ever) for the run's end, and return what the DAG returns.

        Raises NodeFailed, RunCancelled, RunTimedOut if it ended so; ResultTimeout if it did not end; RunNotFound.
        """
        return cast(R_co, self._result(timeout))

    async def aresult(self, timeout: float | None = None) -> R_co:
        """`result` without blocking the event loop."""
        return cast(R_co, await self._aresult(timeout))

    def cancel(self, reason: str = "", *, terminate: bool = False) -> RunState:
        """End the run: pieces not started never start, live ones may still commit. A run that is over stays so.

        `terminate` ends the processes that work on it too, with SIGTERM. Raises RunNotFound, InvalidParameters.
        """
        check_text(f"reason={shown(reason)}", reason, "give a sentence, which is shown to those who wait for the run")
        return RunState(lifecycle.cancel(self._engine, self.id, reason, terminate=terminate))

    async def acancel(self, reason: str = "", *, terminate: bool = False) -> RunState:
        """`cancel` without blocking the event loop."""
        return await asyncio.to_thread(self.cancel, reason, terminate=terminate)

    def resume(self, *, deadline: float | None = None, allow_code_change: bool = False) -> Self:
        """Let a run that failed, was cancelled or timed out go on: only what failed or is missing is executed.

        Everything has its full budget of attempts again, and the run as long as at first, or `deadline` seconds from
        now. Raises RunNotFound, NotResumable, and CodeMismatch where a function was changed meanwhile, or cannot be
        looked at here (CodeUnknown), unless that is allowed (or DAGCELERY_CODE_MISMATCH is "ignore").
        """
        _check_deadline(deadline)
        lifecycle.resume(self._engine, self.id, deadline, allow_code_change=allow_code_change)
        _deliver(self._engine)
        return self

    async def aresume(self, *, deadline: float | None = None, allow_code_change: bool = False) -> Self:
        """`resume` without blocking the event loop."""
        return await asyncio.to_thread(self.resume, deadline=deadline, allow_code_change=allow_code_change)

    def retry_from(self, node: str, *, deadline: float | None = None, allow_code_change: bool = False) -> Self:
        """Execute a node of a run that is over again, and all that depends on it; everything else stays done.

        `node` is a name as `status()` shows it, of a node that is not inside of a mapped DAG. A run that is done may
        be taken back too. Raises as `resume` does, and InvalidParameters if there is no such node.
        """
        _check_deadline(deadline)
        lifecycle.retry_from(self._engine, self.id, node, deadline, allow_code_change=allow_code_change)
        _deliver(self._engine)
        return self

    def delete(self) -> None:
        """Forget everything of this run, its files too; whoever waits for it is told that there is no such run.

        Raises SpillUnavailable where files cannot be removed: the run is gone, and a sweep removes them later.
        """
        self._engine.delete(self.id)

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def __reduce__(self) -> tuple[type[Run[Any]], tuple[str]]:
        return Run, (self.id,)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        # In this process the handle is as good, and an eager run is nowhere else.
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


@dataclass
class Client:
    """Where runs are submitted to: settings, and a Celery app that carries the messages."""

    settings: Settings
    app: Celery | None = None
    _app_context: AppContext | None = field(default=None, repr=False)

    @property
    def app_context(self) -> AppContext:
        """Our tasks on the app, made with the first use: until then neither Celery nor Redis is imported."""
        if self._app_context is None:
            from dagcelery.worker.app import make_app
            from dagcelery.worker.app_context import app_context_of

            self.app = self.app or make_app(self.settings)
            self._app_context = app_context_of(self.app)
        return self._app_context

    @property
    def engine(self) -> Engine:
        """The engine of this process."""
        return self.app_context.engine

    @property
    def store(self) -> Store:
        """The store of this client's runs."""
        return self.app_context.store

    def submit(
        self,
        node: Submittable,
        params: Mapping[str, object] | None = None,
        *,
        key: str | None = None,
        deadline: float | None = None,
    ) -> Run[Any]:
        """Remember a run, send its first messages, and return at once; with a `key` that is known, its run."""
        _check_key(key)
        _check_deadline(deadline)
        params = {} if params is None else params
        static, (node, params) = static_of(node, params), fixed(node, params)
        app = self.app_context.app
        if app.conf.task_always_eager:
            return self._eager(node, params, propagate=bool(app.conf.task_eager_propagates))
        engine = self.engine
        engine.store.ping()
        dag = dag_of(node)  # once: it may have to be read for that
        plan = plan_of(dag, queue=self.settings.queue or app.conf.task_default_queue, settings=self.settings)
        seconds = deadline_of(dag) if deadline is None else deadline
        run = new_run(engine, plan, params, self.settings, deadline=seconds, key=key, static=static)
        reply = engine.store.machine.create(run)
        if key is not None:
            return Run(self._first(run, key), client=self)
        if run.held:
            self._start(run.id, engine.try_start)
        else:
            self._start(run.id, lambda run_id: engine.sender.start(engine.view(run_id), reply.opened, is_new=True))
        return Run(run.id, client=self)

    def runs(self, dag: Submittable | str | None = None, state: str | None = None, limit: int = 20) -> list[RunSummary]:
        """The newest runs, of one DAG or in one state if that is asked for; see `dagcelery.runs`."""
        wanted = check_listing(state, limit)
        if isinstance(dag, str):
            check_text(f"dag={shown(dag)}", dag, "give a DAG, or its name such as 'pkg.mod:name'")
        name = "" if dag is None else dag if isinstance(dag, str) else plan_of(dag, settings=self.settings).name
        return [summary(record, self) for record in listed(self.store, name, wanted, limit)]

    def _first(self, run: NewRun, key: str) -> str:
        """Reserve the key for a run that is there, but held; of several submitters one wins, and all get its run.

        Whoever dies before the run is admitted leaves it to the next submitter, or to a sweep, which ends it.
        """
        store, winner = self.engine.store, self._reserved(run)
        if winner != run.id:
            self.engine.delete(run.id)
        found = store.reader.record(winner)
        if found is not None and found.fingerprint and run.fingerprint not in ("", found.fingerprint):
            raise KeyReused(key, winner, run.name)
        if found is not None and found.held == "key":
            self._start(winner, self._admitted)
        return winner

    def _admitted(self, run_id: str) -> None:
        """Let a run go on whose key is its own, unless it has to wait for others of its DAG."""
        if not self.engine.try_start(run_id):
            self.engine.store.machine.admit(run_id, still="limit")

    def _reserved(self, run: NewRun) -> str:
        store, gone = self.engine.store, ""
        while (winner := store.machine.reserve(run.reservation, run.id, run.ttl_seconds, instead_of=gone)) != run.id:
            if _is_taken(store.reader.record(winner)):
                return winner
            gone = winner
        if gone:
            self.engine.delete(gone)
        return winner

    def _start(self, run_id: str, send: Callable[[str], object]) -> None:
        """Nothing is sent that is not remembered first; what cannot be sent is cancelled."""
        engine = self.engine
        try:
            send(run_id)
        except Exception as error:
            engine.store.machine.end(run_id, "cancelled", f"{_UNSENT}: {error}")
            cancelled = f"run {run_id} was cancelled, because {_UNSENT}"
            if isinstance(error, BrokerUnavailable):
                raise BrokerUnavailable(f"{cancelled}: {error.reason}", error.url) from error
            if isinstance(error, NotSent):
                raise NotSent(f"{cancelled}: {error.problem}", error.remedy) from error
            raise

    def _eager(self, node: Submittable, params: Mapping[str, object], *, propagate: bool) -> Run[Any]:
        engine, run_id, causes = run_here(node, params, self.settings)
        run: Run[Any] = Run(run_id, client=self, _engine=engine)
        if propagate and causes.first is not None:
            raise causes.first
        return run


def run_here(node: Submittable, params: Mapping[str, object], settings: Settings) -> tuple[Engine, str, Causes]:
    """Run to the end on a store in memory."""
    node, params = fixed(node, params)
    local_run = LocalRun(node, settings)
    local_run.run(params)
    return local_run.engine, local_run.run_id, local_run.causes


def _deliver(engine: Engine) -> None:
    """An eager run has nobody else who would work on what was sent."""
    if isinstance(engine.sender, InMemoryBroker):
        engine.sender.deliver(engine)


def _is_taken(found: RunRecord | None) -> bool:
    """Whether the run of a key stands for it: not if it was deleted, has expired, or the broker never heard of it."""
    return found is not None and not (found.state == "cancelled" and found.reason.startswith(_UNSENT))


def _check_key(key: object) -> None:
    if key is not None and (not isinstance(key, str) or not key):
        raise InvalidParameters(f"key={shown(key)}", "is not a non-empty str", "give a str such as 'order-42'")


def _check_deadline(deadline: object) -> None:
    if deadline is not None and not (is_number(deadline) and 0 < deadline <= MOST_SECONDS):
        raise InvalidParameters(f"deadline={shown(deadline)}", "is not a time", f"give seconds, up to {MOST_SECONDS:,}")


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
                    "set DAGCELERY_BROKER_URL and DAGCELERY_STORE_URL; or call dagcelery.attach(app) on your Celery "
                    "app, and name it on the command line, as in dagcelery -A shop list; or try `dagcelery dev` on "
                    "this machine",
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
    from dagcelery.worker import app as celery_side

    client = Client(celery_side.settings_of(app, store_url=store_url, signing_key=signing_key), app)
    celery_side.register(app, client.settings)
    set_default(client)
    return client
