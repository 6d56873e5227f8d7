"""Submitting DAGs, and the handle of a run: how far it is, when it is over, and what it gave back.

A name that begins with an ``a`` does the same without blocking the event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, cast

from dagcelery.client import following, lifecycle, timeline
from dagcelery.client.arguments import check_deadline, check_key, check_number, check_text, check_wait
from dagcelery.client.following import Failure, RunEvent
from dagcelery.client.lifecycle import Submittable, dag_of, deadline_of, new_run, plan_of, split_static
from dagcelery.client.listing import Wanted, listed, moment
from dagcelery.client.logs import PieceLog, logs
from dagcelery.client.node import Parameters, RunNode, parameters
from dagcelery.client.preview import Preview, preview
from dagcelery.client.status import RunStatus, as_html, run_status
from dagcelery.client.structure import RunGraph, structure
from dagcelery.client.tree import TreeNode, tree
from dagcelery.engine.run_control import RunControl
from dagcelery.errors import DagceleryError, InvalidParameters, NotConfigured
from dagcelery.model.options import IfFailed
from dagcelery.payload import functions
from dagcelery.settings import Settings
from dagcelery.store.cache import OF_THIS_PROCESS
from dagcelery.store.protocol import Store
from dagcelery.store.records import RunRecord, RunState
from dagcelery.text import shown
from dagcelery.tracebacks import Shortened, shortened

if TYPE_CHECKING:
    from celery import Celery

    from dagcelery.client.local_runs import LocalRun
    from dagcelery.worker.app import AppContext

R_co = TypeVar("R_co", covariant=True)


class Run(Generic[R_co]):
    """One execution of a DAG. ``Run(id)`` finds it again from any process, and does no I/O until it is asked.

    It may be pickled, and be a parameter: what travels is its id. Where it arrives it belongs to the default client of
    that process, whichever client it was made with, since a client holds connections and keys of its own process.

    Each method raises RunNotFound if the store has no such run.
    """

    def __init__(
        self,
        run_id: str,
        *,
        client: Client | None = None,
        _local: LocalRun | None = None,
    ) -> None:
        check_text(f"run id {shown(run_id)}", run_id, "give the id of a run as submit(...).id has it")
        self.id = run_id
        self._client = client
        self._local = _local  # an eager run is nowhere else
        self._known_control: RunControl | None = _local.engine if _local is not None else None

    @property
    def _control(self) -> RunControl:
        if self._known_control is None:
            self._known_control = (self._client or default_client()).control
        return self._known_control

    # -- looking on -------------------------------------------------------------------------------
    @property
    def state(self) -> RunState:
        """What the run is at this moment."""
        return RunState(self._control.record(self.id).state)

    @property
    def key(self) -> str | None:
        """The key that it was submitted with; None if there was none."""
        return self._control.record(self.id).key

    @property
    def params(self) -> Parameters:
        """The parameters that it was submitted with, verified and decoded, defaults among them.

        Parameters that nothing reads are not stored, nor are static ones. A list of more than 1,000 elements whose
        elements alone are read is lazy.

        Raises BadSignature, DeserializationError.
        """
        self._control.record(self.id)
        return parameters(self._control.view(self.id))

    async def aparams(self) -> Parameters:
        """`params` without blocking the event loop."""
        return await asyncio.to_thread(lambda: self.params)

    def node(self, address: str) -> RunNode:
        """Return a node, an item of a fan-out, or a node within: ``read``, ``read[3]``, ``one_file[117]/read``.

        It has `result()`, `status()` and `errors()`, and reads nothing before one of them is called.
        """
        return RunNode(lambda: self._control, self.id, address)

    def status(self) -> RunStatus:
        """Return how far every node is: counts, times, queues, and why it waits."""
        return run_status(self._control, self.id)

    async def astatus(self) -> RunStatus:
        """`status` without blocking the event loop."""
        return await asyncio.to_thread(self.status)

    def tree(self, items: int = 10, most: int = 1_000) -> TreeNode:
        """Return the nodes as a tree: below one that maps a DAG its items, below these the nodes within, and so on.

        Of each mapped DAG up to `items` items are shown, failed and running ones before others, and in all about `most`
        nodes.
        """
        for name, number in (("items", items), ("most", most)):
            check_number(name, number)
        return tree(self._control, self.id, items, most)

    async def atree(self, items: int = 10, most: int = 1_000) -> TreeNode:
        """`tree` without blocking the event loop."""
        return await asyncio.to_thread(self.tree, items, most)

    def structure(self) -> RunGraph:
        """Return the graph as data: nodes with the names that `status` gives them, boxes, and what follows what."""
        return structure(self._control, self.id)

    async def astructure(self) -> RunGraph:
        """`structure` without blocking the event loop."""
        return await asyncio.to_thread(self.structure)

    def events(self, after: str = "", *, follow: bool = True, started: bool = False) -> Iterator[RunEvent]:
        """Yield what has happened since the position `after` ("": all), then what happens, until the run is over.

        With `follow=False` it ends with what has happened so far. After a pause go on with
        ``events(after=event.position)``. A piece has one event; of a fan-out each item has its own up to 1,000 items,
        and beyond that each range that was committed together. The newest 10,000 are kept, and an event of kind
        "missed" stands for others.

        With `started`, an event of kind "started" tells that a process executes a task, or items of one, half a second
        later at most, and each end of it has one in front of it. Items of a mapped DAG and branches have none: the
        tasks within them do. It is made where events are read, and costs the run nothing.
        """
        return following.events(self._control, self.id, after, follow=follow, started=started)

    def aevents(self, after: str = "", *, follow: bool = True, started: bool = False) -> AsyncGenerator[RunEvent, None]:
        """`events` without blocking the event loop: ``async for event in run.aevents()``."""
        return following.aevents(self._control, self.id, after, follow=follow, started=started)

    def errors(self) -> list[Failure]:
        """Return every attempt that failed, with its remote traceback, repeated ones too."""
        return following.errors(self._control, self.id)

    async def aerrors(self) -> list[Failure]:
        """`errors` without blocking the event loop."""
        return await asyncio.to_thread(self.errors)

    def logs(self) -> list[PieceLog]:
        """Return the last lines that pieces logged, the oldest first, as far as they are kept.

        Of each attempt of a piece there are up to DAGCELERY_LOG_TAIL_LINES. Of attempts that failed the first 1,000 are
        kept, of others the newest 1,000; a range of items that was committed together counts as one.
        """
        return logs(self._control, self.id)

    async def alogs(self) -> list[PieceLog]:
        """`logs` without blocking the event loop."""
        return await asyncio.to_thread(self.logs)

    def trace(self, path: str | None = None) -> dict[str, Any]:
        """Return the run, over or not, as a trace, for ui.perfetto.dev and chrome://tracing; write it to `path`."""
        made = timeline.trace(self._control, self.id)
        if path is not None:
            timeline.write(made, path)
        return made

    async def atrace(self, path: str | None = None) -> dict[str, Any]:
        """`trace` without blocking the event loop."""
        return await asyncio.to_thread(self.trace, path)

    # -- its end ----------------------------------------------------------------------------------
    def wait(self, timeout: float | None = None) -> RunState:
        """Wait up to `timeout` seconds (None: for ever) until the run is over; return its state then, over or not."""
        check_wait("wait()", timeout)
        return following.wait_for_end(self._control, self.id, timeout)

    async def await_(self, timeout: float | None = None) -> RunState:
        """`wait` without blocking the event loop."""
        check_wait("await_()", timeout)
        return await following.await_end(self._control, self.id, timeout)

    def result(self, timeout: float | None = None) -> R_co:
        """Wait up to `timeout` seconds (None: for ever) for the run's end, and return what the DAG returns.

        Raises NodeFailed, RunCancelled, RunTimedOut if it ended so; ResultTimeout, which says why, if it did not end;
        RunNotFound.
        """
        check_wait("result()", timeout)
        return cast(R_co, following.result(self._control, self.id, timeout))

    async def aresult(self, timeout: float | None = None) -> R_co:
        """`result` without blocking the event loop."""
        check_wait("aresult()", timeout)
        state = await following.await_end(self._control, self.id, timeout)
        return cast(R_co, await asyncio.to_thread(following.outcome, self._control, self.id, state, timeout))

    # -- what changes it --------------------------------------------------------------------------
    def cancel(self, reason: str = "", *, terminate: bool = False) -> RunState:
        """End the run: pieces not started never start, live ones may still commit. A run that is over stays so.

        `terminate` ends the processes that work on it too, with SIGTERM.

        Raises RunNotFound, InvalidParameters.
        """
        check_text(f"reason={shown(reason)}", reason, "give a sentence, which is shown wherever the run is waited for")
        return RunState(lifecycle.cancel(self._control, self.id, reason, terminate=terminate))

    async def acancel(self, reason: str = "", *, terminate: bool = False) -> RunState:
        """`cancel` without blocking the event loop."""
        return await asyncio.to_thread(self.cancel, reason, terminate=terminate)

    def resume(self, *, deadline: float | None = None, allow_code_change: bool = False) -> Self:
        """Let a run that failed, was cancelled or timed out go on: only what failed or is missing is executed.

        Everything has its full budget of attempts again, and the run as long as at first, or `deadline` seconds from
        now.

        Raises RunNotFound, NotResumable, and CodeMismatch where a function was changed meanwhile, or cannot be
        looked at here (CodeUnknown), unless that is allowed (or DAGCELERY_CODE_MISMATCH is "ignore").
        """
        check_deadline(deadline)
        lifecycle.resume(self._control, self.id, deadline, allow_code_change=allow_code_change)
        return self._delivered()

    async def aresume(self, *, deadline: float | None = None, allow_code_change: bool = False) -> Self:
        """`resume` without blocking the event loop."""
        return await asyncio.to_thread(self.resume, deadline=deadline, allow_code_change=allow_code_change)

    def retry_from(self, address: str, *, deadline: float | None = None, allow_code_change: bool = False) -> Self:
        """Execute a node of a run that is over again, and all that depends on it; everything else stays done.

        `address` is what status, events and errors show: of a node (``read``), of one item of a fan-out or of a mapped
        DAG (``read[3]``) or of several (``read[3:5]``), or of a node within (``one_file[117]/read``), also within a
        branch, or a graph that a task made. A run that is done may be taken back too.

        Raises what `resume` does, and InvalidParameters where there is no such node or item.
        """
        check_deadline(deadline)
        lifecycle.retry_from(self._control, self.id, address, deadline, allow_code_change=allow_code_change)
        return self._delivered()

    async def aretry_from(
        self, address: str, *, deadline: float | None = None, allow_code_change: bool = False
    ) -> Self:
        """`retry_from` without blocking the event loop."""
        return await asyncio.to_thread(self.retry_from, address, deadline=deadline, allow_code_change=allow_code_change)

    def preview(self, action: Literal["cancel", "resume", "retry", "delete"], address: str = "") -> Preview:
        """Say what `cancel`, `resume`, `retry_from(address)` or `delete` would do now. Raises what these do."""
        return preview(self._control, self.id, action, address)

    async def apreview(self, action: Literal["cancel", "resume", "retry", "delete"], address: str = "") -> Preview:
        """`preview` without blocking the event loop."""
        return await asyncio.to_thread(self.preview, action, address)

    def _delivered(self) -> Self:
        """Deliver the messages of an eager run, which has no workers."""
        if self._local is not None:
            self._local.deliver()
        return self

    def delete(self) -> None:
        """Forget everything of this run, its files too; processes that wait for it get RunNotFound.

        Raises SpillUnavailable where files cannot be removed: the run is gone, and a sweep removes them later.
        """
        self._control.delete(self.id)

    async def adelete(self) -> None:
        """`delete` without blocking the event loop."""
        await asyncio.to_thread(self.delete)

    def to_html(self, path: str | Path) -> Path:
        """Write the run's page as it is now into one file, which needs no server and no network.

        It has the inputs, results and attempts of up to 150 nodes and items, failed ones first; of large runs of fewer.
        """
        from dagcelery.client import answers  # late: few processes make pages

        return answers.save(self._control, self.id, path)

    async def ato_html(self, path: str | Path) -> Path:
        """`to_html` without blocking the event loop."""
        return await asyncio.to_thread(self.to_html, path)

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def _repr_html_(self) -> str:
        """Return the run's status for a notebook, or why there is none."""
        try:
            return as_html(self.status())
        except DagceleryError as error:
            return f"<code>{escape(repr(self))}</code>: {escape(str(error))}"

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


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a list of runs: what it is, and when it got there, in seconds since the epoch, None: not yet.

    It took `seconds`, without the times between an end and a `resume`. `params` are shortened, with secrets masked.
    """

    id: str
    name: str
    state: RunState
    created: float
    started: float | None
    ended: float | None
    seconds: float | None
    run: Run[Any]
    key: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON-able data."""
        names = ("id", "name", "created", "started", "ended", "seconds", "key", "params")
        return {name: getattr(self, name) for name in names} | {"state": str(self.state)}


def summary(record: RunRecord, run: Run[Any]) -> RunSummary:
    """Return what a list says of a run."""
    started, ended = record.started or None, record.ended or None
    seconds = ended - started - record.paused(started, ended) if started and ended else None
    times = record.created, started, ended, seconds
    return RunSummary(record.id, record.name, RunState(record.state), *times, run, record.key, record.shown)


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
            from dagcelery.worker.app import app_context_of, make_app

            self.app = self.app or make_app(self.settings)
            self._app_context = app_context_of(self.app)
        return self._app_context

    @property
    def control(self) -> RunControl:
        """This process's access to runs."""
        return self.app_context.control

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
        if_failed: IfFailed = "return",
        deadline: float | None = None,
    ) -> Run[Any]:
        """Store a run, send its first messages, and return at once; return the run of a `key` that was used."""
        check_key(key, if_failed)
        check_deadline(deadline)
        node, params, static = split_static(node, {} if params is None else params)
        app = self.app_context.app
        if app.conf.task_always_eager:
            local_run = self._eager(node, lambda run: run.run(params, static))
            if app.conf.task_eager_propagates and local_run.first.error is not None:
                raise local_run.first.error
            return Run(local_run.run_id, client=self, _local=local_run)
        control = self.control
        dag = dag_of(node)  # once: it may have to be read for that
        plan = plan_of(dag, queue=self.settings.queue or app.conf.task_default_queue, settings=self.settings)
        seconds = deadline_of(dag) if deadline is None else deadline
        run = new_run(control, plan, params, self.settings, deadline=seconds, key=key, static=static)
        return Run(lifecycle.start(control, run, key, if_failed), client=self)

    def _eager(self, node: Submittable, begin: Callable[[LocalRun], object]) -> LocalRun:
        from dagcelery.client.local_runs import LocalRun  # late: most clients leave their runs to workers

        local_run = LocalRun(node, self.settings)
        begin(local_run)
        return local_run

    def runs(
        self,
        dag: Submittable | str | None = None,
        state: str | None = None,
        limit: int = 20,
        *,
        key: str | None = None,
        since: datetime | timedelta | float | None = None,
    ) -> list[RunSummary]:
        """Return the newest runs, of one DAG or in one state if that is asked for; see `dagcelery.runs`."""
        check_number("limit", limit)
        if state is not None and not (isinstance(state, str) and state in set(RunState)):
            states = ", ".join(RunState)
            raise InvalidParameters(f"state={shown(state)}", "is not a state of a run", f"give one of {states}")
        if isinstance(dag, str):
            check_text(f"dag={shown(dag)}", dag, "give a DAG, or its name such as 'pkg.mod:name'")
        name = "" if dag is None else dag if isinstance(dag, str) else plan_of(dag, settings=self.settings).name
        wanted = Wanted(state, key, moment(since))
        return [summary(record, Run(record.id, client=self)) for record in listed(self.store, name, wanted, limit)]


# -- which client --------------------------------------------------------------------------------
_lock = threading.Lock()

_default: Client | None = None


def default_client() -> Client:
    """Return the client that was attached last, else one made from the environment.

    Raises NotConfigured.
    """
    global _default
    with _lock:
        if _default is None:
            settings = Settings.from_environment()
            urls = {"broker": settings.broker_url, "store": settings.store_url}
            if missing := [name for name, url in urls.items() if not url]:
                raise NotConfigured(
                    f"no {' and no '.join(missing)} is configured",
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


# -- what users call ----------------------------------------------------------------------------
@shortened
def submit(
    node: Submittable,
    params: Mapping[str, object] | None = None,
    *,
    key: str | None = None,
    if_failed: IfFailed = "return",
    deadline: float | None = None,
    client: Client | None = None,
) -> Run[Any]:
    """Submit a DAG, a task, or ``"module:name"`` of one, and return as soon as the run is stored.

    With a `key`, submitting again gives the run that this DAG's name and key have, also from another process.
    `if_failed` says what it gives where that run failed, was cancelled or timed out: "return" that run as it is,
    "resume" that run, resumed, or "new" another one, which has the key from then on. After `deadline` seconds a run
    that is not over ends as timed out.

    Raises InvalidDag, InvalidParameters, SerializationError before anything is written; KeyReused where a key stands
    for other parameters; CodeMismatch where the run is to be resumed, and its code has changed; StoreUnavailable;
    BrokerUnavailable, or NotSent where the broker is not to blame, after the run that could not be started was
    cancelled. After these, submitting again with the same key starts a run unless one was started.
    """
    return _client(client).submit(node, params, key=key, if_failed=if_failed, deadline=deadline)


async def asubmit(
    node: Submittable,
    params: Mapping[str, object] | None = None,
    *,
    key: str | None = None,
    if_failed: IfFailed = "return",
    deadline: float | None = None,
    client: Client | None = None,
) -> Run[Any]:
    """`submit` without blocking the event loop."""
    options: dict[str, Any] = {"key": key, "if_failed": if_failed, "deadline": deadline, "client": client}
    with Shortened():
        return await asyncio.to_thread(submit, node, params, **options)


def forget(task: Callable[..., Any] | str, *, client: Client | None = None) -> int:
    """Drop the results of a task, or of ``"module:name"``, that its `cache=` has kept; return how many there were.

    Those in the client's store are dropped, by default in that of the default client if there is one, and those that
    `invoke` has kept in this process.

    Raises InvalidParameters, StoreUnavailable.
    """
    if isinstance(task, str) and ":" in task:
        name = task
    elif callable(task):
        spec = functions.describe(getattr(task, "fn", task))
        name = f"{spec['module']}:{spec['qualname']}"
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
    key: str | None = None,
    since: datetime | timedelta | float | None = None,
    limit: int = 20,
    client: Client | None = None,
) -> list[RunSummary]:
    """Return the newest runs that are still remembered, newest first: at most `limit`, of one `dag`, in one `state`.

    `dag` is a DAG or its name, and `key` that of `submit(..., key=)`. `since` is a moment, or a timedelta: that long
    ago. Looking for a state or a key reads the records of newer runs too; no other keys are looked at. The newest
    100,000 runs are listed.

    Raises InvalidParameters.
    """
    return _client(client).runs(dag, state, limit, key=key, since=since)


async def aruns(
    dag: Submittable | str | None = None,
    *,
    state: str | None = None,
    key: str | None = None,
    since: datetime | timedelta | float | None = None,
    limit: int = 20,
    client: Client | None = None,
) -> list[RunSummary]:
    """`runs` without blocking the event loop."""
    return await asyncio.to_thread(runs, dag, state=state, key=key, since=since, limit=limit, client=client)


def _client(client: Client | None) -> Client:
    if client is not None and not isinstance(client, Client):
        raise InvalidParameters(f"client={shown(client)}", "is not a Client", "give what attach(app) returned")
    return client or default_client()
