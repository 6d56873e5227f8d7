"""What a worker refuses, since another one may have what it lacks: a signing key, a module, newer code.

Such an error says nothing of the piece or the run: the same work does no harm to a worker that has what it needs. So
nothing fails of it, and what is refused waits as if this worker were not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from dagcelery.engine.program import Program
from dagcelery.errors import (
    CodeMismatch,
    DagceleryError,
    FunctionNotAllowed,
    FunctionNotFound,
    PlanVersionUnsupported,
    UnknownKey,
)

_LACKING = (CodeMismatch, FunctionNotAllowed, FunctionNotFound, PlanVersionUnsupported, UnknownKey)

_NO_SUCH_CLASS = "Can't get attribute"
"""What pickle says of a class or function that a module does not have; from Python 3.14 on it is the module's error."""

_CAUSES = 10


def is_refusal(program: Program, error: BaseException) -> bool:
    """Return whether an error of the library says that this process lacks what another one may have."""
    if not isinstance(error, DagceleryError):
        return False
    return any(_is_lack(each) or program.lacks(each) for each in _chain(error))


def _is_lack(error: BaseException) -> bool:
    if isinstance(error, AttributeError):
        return isinstance(error.obj, ModuleType) or str(error).startswith(_NO_SUCH_CLASS)
    return isinstance(error, (*_LACKING, ImportError))


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__


def words(error: BaseException) -> str:
    """Return what a worker lacks, as the end of a sentence about it: ``lacks module 'pipeline' (...)``."""
    if isinstance(error, FunctionNotAllowed):
        return f"may not import module '{error.module}' for a run that is not signed"
    if isinstance(error, CodeMismatch):
        return f"has other code of function {error.function} than the run was planned with"
    if isinstance(error, PlanVersionUnsupported):
        return f"reads plans of version {error.supported}, and this run's has version {error.found}"
    if isinstance(error, FunctionNotFound):
        return _missing(error)
    if isinstance(error, UnknownKey):
        return "lacks a signing key that this was sealed with"
    return f"cannot read what this needs ({error})"


def _missing(error: FunctionNotFound) -> str:
    cause = error.__cause__
    reason = f"({type(cause).__name__}: {cause})"
    if isinstance(cause, ModuleNotFoundError) and f"{error.module}.".startswith(f"{cause.name}."):
        return f"lacks module '{error.module}' {reason}"
    if cause is not None and not isinstance(cause, AttributeError):
        return f"cannot import module '{error.module}' {reason}"
    return f"lacks function {error.module}:{error.qualname} ({error.reason})"
