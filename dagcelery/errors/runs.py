"""Errors of a run, its pieces, and what was kept of them."""

from __future__ import annotations

from dagcelery.errors.family import DagceleryError, sentence


class NodeFailed(DagceleryError):
    """A node of a run raised; ``address`` is where, ``traceback`` the remote one as text.

    The original class is never imported: ``type_name`` is its qualified name. In process the original
    exception is ``__cause__``.
    """

    def __init__(self, address: str, type_name: str, message: str = "", traceback: str = "") -> None:
        super().__init__(address, type_name, message, traceback)
        self.address = address
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        if traceback:
            self.add_note(f"Traceback of {address}, where it ran:\n{traceback.rstrip()}")

    def __str__(self) -> str:
        told = f"node {self.address} failed with {self.type_name}"
        return f"{told}: {self.message}" if self.message else told


class PieceDied(DagceleryError):
    """The processes that ran a piece died, as often as DAGCELERY_MAX_DEATHS allows.

    Or they were stopped while they ran it and gave it back, ten times as often; `how` says which.
    """

    def __init__(self, deaths: int, how: str = "died") -> None:
        super().__init__(deaths, how)
        self.deaths = deaths
        self.how = how

    def __str__(self) -> str:
        if self.how == "returned":
            return (
                f"it was given back {self.deaths} times by processes that were stopped while they ran it; let workers "
                "finish it (a warm shutdown does), or make it shorter, then resume the run"
            )
        return (
            f"{self.deaths} processes died while they ran it; look for what kills them in the logs of the workers "
            "and of the kernel (memory, a crash in native code), then resume the run"
        )


class TimeLimitExceeded(DagceleryError, TimeoutError):
    """A piece took longer than its task's hard time limit, and was ended."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"it ran longer than the {self.seconds:g} s of its time limit; raise timeout=, or make it faster"


class NotStarted(DagceleryError):
    """A piece was not started as soon as its task's `start_within` says."""

    def __init__(self, queue: str, seconds: float, is_served: bool) -> None:
        super().__init__(queue, seconds, is_served)
        self.queue = queue
        self.seconds = seconds
        self.is_served = is_served

    def __str__(self) -> str:
        if not self.is_served:
            return (
                f"it was not started within {self.seconds:g} s, because no live worker consumes queue '{self.queue}'; "
                f"start one: celery -A dagcelery worker -Q {self.queue}"
            )
        return (
            f"it was not started within {self.seconds:g} s, because the workers of queue '{self.queue}' were busy; "
            "start more of them, or raise start_within="
        )


class NotResumable(DagceleryError):
    """A run cannot be resumed in the state that it is in."""

    def __init__(self, run_id: str, state: str) -> None:
        super().__init__(run_id, state)
        self.run_id = run_id
        self.state = state

    def __str__(self) -> str:
        if self.state == "done":
            return f"run {self.run_id} is done: there is nothing to resume; say from where with retry_from()"
        return f"run {self.run_id} is {self.state}: it goes on by itself; cancel it first, or wait for its end"


class RunCancelled(DagceleryError):
    """A run was cancelled before it was done."""

    def __init__(self, run_id: str, reason: str = "") -> None:
        super().__init__(run_id, reason)
        self.run_id = run_id
        self.reason = reason

    def __str__(self) -> str:
        return sentence(f"run {self.run_id} was cancelled", self.reason)


class RunTimedOut(DagceleryError):
    """A run passed its deadline, or its data was about to expire, before it was done."""

    def __init__(self, run_id: str, reason: str = "") -> None:
        super().__init__(run_id, reason)
        self.run_id = run_id
        self.reason = reason

    def __str__(self) -> str:
        return sentence(f"run {self.run_id} timed out", self.reason)


class ResultTimeout(DagceleryError, TimeoutError):
    """A run was waited for in vain; it goes on."""

    def __init__(self, run_id: str, seconds: float) -> None:
        super().__init__(run_id, seconds)
        self.run_id = run_id
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"run {self.run_id} had no result after {self.seconds:g} s; "
            "it goes on: ask again, wait longer, or cancel it"
        )


class RunNotFound(DagceleryError, LookupError):
    """The store knows no run of this id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return (
            f"run {self.run_id} is not in this store: it never was, it has expired, or it was deleted; "
            "check the id and DAGCELERY_STORE_URL"
        )


class NotKept(DagceleryError, KeyError):
    """A stage reads a value that no stage of its run has written, or that was deleted."""

    def __init__(self, run_id: str, key: str) -> None:
        super().__init__(run_id, key)
        self.run_id = run_id
        self.key = key

    def __str__(self) -> str:
        return f"run {self.run_id} keeps no value called {self.key!r}; write it in a stage that comes before this one"
