"""A client knows where runs are submitted to; a Run is the handle of one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from dagcelery.client.here import Here
from dagcelery.client.submissions import new_run
from dagcelery.client.targets import Node, dag_of, deadline_of, fixed, plan_of, static_of
from dagcelery.client.watching import RunSummary, Watched, check_listing, check_text, listed, summary
from dagcelery.errors import BrokerUnavailable, InvalidParameters, KeyReused, NotConfigured, NotSent
from dagcelery.model.policies import MOST_SECONDS, is_number
from dagcelery.runtime import lifecycle
from dagcelery.runtime.eager import Mailbox
from dagcelery.runtime.engine import Engine
from dagcelery.runtime.results import Causes, RunState
from dagcelery.settings import Settings
from dagcelery.store.protocol import Store
from dagcelery.store.records import NewRun, RunRecord
from dagcelery.text import shown

if TYPE_CHECKING:
    from celery import Celery

    from dagcelery.runtime.binding import Binding

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

    def submit(
        self,
        node: Node,
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
        app = self.binding.app
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

    def runs(self, dag: Node | str | None = None, state: str | None = None, limit: int = 20) -> list[RunSummary]:
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
                raise NotSent(f"{cancelled}: {error.reason}", error.remedy) from error
            raise

    def _eager(self, node: Node, params: Mapping[str, object], *, propagate: bool) -> Run[Any]:
        engine, run_id, causes = run_here(node, params, self.settings)
        run: Run[Any] = Run(run_id, client=self, _engine=engine)
        if propagate and causes.first is not None:
            raise causes.first
        return run


def run_here(node: Node, params: Mapping[str, object], settings: Settings) -> tuple[Engine, str, Causes]:
    """Run to the end on a store in memory."""
    node, params = fixed(node, params)
    here = Here(node, settings)
    here.run(params)
    return here.engine, here.run_id, here.causes


def _deliver(engine: Engine) -> None:
    """An eager run has nobody else who would work on what was sent."""
    if isinstance(engine.sender, Mailbox):
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
    from dagcelery.runtime import app as celery_side

    client = Client(celery_side.settings_of(app, store_url=store_url, signing_key=signing_key), app)
    celery_side.register(app, client.settings)
    set_default(client)
    return client
