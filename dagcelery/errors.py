"""Every error that dagcelery raises on purpose, the family tree on top.

::

    DagceleryError
    ├── InvalidDag (ValueError)
    │   ├── InvalidDagType (TypeError)
    │   ├── InvalidConfig
    │   ├── NotExportable
    │   └── CyclicDependency
    ├── InvalidParameters (ValueError)
    │   └── KeyReused
    ├── InvalidSetting (ValueError)
    ├── InvalidLocation (OSError)
    ├── NotConfigured
    │   └── FunctionNotAllowed
    ├── NodeFailed
    ├── NodeNotDone
    ├── NodeSkipped
    ├── PieceDied
    ├── TimeLimitExceeded (TimeoutError)
    ├── NotStarted
    ├── NotResumable
    ├── RunCancelled
    ├── RunTimedOut
    ├── ResultTimeout (TimeoutError)
    ├── RunNotFound (LookupError)
    ├── NotKept (KeyError)
    ├── BadSignature
    │   └── UnknownKey
    ├── CodeMismatch
    │   └── CodeUnknown
    ├── FunctionNotFound
    ├── SerializationError
    ├── DeserializationError
    │   ├── SpillDamaged
    │   └── ValueFreed
    ├── LimitExceeded
    │   └── PayloadTooLarge
    ├── StoreUnavailable
    │   └── StoreRefused
    │       └── StoreFull
    ├── StoreDamaged
    ├── SpillUnavailable
    ├── BrokerUnavailable
    ├── NotSent
    └── PlanVersionUnsupported

An error is a record. `str()` joins its three parts: the culprit, the problem and the remedy. Its constructor takes
these, or facts of which `_parts` makes them. ``args`` are these arguments, so it survives pickle, by ``cls(*args)``.
"""

from __future__ import annotations

from collections.abc import Sequence

from dagcelery.error_records import Record as _Record
from dagcelery.error_records import page_of, record, unasked


@record
class DagceleryError(_Record):
    """The base of all errors of this package: the culprit, what is wrong with it, and what would be right."""

    culprit: str
    problem: str = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        self.args = tuple(getattr(self, name) for name in self._fields)
        self.culprit, self.problem, self.remedy = self._parts()
        self.add_note(f"See {page_of(self, __name__)}")

    def _parts(self) -> tuple[str, str, str]:
        """Return culprit, problem and remedy; where a serializer says why with an exception, its text."""
        return str(self.culprit), self.problem, self.remedy

    def __str__(self) -> str:
        parts = [part.rstrip(". ") for part in (self.problem, self.remedy) if part]
        return ": ".join(filter(None, (self.culprit.rstrip(". "), "; ".join(parts))))


@record
class _OfFacts(DagceleryError):
    """An error whose constructor takes facts, and not its three parts; it overrides `_parts`."""

    culprit: str = unasked()
    problem: str = unasked()
    remedy: str = unasked()


class InvalidDag(DagceleryError, ValueError):
    """A DAG breaks a rule; raised when it is built, never when it runs."""


class InvalidDagType(InvalidDag, TypeError):
    """A part of a DAG has a type that is not allowed there."""


@record
class CyclicDependency(_OfFacts, InvalidDag):
    """Nodes depend on each other in a cycle; ``nodes`` are their names in that order, each once."""

    nodes: Sequence[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.nodes = tuple(self.nodes)

    def _parts(self) -> tuple[str, str, str]:
        return (
            f"nodes {' -> '.join([*self.nodes, *self.nodes[:1]])}",
            "depend on each other in a cycle, so none of them could start",
            "remove one of these dependencies",
        )


class NotExportable(InvalidDag):
    """A DAG, or an option of it, cannot be said in the terms of the system that it is to be exported to."""


@record
class InvalidConfig(_OfFacts, InvalidDag):
    """A configuration cannot be made into a workflow; `line` counts from 1; None without a file."""

    file: str
    line: int | None
    key: str
    reason: str
    advice: str = ""

    def _parts(self) -> tuple[str, str, str]:
        place = ", ".join(filter(None, (self.file, f"line {self.line}" if self.line else "", self.key)))
        return place, self.reason, self.advice


class InvalidParameters(DagceleryError, ValueError):
    """The parameters given to a run do not fit its DAG."""


@record
class KeyReused(_OfFacts, InvalidParameters):
    """A key belongs to the run `run_id`, which was submitted with other parameters."""

    key: str
    run_id: str
    name: str

    def _parts(self) -> tuple[str, str, str]:
        return (
            f"key {self.key!r}",
            f"belongs to run {self.run_id} of '{self.name}', which was submitted with other parameters",
            "use each key for one set of parameters only",
        )


class InvalidSetting(DagceleryError, ValueError):
    """A setting has a value that is not allowed; ``culprit`` is the environment variable or the argument."""


class InvalidLocation(DagceleryError, OSError):
    """A file or folder cannot be read or written where it should be; nothing was left half-written."""


@record
class NotConfigured(DagceleryError):
    """Something needs a setting, a package or a program that is missing."""

    problem: str = unasked()


@record
class FunctionNotAllowed(_OfFacts, NotConfigured):
    """Unsigned data names a module outside the allow-list; the module was not imported."""

    module: str
    qualname: str = ""

    def _parts(self) -> tuple[str, str, str]:
        return (
            f"{_called(self.module, self.qualname)} was named by unsigned data, and module {self.module!r} is neither "
            "in DAGCELERY_IMPORTS nor one of those in which the Celery app looks for its tasks",
            "",
            f"add {self.module} to DAGCELERY_IMPORTS, or set DAGCELERY_SIGNING_KEY to the same value on the client and "
            "its workers; your own app can set them as app.conf.dagcelery_imports and app.conf.dagcelery_signing_key",
        )


@record
class NodeFailed(_OfFacts):
    """A node of a run raised an exception; ``address`` says which, ``traceback`` is the remote one as text.

    Its class is never imported: ``type_name`` is its qualified name. In process ``__cause__`` is the exception itself.
    """

    address: str
    type_name: str
    message: str = ""
    traceback: str = ""

    def __post_init__(self) -> None:
        if self.traceback:
            self.add_note(f"Traceback of {self.address}, where it ran:\n{self.traceback.rstrip()}")
        super().__post_init__()

    def _parts(self) -> tuple[str, str, str]:
        return f"node {self.address} failed with {self.type_name}", self.message, ""

    def __str__(self) -> str:
        # The message is the task's own: nothing is stripped from it.
        return f"{self.culprit}: {self.message}" if self.message else self.culprit


@record
class NodeNotDone(_OfFacts):
    """A node, or an item of one, has no result yet; `state` says how far it is, `is_over` that its run has ended."""

    address: str
    state: str
    is_over: bool = False

    def _parts(self) -> tuple[str, str, str]:
        remedy = "resume the run" if self.is_over else "ask again later, or wait for the run"
        return f"node {self.address} has no result", f"it is {self.state}", remedy


class NodeSkipped(DagceleryError):
    """A node, or an item of one, has no result and will not have one, because it was left out."""


@record
class PieceDied(_OfFacts):
    """The processes that ran a piece died, as often as DAGCELERY_MAX_DEATHS allows.

    If `how` is "returned", they were stopped while they ran it and gave it back, ten times as often.
    """

    deaths: int
    how: str = "died"

    def _parts(self) -> tuple[str, str, str]:
        if self.how == "returned":
            return (
                "",
                f"it was given back {self.deaths} times by processes that were stopped while they ran it",
                "let workers finish it (a warm shutdown does), or make it shorter; then resume the run",
            )
        return (
            "",
            f"{self.deaths} processes died while they ran it",
            "look for what kills them in the logs of the workers and of the kernel (memory, a crash in native code), "
            "then resume the run",
        )


@record
class TimeLimitExceeded(_OfFacts, TimeoutError):
    """A piece ran longer than its task's hard time limit, and was ended."""

    seconds: float

    def _parts(self) -> tuple[str, str, str]:
        return "", f"it ran longer than its time limit of {self.seconds:g} s", "raise timeout=, or make the task faster"


@record
class NotStarted(_OfFacts):
    """A piece was not started within its task's `start_within`; `lacking` is what a worker refused it for."""

    queue: str
    seconds: float
    is_served: bool
    lacking: str = ""

    def _parts(self) -> tuple[str, str, str]:
        if self.is_served and self.lacking:
            reason = f"a worker of queue '{self.queue}' {self.lacking}"
            remedy = "deploy what it lacks, and restart it; its log says more"
        elif self.is_served:
            reason = f"the workers of queue '{self.queue}' were busy"
            remedy = "start more of them, or raise start_within="
        else:
            reason = f"no live worker consumes queue '{self.queue}'"
            remedy = f"start one: celery -A dagcelery worker -Q {self.queue}"
        return "", f"it was not started within {self.seconds:g} s, because {reason}", remedy


_START_AGAIN = "to execute a node again, name it: retry_from('read[3]'), or dagcelery resume --from 'read[3]'"


@record
class NotResumable(_OfFacts):
    """A run cannot be resumed in the state that it is in."""

    run_id: str
    state: str

    def _parts(self) -> tuple[str, str, str]:
        culprit = f"run {self.run_id} is {self.state}"
        if self.state == "done":
            return culprit, "there is nothing to resume", _START_AGAIN
        return culprit, "it continues by itself", "cancel it first, or wait until it ends"


@record
class RunCancelled(_OfFacts):
    """A run was cancelled before it was done."""

    run_id: str
    reason: str = ""

    def _parts(self) -> tuple[str, str, str]:
        return f"run {self.run_id} was cancelled", self.reason, ""


@record
class RunTimedOut(_OfFacts):
    """A run passed its deadline, or its data was about to expire, before it was done."""

    run_id: str
    reason: str = ""

    def _parts(self) -> tuple[str, str, str]:
        return f"run {self.run_id} timed out", self.reason, ""


@record
class ResultTimeout(_OfFacts, TimeoutError):
    """A run had no result within the time-out, and goes on; it was in this `state`, and not over for this `reason`."""

    run_id: str
    seconds: float
    state: str = ""
    reason: str = ""

    def _parts(self) -> tuple[str, str, str]:
        problem = f"run {self.run_id} had no result after {self.seconds:g} s"
        if self.state:
            problem += f": it is {self.state}{f' ({self.reason})' if self.reason else ''}"
        return "", problem, "the run goes on: ask again, wait longer, or cancel it"


@record
class RunNotFound(_OfFacts, LookupError):
    """The store has no run with this id."""

    run_id: str

    def _parts(self) -> tuple[str, str, str]:
        return (
            f"run {self.run_id} is not in this store",
            "it never existed, it has expired, or it was deleted",
            "check the id and DAGCELERY_STORE_URL",
        )


@record
class NotKept(_OfFacts, KeyError):
    """A stage reads a value that no stage of its run has written, or that was deleted."""

    run_id: str
    key: str

    def _parts(self) -> tuple[str, str, str]:
        problem = f"run {self.run_id} keeps no value called {self.key!r}"
        return "", problem, "write it in an earlier stage"


@record
class BadSignature(_OfFacts):
    """Stored bytes cannot be trusted, so they were not decoded; ``address`` says which."""

    address: str
    reason: str

    def _parts(self) -> tuple[str, str, str]:
        return f"the stored bytes of {self.address} were refused", self.reason, ""


class UnknownKey(BadSignature):
    """Stored bytes were sealed with a key that this process does not have; one that has it can read them."""


@record
class CodeMismatch(_OfFacts):
    """A function's code is not the code that the run was planned with.

    `planned` and `found` are hashes of both, `advice` is a further remedy.
    """

    function: str
    planned: str
    found: str
    advice: str = ""

    def _parts(self) -> tuple[str, str, str]:
        return (
            "",
            f"function {self.function} has different code here ({self.found}) from when its run was planned "
            f"({self.planned})",
            _either("deploy the same version to clients and workers, or submit a new run", self.advice),
        )


class CodeUnknown(CodeMismatch):
    """The code of a function cannot be compared with that of the plan, so it may have changed.

    `found` is the reason, in place of a hash.
    """

    def _parts(self) -> tuple[str, str, str]:
        return (
            f"function {self.function} may have changed since its run was planned: its code cannot be inspected here",
            self.found,
            _either(f"do this where module {self.function.partition(':')[0]!r} is as the workers have it", self.advice),
        )


@record
class FunctionNotFound(_OfFacts):
    """A function that a plan names is not where the plan says."""

    module: str
    qualname: str
    reason: str = ""

    def _parts(self) -> tuple[str, str, str]:
        return (
            f"function {_called(self.module, self.qualname)} was not found",
            self.reason,
            "put its module on this worker's path, in the version that the client has; "
            "if the function has moved, keep its old name importable, or give it to the new one as @task(aliases=...)",
        )


class SerializationError(DagceleryError):
    """A value cannot be turned into bytes without loss."""


class DeserializationError(DagceleryError):
    """Stored bytes, though genuine, cannot be turned back into a value here."""


class SpillDamaged(DeserializationError):
    """A value's file is missing, or holds other bytes than were written; nothing was decoded."""


class ValueFreed(DeserializationError):
    """A value was removed, because its DAG keeps nothing but its outputs."""


@record
class LimitExceeded(_OfFacts):
    """Something is larger than ``setting``, an environment variable, allows."""

    culprit: str
    amount: int
    limit: int
    unit: str
    setting: str

    def _parts(self) -> tuple[str, str, str]:
        return (
            self.culprit,
            f"has {self.amount:,} {self.unit}, more than the {self.limit:,} allowed",
            f"make it smaller, or raise {self.setting}",
        )

    def __str__(self) -> str:
        return f"{self.culprit} {self.problem}; {self.remedy}"


@record
class PayloadTooLarge(LimitExceeded):
    """A value has more bytes than may be stored; ``amount`` may be a lower bound, where counting stopped."""

    unit: str = unasked(default="bytes")
    setting: str = unasked(default="DAGCELERY_MAX_PAYLOAD_BYTES")

    def _parts(self) -> tuple[str, str, str]:
        return (
            self.culprit,
            f"takes at least {self.amount:,} bytes, more than the {self.limit:,} allowed",
            "keep large data in files or an object store and pass its address, split it into elements, "
            f"or raise {self.setting}",
        )


@record
class StoreUnavailable(_OfFacts):
    """The store does not answer, or says that it cannot now; ``url`` has its password hidden."""

    reason: str
    url: str = ""
    advice: str = ""

    def _parts(self) -> tuple[str, str, str]:
        return (
            f"the store {_at(self.url)}does not answer",
            self.reason,
            self.advice or "start it, or point DAGCELERY_STORE_URL at a Redis or Valkey that runs",
        )


class StoreRefused(StoreUnavailable):
    """The store refuses a command until somebody sees to it, such as one that is read-only. Nothing was written."""

    def _parts(self) -> tuple[str, str, str]:
        return (
            f"the store {_at(self.url)}refuses a command",
            self.reason,
            self.advice
            or "check user and password in DAGCELERY_STORE_URL, and the user's rights (worker_config/redis.conf)",
        )


class StoreFull(StoreRefused):
    """The store has no memory left for what a command would write. Nothing was written; what makes room goes on."""

    def _parts(self) -> tuple[str, str, str]:
        return (
            f"the store {_at(self.url)}is full",
            self.reason,
            "delete runs that are over, lower DAGCELERY_RESULT_TTL_SECONDS, or give it more memory (maxmemory)",
        )


class StoreDamaged(DagceleryError):
    """A script in the store fails: a key of dagcelery's holds what dagcelery has not written, or it has a bug."""


@record
class SpillUnavailable(_OfFacts):
    """Files of large values cannot be written, read or removed, as ``verb`` says; ``url`` has its password hidden."""

    url: str
    verb: str
    reason: str

    def _parts(self) -> tuple[str, str, str]:
        return (
            f"files below {self.url} cannot be {self.verb}",
            self.reason,
            "let this process reach and write there, or point DAGCELERY_SPILL_URL elsewhere",
        )


@record
class BrokerUnavailable(_OfFacts):
    """The broker does not take messages; ``url`` has its password hidden."""

    reason: str
    url: str = ""

    def _parts(self) -> tuple[str, str, str]:
        return (
            f"the broker {_at(self.url)}does not take messages",
            self.reason,
            "start it, or point DAGCELERY_BROKER_URL at one that runs",
        )


@record
class NotSent(_OfFacts):
    """A message could not be sent, and the broker is not to blame; ``reason`` names the original error."""

    reason: str
    advice: str = ""

    def _parts(self) -> tuple[str, str, str]:
        return "a message cannot be sent", self.reason, self.advice


@record
class PlanVersionUnsupported(_OfFacts):
    """A plan has a version that this process cannot read."""

    found: int
    supported: int

    def _parts(self) -> tuple[str, str, str]:
        older = "workers" if self.found > self.supported else "client"
        return (
            "",
            f"a plan of version {self.found} cannot be read by this dagcelery, which reads version {self.supported}",
            f"upgrade dagcelery on the {older}",
        )


def _called(module: str, qualname: str) -> str:
    return f"{module}:{qualname}" if qualname else module


def _at(url: str) -> str:
    return f"at {url} " if url else ""


def _either(remedy: str, advice: str) -> str:
    return f"{remedy}; {advice}" if advice else remedy
