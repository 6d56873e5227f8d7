"""The examination: all checks, or those that cost a worker's start next to nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from dagcelery.doctor import configuration, servers, workers
from dagcelery.doctor.findings import Finding, Severity
from dagcelery.doctor.patient import Patient
from dagcelery.errors import DagceleryError
from dagcelery.runtime import urls
from dagcelery.runtime.binding import Binding

log = logging.getLogger(__name__)

Check = Callable[[Patient], Iterable[Finding]]

OF_SETTINGS: Final[tuple[Check, ...]] = (
    configuration.check_signing_key,
    configuration.check_visibility,
    configuration.check_prefetch,
)
OF_SERVERS: Final[tuple[Check, ...]] = (
    servers.check_version,
    servers.check_eviction,
    servers.check_memory,
    servers.check_persistence,
    servers.check_clock,
)
CHECKS: Final[tuple[Check, ...]] = (
    servers.check_broker,
    servers.check_store,
    servers.check_openness,
    *OF_SETTINGS,
    *OF_SERVERS,
    servers.check_rights,
    servers.check_keys,
    configuration.check_consumer_timeout,
    workers.check_queues,
    workers.check_worker_keys,
    workers.check_idle_workers,
    workers.check_hoarders,
    workers.check_code,
)
_ORDER: Final = list(Severity)


def examine(patient: Patient, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """Make checks, and return what they found, the worst first. A check that needs who does not answer finds nothing:
    another one has said so.
    """
    return sorted(_found(patient, checks), key=lambda finding: _ORDER.index(finding.severity))


def _found(patient: Patient, checks: Iterable[Check]) -> Iterator[Finding]:
    for check in checks:
        try:
            yield from check(patient)
        except DagceleryError as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            log.debug("check %s: %s", name, error, extra={"action": "check_failed"})


def tell(binding: Binding) -> None:
    """Say in a starting worker's log what is serious, of what can be known at once.

    Servers are not asked as a user with a name: it has few rights on purpose, and what it is denied is logged there.
    """
    patient = Patient(binding)
    checks = OF_SETTINGS if urls.has_user(binding.settings.store_url) else (*OF_SETTINGS, *OF_SERVERS)
    for finding in examine(patient, checks):
        if finding.severity is Severity.SERIOUS:
            log.error("%s", finding, extra={"action": "finding", "check": finding.check})
    patient.close()
