"""Every error that dagcelery raises on purpose, the family tree on top.

::

    DagceleryError
    ├── InvalidDag (ValueError)
    │   ├── InvalidDagType (TypeError)
    │   ├── InvalidConfig
    │   └── CyclicDependency
    ├── InvalidParameters (ValueError)
    │   └── KeyReused
    ├── InvalidSetting (ValueError)
    ├── InvalidLocation (OSError)
    ├── NotConfigured
    │   └── FunctionNotAllowed
    ├── NodeFailed
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
    ├── SpillUnavailable
    ├── BrokerUnavailable
    ├── NotSent
    └── PlanVersionUnsupported

An error is a small record: its ``args`` are its constructor's arguments, so it survives pickle, copy and
result backends that rebuild ``cls(*args)``. Its ``str()`` is one sentence: the culprit, what is wrong,
what would be right.

The top of the family of errors, and how its members put their sentences together.

Errors of those who write a DAG or give it parameters.

Errors of values on their way to bytes and back.

Errors of a run, its pieces, and what was kept of them.

Errors of what is around a run: settings, code, store, broker.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BadSignature",
    "BrokerUnavailable",
    "CodeMismatch",
    "CodeUnknown",
    "CyclicDependency",
    "DagceleryError",
    "DeserializationError",
    "FunctionNotAllowed",
    "FunctionNotFound",
    "InvalidConfig",
    "InvalidDag",
    "InvalidDagType",
    "InvalidLocation",
    "InvalidParameters",
    "InvalidSetting",
    "KeyReused",
    "LimitExceeded",
    "NodeFailed",
    "NotConfigured",
    "NotKept",
    "NotResumable",
    "NotSent",
    "NotStarted",
    "PayloadTooLarge",
    "PieceDied",
    "PlanVersionUnsupported",
    "ResultTimeout",
    "RunCancelled",
    "RunNotFound",
    "RunTimedOut",
    "SerializationError",
    "SpillDamaged",
    "SpillUnavailable",
    "StoreRefused",
    "StoreUnavailable",
    "TimeLimitExceeded",
    "UnknownKey",
    "ValueFreed",
    "sentence",
]


class DagceleryError(Exception):
    """The base of all errors of this package; ``str()`` joins the parts it was made of into a sentence."""

    def __init_subclass__(cls) -> None:
        # Where an error is written is nobody's business: it is called, pickled and shown by its public name.
        if cls.__module__.startswith("dagcelery.errors."):
            cls.__module__ = "dagcelery.errors"

    def __str__(self) -> str:
        return sentence(*map(str, self.args))


def sentence(*parts: str) -> str:
    """Join culprit, what is wrong and what would be right into one; empty parts are left out."""
    told = [part.rstrip(". ") for part in parts if part]
    if len(told) < 2:
        return "".join(told)
    return f"{told[0]}: {'; '.join(told[1:])}"


class InvalidDag(DagceleryError, ValueError):
    """A DAG breaks a rule; raised when it is built, never when it runs."""

    def __init__(self, culprit: str, wrong: str = "", right: str = "") -> None:
        super().__init__(culprit, wrong, right)
        self.culprit = culprit
        self.wrong = wrong
        self.right = right


class InvalidDagType(InvalidDag, TypeError):
    """A part of a DAG is of a type that cannot stand there."""


class CyclicDependency(InvalidDag):
    """Nodes need each other in a circle; ``nodes`` are their names in that order, each once."""

    def __init__(self, nodes: Sequence[str]) -> None:
        circle = " -> ".join([*nodes, *nodes[:1]])
        super().__init__(
            f"nodes {circle}",
            "need each other in a circle, so none of them could start",
            "remove one of these dependencies",
        )
        self.args = (nodes,)
        self.nodes = tuple(nodes)

    def __str__(self) -> str:
        return sentence(self.culprit, self.wrong, self.right)


class InvalidConfig(InvalidDag):
    """A configuration says what no workflow can be made of; `line` counts from 1, None means that of no file."""

    def __init__(self, file: str, line: int | None, key: str, wrong: str, right: str = "") -> None:
        place = ", ".join(filter(None, (file, f"line {line}" if line else "", key)))
        super().__init__(place, wrong, right)
        self.args = (file, line, key, wrong, right)
        self.file = file
        self.line = line
        self.key = key

    def __str__(self) -> str:
        return sentence(self.culprit, self.wrong, self.right)


class InvalidParameters(DagceleryError, ValueError):
    """The parameters given to a run do not fit its DAG."""

    def __init__(self, culprit: str, wrong: str = "", right: str = "") -> None:
        super().__init__(culprit, wrong, right)
        self.culprit = culprit
        self.wrong = wrong
        self.right = right


class KeyReused(InvalidParameters):
    """A key stands for a run that was submitted with other parameters; that run is `run_id`."""

    def __init__(self, key: str, run_id: str, name: str) -> None:
        super().__init__(
            f"key {key!r}",
            f"stands for run {run_id} of '{name}', which was submitted with other parameters",
            "use a key for one set of parameters only",
        )
        self.args = (key, run_id, name)
        self.key = key
        self.run_id = run_id

    def __str__(self) -> str:
        return sentence(self.culprit, self.wrong, self.right)


class BadSignature(DagceleryError):
    """Stored bytes cannot be trusted, so they were not decoded; ``address`` says which."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return sentence(f"the stored bytes of {self.address} were refused", self.reason)


class UnknownKey(BadSignature):
    """Stored bytes were sealed with a key that this process does not hold; one that does may read them."""


class SerializationError(DagceleryError):
    """A value cannot be turned into bytes without loss."""

    def __init__(self, culprit: str, reason: str = "", remedy: str = "") -> None:
        super().__init__(culprit, reason, remedy)
        self.culprit = culprit
        self.reason = reason
        self.remedy = remedy


class DeserializationError(DagceleryError):
    """Stored bytes, though genuine, cannot be turned back into a value here."""

    def __init__(self, culprit: str, reason: str = "", remedy: str = "") -> None:
        super().__init__(culprit, reason, remedy)
        self.culprit = culprit
        self.reason = reason
        self.remedy = remedy


class ValueFreed(DeserializationError):
    """A value is not there any more, because its DAG keeps nothing but its outputs."""


class SpillDamaged(DeserializationError):
    """A value stands in a file that is missing, or holds other bytes than were written; nothing was decoded."""


class LimitExceeded(DagceleryError):
    """Something is larger than a setting allows; ``setting`` is the environment variable that says so."""

    def __init__(self, culprit: str, amount: int, limit: int, unit: str, setting: str) -> None:
        super().__init__(culprit, amount, limit, unit, setting)
        self.culprit = culprit
        self.amount = amount
        self.limit = limit
        self.unit = unit
        self.setting = setting

    def __str__(self) -> str:
        return (
            f"{self.culprit} has {self.amount:,} {self.unit}, more than the {self.limit:,} that are allowed; "
            f"make it smaller, or raise {self.setting}"
        )


class PayloadTooLarge(LimitExceeded):
    """A value's bytes are more than may be stored; ``size`` may be a lower bound, counted until then."""

    def __init__(self, culprit: str, size: int, limit: int) -> None:
        super().__init__(culprit, size, limit, "bytes", "DAGCELERY_MAX_PAYLOAD_BYTES")
        self.args = (culprit, size, limit)
        self.size = size

    def __str__(self) -> str:
        return (
            f"{self.culprit} takes {self.size:,} bytes or more, and {self.limit:,} are allowed; "
            "keep large data in files or an object store and pass its address, "
            "split it into elements, or raise DAGCELERY_MAX_PAYLOAD_BYTES"
        )


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


class InvalidSetting(DagceleryError, ValueError):
    """A setting has a value that it cannot have; ``name`` is the environment variable or the argument."""

    def __init__(self, name: str, wrong: str, right: str = "") -> None:
        super().__init__(name, wrong, right)
        self.name = name
        self.wrong = wrong
        self.right = right


class InvalidLocation(DagceleryError, OSError):
    """A file or folder cannot be read or written where somebody said; nothing was left half-written."""

    def __init__(self, culprit: str, wrong: str, right: str = "") -> None:
        super().__init__(culprit)  # an OSError takes two and more for something else
        self.args = (culprit, wrong, right)
        self.culprit = culprit
        self.wrong = wrong
        self.right = right


class NotConfigured(DagceleryError):
    """Something was asked for that needs a setting which nobody made."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy


class FunctionNotAllowed(NotConfigured):
    """Unsigned data names a module outside the allow-list; the module was not imported."""

    def __init__(self, module: str, qualname: str = "") -> None:
        super().__init__(
            f"{_called(module, qualname)} was named by unsigned data, and module {module!r} is neither in "
            "DAGCELERY_IMPORTS nor one in which the Celery app looks for its tasks",
            f"add {module} to DAGCELERY_IMPORTS, or set DAGCELERY_SIGNING_KEY to the same value on the client and its "
            "workers; an app of your own may say them as app.conf.dagcelery_imports and app.conf.dagcelery_signing_key",
        )
        self.args = (module, qualname)
        self.module = module
        self.qualname = qualname

    def __str__(self) -> str:
        return sentence(self.what, self.remedy)


class CodeMismatch(DagceleryError):
    """A function's code is not the code that the run was planned with; hashes are hexadecimal."""

    def __init__(self, function: str, planned: str, found: str, remedy: str = "") -> None:
        super().__init__(function, planned, found, remedy)
        self.function = function
        self.planned = planned
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        told = (
            f"function {self.function} has other code here ({self.found}) than when its run was planned "
            f"({self.planned}); deploy the same version to clients and workers, or submit a new run"
        )
        return f"{told}; {self.remedy}" if self.remedy else told


class CodeUnknown(CodeMismatch):
    """The code of a function that a run was planned with cannot be compared here, so it may have been changed."""

    def __init__(self, function: str, planned: str, reason: str, remedy: str = "") -> None:
        super().__init__(function, planned, "", remedy)
        self.args = (function, planned, reason, remedy)
        self.reason = reason

    def __str__(self) -> str:
        return sentence(
            f"function {self.function} may have been changed since its run was planned: its code cannot be looked at "
            "here",
            self.reason,
            f"do this where module {self.function.partition(':')[0]!r} is as the workers have it",
            self.remedy,
        )


class FunctionNotFound(DagceleryError):
    """A function that a plan names is not where the plan says."""

    def __init__(self, module: str, qualname: str, reason: str = "") -> None:
        super().__init__(module, qualname, reason)
        self.module = module
        self.qualname = qualname
        self.reason = reason

    def __str__(self) -> str:
        return sentence(
            f"function {_called(self.module, self.qualname)} was not found",
            self.reason,
            "put its module on this worker's path in the version that the client has; "
            "if the function moved, keep its old name importable until the runs that know it are over",
        )


class StoreUnavailable(DagceleryError):
    """The store does not answer; ``url`` has its password hidden."""

    def __init__(self, reason: str, url: str = "") -> None:
        super().__init__(reason, url)
        self.reason = reason
        self.url = url

    def __str__(self) -> str:
        return sentence(
            f"the store {_at(self.url)}does not answer",
            self.reason,
            "start it, or point DAGCELERY_STORE_URL at a Redis or Valkey that runs",
        )


class StoreRefused(StoreUnavailable):
    """The store answers, and refuses: it is full, read-only, or does not let this user in. Nothing was written."""

    def __str__(self) -> str:
        return sentence(
            f"the store {_at(self.url)}refuses",
            self.reason,
            "give it memory (maxmemory), name its primary, or check user and password of DAGCELERY_STORE_URL, and the "
            "user's rights (worker_config/redis.conf lists them)",
        )


class BrokerUnavailable(DagceleryError):
    """The broker takes no messages; ``url`` has its password hidden."""

    def __init__(self, reason: str, url: str = "") -> None:
        super().__init__(reason, url)
        self.reason = reason
        self.url = url

    def __str__(self) -> str:
        return sentence(
            f"the broker {_at(self.url)}takes no messages",
            self.reason,
            "start it, or point DAGCELERY_BROKER_URL at one that runs",
        )


class NotSent(DagceleryError):
    """A message could not be sent, and the broker is not to blame; ``reason`` has the type of the original error."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return sentence("a message cannot be sent", self.reason, self.remedy)


class SpillUnavailable(DagceleryError):
    """Files of large values cannot be written, read or removed, as ``verb`` says; ``url`` has its password hidden."""

    def __init__(self, url: str, verb: str, reason: str) -> None:
        super().__init__(url, verb, reason)
        self.url = url
        self.verb = verb
        self.reason = reason

    def __str__(self) -> str:
        return sentence(
            f"files below {self.url} cannot be {self.verb}",
            self.reason,
            "let this process reach and write there, or point DAGCELERY_SPILL_URL elsewhere",
        )


class PlanVersionUnsupported(DagceleryError):
    """A plan was written in a version of the format that this process does not read."""

    def __init__(self, found: int, supported: int) -> None:
        super().__init__(found, supported)
        self.found = found
        self.supported = supported

    def __str__(self) -> str:
        older = "workers" if self.found > self.supported else "client"
        return (
            f"a plan of version {self.found} cannot be read by this dagcelery, which reads version "
            f"{self.supported}; upgrade dagcelery on the {older}"
        )


def _called(module: str, qualname: str) -> str:
    return f"{module}:{qualname}" if qualname else module


def _at(url: str) -> str:
    return f"at {url} " if url else ""
