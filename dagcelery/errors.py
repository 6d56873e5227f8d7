"""Every error that dagcelery raises on purpose, the family tree on top.

::

    DagceleryError
    ├── InvalidDag (ValueError)
    │   ├── InvalidDagType (TypeError)
    │   ├── InvalidConfig
    │   └── CyclicDependency
    ├── InvalidParameters (ValueError)
    ├── InvalidSetting (ValueError)
    ├── NotConfigured
    │   └── FunctionNotAllowed
    ├── RunFailed
    ├── NodeFailed
    ├── RunCancelled
    ├── RunTimedOut
    ├── ResultTimeout (TimeoutError)
    ├── RunNotFound (LookupError)
    ├── BadSignature
    │   └── UnknownKey
    ├── CodeMismatch
    ├── FunctionNotFound
    ├── SerializationError
    ├── DeserializationError
    ├── LimitExceeded
    │   └── PayloadTooLarge
    ├── StoreUnavailable
    ├── BrokerUnavailable
    └── PlanVersionUnsupported

An error is a small record: its ``args`` are its constructor's arguments, so it survives pickle, copy and
result backends that rebuild ``cls(*args)``. Its ``str()`` is one sentence: the culprit, what is wrong,
what would be right.
"""

from __future__ import annotations

from collections.abc import Sequence


class DagceleryError(Exception):
    """The base of all errors of this package; ``str()`` joins the parts it was made of into a sentence."""

    def __str__(self) -> str:
        return sentence(*map(str, self.args))


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


class InvalidSetting(DagceleryError, ValueError):
    """A setting has a value that it cannot have; ``name`` is the environment variable or the argument."""

    def __init__(self, name: str, wrong: str, right: str = "") -> None:
        super().__init__(name, wrong, right)
        self.name = name
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
            f"{_called(module, qualname)} was named by data that nobody signed, "
            f"and module {module!r} is not in DAGCELERY_IMPORTS",
            f"add {module} to DAGCELERY_IMPORTS, or set DAGCELERY_SIGNING_KEY to the same value "
            "on the client and its workers",
        )
        self.args = (module, qualname)
        self.module = module
        self.qualname = qualname

    def __str__(self) -> str:
        return sentence(self.what, self.remedy)


class RunFailed(DagceleryError):
    """A run failed for a reason that lies in no single node."""

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(run_id, reason)
        self.run_id = run_id
        self.reason = reason

    def __str__(self) -> str:
        return sentence(f"run {self.run_id} failed", self.reason)


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


class CodeMismatch(DagceleryError):
    """A function's code is not the code that the run was planned with; hashes are hexadecimal."""

    def __init__(self, function: str, planned: str, found: str) -> None:
        super().__init__(function, planned, found)
        self.function = function
        self.planned = planned
        self.found = found

    def __str__(self) -> str:
        return (
            f"function {self.function} has other code here ({self.found}) than when its run was planned "
            f"({self.planned}); deploy the same version to clients and workers, submit a new run, "
            'or set DAGCELERY_CODE_MISMATCH to "warn"'
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


class SerializationError(DagceleryError):
    """A value cannot be turned into bytes without loss."""

    def __init__(self, culprit: str, reason: str, remedy: str = "") -> None:
        super().__init__(culprit, reason, remedy)
        self.culprit = culprit
        self.reason = reason
        self.remedy = remedy


class DeserializationError(DagceleryError):
    """Stored bytes, though genuine, cannot be turned back into a value here."""

    def __init__(self, culprit: str, reason: str, remedy: str = "") -> None:
        super().__init__(culprit, reason, remedy)
        self.culprit = culprit
        self.reason = reason
        self.remedy = remedy


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


def sentence(*parts: str) -> str:
    """Join culprit, what is wrong and what would be right into one; empty parts are left out."""
    told = [part.rstrip(". ") for part in parts if part]
    if len(told) < 2:
        return "".join(told)
    return f"{told[0]}: {'; '.join(told[1:])}"


def _called(module: str, qualname: str) -> str:
    return f"{module}:{qualname}" if qualname else module


def _at(url: str) -> str:
    return f"at {url} " if url else ""
