"""The store's contract: what is remembered of a run, and the verbs that change it.

Three sides: what moves a run (`RunMachine`), what reads it (`RunReader`), and what belongs to no run (`Fleet`). A
`Store` bundles them, over one `StoreServer`.

The store decides. It holds the topology of a run (which step waits for how many others, and which steps wait for it),
so a worker says only what it did to which piece, and is told what it may do next. Every verb is safe to repeat: a
client library repeats a call by itself when a reply is lost, and a caller that got StoreUnavailable may call again with
the same token: what had been done is answered, what had not is done.

Words. A *scope* is where a step lives: ``ROOT``, one item of a mapped nested DAG, or a plan that a piece made. A
*piece* is one execution of one step, ``(scope, step)`` or, of a fan-out, the items ``[lo, hi)`` that were claimed
together. A *token* names a stored value ("3.0", "$n", "^3.0"; see `planner.plan`). A *block* is up to `CELL`
consecutive elements of a list, stored and signed together; blocks never cross a multiple of `CELL`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from dagcelery.store.records import (
    Block,
    Child,
    Claim,
    ClaimRequest,
    Counts,
    Event,
    Listed,
    Logged,
    Lost,
    NewRun,
    Outstanding,
    Progress,
    Response,
    RunRecord,
    Scope,
    Spot,
    Swept,
    TaskResult,
)


class Listen(Protocol):
    """Waits until a run is over, there is an event after `after`, if that is given, or the time is over; its state."""

    def __call__(self, timeout_seconds: float, after: str | None = None) -> str: ...


class AsyncListen(Protocol):
    """`Listen` without blocking the event loop."""

    async def __call__(self, timeout_seconds: float, after: str | None = None) -> str: ...


Call = tuple[Any, ...]
"""A call of a script: verb, key, request, and payloads, as `StoreServer.run` takes them."""


class StoreServer(Protocol):
    """What runs the scripts: a Redis or Valkey, or the host in this process."""

    shown_url: str
    """Where it is, without its password, as errors name it."""
    is_in_process: bool
    """Whether what it holds ends with the store."""
    client: Any
    """Commands, as redis-py spells them; they raise StoreUnavailable and its kinds, as `run` does."""

    def run(self, verb: str, key: str, request: Mapping[str, Any], *payloads: bytes) -> Any:
        """Run the script of a verb on a key."""

    def run_together(self, calls: Sequence[Call]) -> list[Any]:
        """Run scripts one after the other with one round trip, not as one; raise the first error of them at the end."""

    def command(self, name: str, *arguments: Any) -> Any:
        """Send one command, as a script is: at half the price of one of the client, whose answers have other types."""

    def ping(self) -> None:
        """Raise StoreUnavailable unless it answers."""

    def close(self) -> None:
        """Close the connections of all threads; a later call opens new ones."""

    def listening(self, run_id: str) -> AbstractContextManager[Listen]:
        """Keep what is needed to wait for a run again and again."""

    def alistening(self, run_id: str) -> AbstractAsyncContextManager[AsyncListen]:
        """The same, for callers that must not block."""


class RunMachine(Protocol):
    """What moves a run. Each verb raises StoreUnavailable if the store is out of reach, after its own retries."""

    def reserve(self, reservation: str, run_id: str, ttl_seconds: int, instead_of: str = "") -> str:
        """Make `run_id` the run of a reservation, unless there is one other than `instead_of`; answer which it is."""

    def create(self, run: NewRun) -> Response:
        """Remember a run; again with the same id changes nothing and answers alike."""

    def admit(self, run_id: str, still: str = "") -> Response:
        """Let a run that was held go on, answers what may start; or hold it, because of what `still` says in a word."""

    def claim(self, run_id: str, request: ClaimRequest) -> Response:
        """Claim a ready piece with its inputs, or a batch of short ones; again with the same token: the same."""

    def finish(
        self,
        run_id: str,
        executed: Sequence[tuple[Claim, TaskResult]],
        owner: str,
        token: str,
        request: ClaimRequest | None,
    ) -> Response:
        """Commit pieces, each once, tell their successors, and claim what comes next in the same call.

        A piece that failed comes alone, and so does one with more than 500 successors.
        """

    def delegate(
        self,
        run_id: str,
        claim: Claim,
        children: Sequence[Child],
        owner: str,
        token: str,
        request: ClaimRequest | None,
        log: bytes = b"",
    ) -> Response:
        """Open a scope for each item of a mapped nested DAG; the items end when their scopes close.

        Blocks in `children` are kept with the attempt that they name, which is the claim's. A piece that made a plan
        opens one scope for it, and ends when that closes: what closes it commits the piece's outputs. `log` has the
        last lines that it logged before, sealed.
        """

    def number(self, run_id: str, bodies: int) -> int:
        """Give numbers to the bodies of a plan that a piece made; answers the first one. Raises RunNotFound."""

    def release(self, run_id: str, claim: Claim, owner: str) -> None:
        """Give a claimed piece back unrun: it is ready again, and no attempt was spent."""

    def refuse(
        self,
        run_id: str,
        queue: str,
        owner: str,
        others: Sequence[str],
        why: str = "",
        claim: Claim | None = None,
    ) -> bool:
        """Leave ready work of a queue to `others`, live workers of it; a claimed piece goes back unrun, at no cost.

        `why` says what this worker lacks for that piece or, without one, for reading the run: for a minute it is given
        no other piece of that step, and as long as it lives the status says so. True if the message that brought it
        here is to be sent again: one of the others may do some of what is ready, and has not had some chances already.
        Otherwise the next worker that leaves the run sends, or the sweep.
        """

    def block(self, run_id: str, claim: Claim, owner: str, seconds: float) -> None:
        """Give a claimed piece back unrun; its step is ready again when it is unblocked, or in `seconds`."""

    def unblock(self, run_id: str, step: str) -> Response:
        """Make a blocked step, "scope/step", ready before its time."""

    def wake_ups(self, run_id: str, queue: str, slots: int, *, is_leaving: bool = False) -> int:
        """Say how many more messages `queue` deserves: ready pieces that no process or message is on its way to.

        `is_leaving` is a process that is about to leave the run; if something was refused, messages may not arrive.
        """

    def sweep(self, run_id: str, lost: Lost, wait_seconds: float, deaths: int = 3, *, is_fresh: bool = False) -> Swept:
        """Give back lost claims, name the queues whose ready work needs a wake-up, and end a run past its deadline.

        A claim of an unknown owner is given back when it is older than `wait_seconds`. A piece that was alone, or runs
        once, is poisoned when `deaths` of its owners have died, or ten times as many have given it back alive. Each
        queue is named again after a time that doubles from `wait_seconds` up to ten minutes, and begins anew where all
        workers that may do this have come since; for `is_fresh`, where there is one.
        """

    def resume(self, run_id: str, deadline_seconds: float | None = None, epoch: int | None = None) -> bool:
        """Open a new epoch of a run that is over and not done: what failed is ready again. False if it cannot be.

        `deadline_seconds` is from now; None: as long as before, 0: none. Where an `epoch` is given, the run has to be
        in that one: of several that found it failed, one resumes it.
        """

    def clear(self, run_id: str, places: Sequence[Spot]) -> bool:
        """Make places of a run that is over, and all that depends on them, as if never executed: whole steps where
        `lo` is -1, else those items of a fan-out, in any scope. What is not there is passed over.

        The run is cancelled then, and `resume` lets it go on; a clearing that was cut short is ended by the next one,
        or by `resume`, once nothing has been heard of it for ten seconds or more. Who finds one under way has its
        places cleared by that one, and waits. Meanwhile nothing commits. False if the run is not over.
        """

    def collect_garbage(self, run_id: str) -> None:
        """Remove payloads that no step reads any more, if the run's topology says that only its outputs are kept."""

    def end(self, run_id: str, state: str, reason: str) -> Response:
        """End a run that is not over as `state`; answers its state now, and what is to be called at its end."""

    def expire(self, run_id: str, ttl_seconds: int) -> None:
        """Let everything of a run live for `ttl_seconds` from now."""

    def delete(self, run_id: str) -> None:
        """Forget everything of a run."""


class RunReader(Protocol):
    """What reads a run. Each verb raises StoreUnavailable if the store is out of reach."""

    def record(self, run_id: str) -> RunRecord | None:
        """The run's record, or None."""

    def plan(self, run_id: str) -> bytes | None:
        """The run's sealed plan, or None."""

    def child_plans(self, run_id: str, bodies: Sequence[int]) -> Sequence[tuple[str, bytes] | None]:
        """The scope and the sealed plan that begins with each of these bodies; None where none does."""

    def scope(self, run_id: str, scope: str) -> Scope | None:
        """Where a scope hangs, or None; the caller checks its id with `scope_id`."""

    def values(self, run_id: str, scope: str, tokens: Sequence[str]) -> Sequence[bytes | None]:
        """Sealed whole values, read in bounded portions; None where nothing is stored. Tokens may begin with ``^``."""

    def glimpse(self, run_id: str, scope: str, token: str, most: int) -> tuple[int, bytes | None]:
        """About how many bytes a sealed whole value has, 0 if nothing is stored; and the bytes, of more than `most`
        none. A token has no ``^``.
        """

    def first_blocks(self, run_id: str, scope: str, token: str, lo: int, hi: int) -> Sequence[Block]:
        """As many of the sealed `blocks` as one call gives, with no data of those that are too large for that."""

    def blocks(self, run_id: str, scope: str, token: str, lo: int, hi: int) -> Iterable[Block]:
        """Sealed blocks that overlap ``[lo, hi)``, in order of `lo`, read in bounded portions.

        Where blocks overlap each other, the one of the highest attempt holds.
        """

    def scopes(self, run_id: str, scopes: Sequence[str]) -> Sequence[Scope]:
        """What `scope` answers of several, at once; those that hang nowhere are left out."""

    def failures(self, run_id: str, most: int | None = None) -> Mapping[str, bytes]:
        """Sealed failures by piece; of very many about as many as `most`, whichever come first."""

    def failure(self, run_id: str, piece: str) -> bytes | None:
        """The sealed failure of one piece, or None."""

    def logged(self, run_id: str) -> Sequence[Logged]:
        """The pieces of which lines are kept that they logged: of those that failed the first 1,000, of ranges that
        were committed together, and pieces, the newest 1,000, and of either some 4 MB at most.
        """

    def logs(self, run_id: str, logged: Sequence[Logged]) -> Sequence[bytes | None]:
        """What these have logged, sealed, read in bounded portions; None where it is not kept any more."""

    def progress(self, run_id: str, *, counted: bool = True) -> Progress | None:
        """Counts by step, or None if the run does not exist. Without counts, unless they are to be `counted`."""

    def outstanding(self, run_id: str) -> Outstanding:
        """What is claimed, has failed, waits for its time or was refused."""

    def within(self, run_id: str, scopes: Mapping[str, Sequence[int]]) -> Mapping[str, Mapping[int, Counts]]:
        """How far these steps of these scopes, and CLOSE, are, by scope and step; without scopes that are not opened.

        Only `total` (-1: not known yet), `done`, `skipped` and times: what is outstanding is told by `outstanding`.
        """

    def done(self, run_id: str, scope: str, step: int) -> Collection[int]:
        """The items of a fan-out that are done, or skipped; what is stored of an item does not say that it is.

        Its cost grows with what is outstanding and with the number of scopes. None are done if the run is gone.
        """

    def claimed(self, run_id: str, piece: str) -> str:
        """The owner of an outstanding claim, "" if the piece is not claimed."""

    def messages(self, run_id: str) -> Sequence[str]:
        """The Celery messages that are working on a run."""

    def events(self, run_id: str, after: str, limit: int) -> Sequence[Event]:
        """The run's events after the one with id `after` ("" from the start).

        Begins with one of kind "missed" where what came next is not kept any more; the newest 10,000 are.
        """

    def last_event(self, run_id: str) -> str:
        """The id of the run's newest event, "" if there is none."""

    def foreseen(self, run_id: str, places: Sequence[Spot]) -> Mapping[tuple[int, int], int]:
        """How many pieces of each step, by body and step, `RunMachine.clear` would make as if never executed."""

    def listening(self, run_id: str) -> AbstractContextManager[Listen]:
        """Keep what is needed to wait for a run again and again."""

    def alistening(self, run_id: str) -> AbstractAsyncContextManager[AsyncListen]:
        """The same, for callers that must not block."""


class ResultCache(Protocol):
    """Results of tasks that are kept for other runs."""

    def get(self, task: str, entries: Sequence[str]) -> Sequence[bytes | None]:
        """Results of a task that `set` has kept, by their names; None for those it does not have, or has no more."""

    def set(self, task: str, entries: Mapping[str, bytes], ttl_seconds: float) -> None:
        """Keep results of a task under names for a time, for every run. Each is whole, and the last one counts."""

    def delete(self, task: str) -> int:
        """Delete the cached results of a task; return 0 if there were none."""


class Fleet(Protocol):
    """What belongs to no run, or to many: workers, limits, lists of runs, files, cached results."""

    cache: ResultCache

    def heartbeat(
        self,
        worker_id: str,
        queues: Sequence[str],
        slots: int,
        messages: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
        *,
        yields: bool = True,
    ) -> None:
        """Say that the worker `worker_id` is alive, serves `queues` with `slots` processes and works on `messages`.

        `keys` are the ids of its signing keys; None is what a worker of a version says that announces none. It `yields`
        if what it hands on waits behind other runs.
        """

    def used_up(self) -> tuple[int, int] | None:
        """How many bytes the server holds, and how many it may hold, where it refuses what takes more; None while there
        is room, and where this user may not ask.
        """

    def retire(self, worker_id: str) -> None:
        """Say that the worker `worker_id` has left in good order."""

    def workers(self) -> Mapping[str, Mapping[str, Any]]:
        """Workers by their ids, as of their last heartbeat: {"id", "queues", "slots", "messages", "keys", "yields",
        "at", "age"}.

        "since" has the time of the first heartbeat that named each queue; a worker of an older version has none.
        """

    def announce(self, queues: Sequence[str]) -> None:
        """Say of queues, as texts, that work will wait there, for workers that look for such ones."""

    def announced(self) -> Sequence[str]:
        """What was announced, the last 1,000; nothing where nothing was for 30 days."""

    def enter(self, limit: str, member: str, waiter: str, most: int, gone: Sequence[str] = ()) -> bool:
        """Let `member` in where at most so many may be inside, `gone` ones left out; else `waiter` waits its turn."""

    def leave(self, limit: str, member: str, most: int) -> Sequence[str]:
        """Let `member` out; answers the waiters that may try to enter now, in the order in which they came."""

    def inside(self, limit: str) -> Sequence[str]:
        """The members inside, the first 1,000."""

    def due(self, limit: int, wait_seconds: float) -> Sequence[str]:
        """Name active runs that were not looked at for `wait_seconds`, and mark them looked at."""

    def runs(self, name: str, before: float, limit: int) -> Sequence[Listed]:
        """Runs of the DAG `name` ("": of all) that were enrolled at `before` or earlier, newest first."""

    def find(self, prefix: str, limit: int) -> Sequence[str]:
        """Ids of listed runs that begin with `prefix`, newest first; some of these runs may have expired."""

    def spills(self, run_id: str) -> None:
        """Say that a run, which need not be there yet, is about to have files."""

    def spilled(self, limit: int, wait_seconds: float) -> Sequence[str]:
        """Name runs that may have files and that were not looked at for `wait_seconds`; mark them looked at."""

    def unspilled(self, run_id: str) -> None:
        """Say that a run which is gone has no files any more."""


@dataclass(frozen=True, eq=False)
class Store:
    """The three sides, over one server."""

    server: StoreServer
    machine: RunMachine
    reader: RunReader
    fleet: Fleet

    @property
    def shown_url(self) -> str:
        """Where the store is, without its password, as errors name it."""
        return self.server.shown_url

    def ping(self) -> None:
        """Raise StoreUnavailable unless the store answers."""
        self.server.ping()

    def close(self) -> None:
        """Close the connections of all threads; a later call opens new ones."""
        self.server.close()
