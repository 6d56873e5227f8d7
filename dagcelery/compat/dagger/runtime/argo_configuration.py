"""What manifests of `dagger.runtime.argo` are made with: values that are compared and shown, and keys of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from dagcelery.errors import NotExportable
from dagcelery.export.argo.policies import merged

_EMPTY: Final[Mapping[str, Any]] = {
    "container_entrypoint_to_dag_cli": [],
    "params": {},
    "extra_spec_options": {},
    "annotations": {},
    "labels": {},
}
"""What values are that may be left out, or None."""


class _Configuration:
    """Read-only values, of which those that are left out are empty."""

    def __post_init__(self) -> None:
        for name, empty in _EMPTY.items():
            if name in self.__dict__:
                self.__dict__[name] = self.__dict__[name] or copy(empty)

    def __repr__(self) -> str:
        values = ((name, getattr(value, "value", value)) for name, value in self.__dict__.items())
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in values)})"


@dataclass(frozen=True, repr=False)
class Workflow(_Configuration):
    """The image of all containers, their entrypoint, which is to be `runtime.cli`, parameters, and more keys."""

    container_image: str
    container_entrypoint_to_dag_cli: Sequence[str] = ()
    params: Mapping[str, Any] | None = None
    extra_spec_options: Mapping[str, Any] | None = None


@dataclass(frozen=True, repr=False)
class Metadata(_Configuration):
    """What Kubernetes calls an object; with `generate_name_from_prefix` the name is the beginning of one."""

    name: str
    generate_name_from_prefix: bool = False
    namespace: str | None = None
    annotations: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None


class CronConcurrencyPolicy(Enum):
    """What happens when a workflow is due and the last one has not ended."""

    ALLOW = "Allow"
    FORBID = "Forbid"
    REPLACE = "Replace"


@dataclass(frozen=True, repr=False)
class Cron(_Configuration):
    """When a CronWorkflow is due, and what holds for its runs."""

    schedule: str
    starting_deadline_seconds: int = 0
    concurrency_policy: CronConcurrencyPolicy = CronConcurrencyPolicy.ALLOW
    timezone: str | None = None
    successful_jobs_history_limit: int | None = None
    failed_jobs_history_limit: int | None = None
    extra_spec_options: Mapping[str, Any] | None = None


# -- more keys ------------------------------------------------------------------------------------
class OverridingError(NotExportable):
    """A key is set that the runtime sets itself."""

    def __str__(self) -> str:
        return self.problem


def with_extra_spec_options(
    original: Mapping[str, Any], extra_options: Mapping[str, Any], context: str
) -> dict[str, Any]:
    """Return both mappings as one: mappings in them are merged, lists joined. Any other key stands in one of them."""
    try:
        return merged(original, extra_options, context)
    except NotExportable as error:
        raise OverridingError(
            error.culprit,
            f"You are trying to override the value of '{error.culprit}'. The Argo runtime already sets a value for "
            "this key, and it uses it to guarantee the correctness of the behavior. Therefore, we cannot let you "
            "override them.",
        ) from error
