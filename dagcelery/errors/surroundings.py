"""Errors of what is around a run: settings, code, store, broker."""

from __future__ import annotations

from dagcelery.errors.family import DagceleryError, sentence


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
