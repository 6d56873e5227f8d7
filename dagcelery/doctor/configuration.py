"""What may be wrong with settings, Celery's and ours: nobody has to be asked for these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dagcelery.doctor.findings import Finding, Severity
from dagcelery.doctor.patient import Patient
from dagcelery.runtime import urls

SHORTEST_KEY: Final = 16
SHORTEST_SECONDS: Final = 600
_DEFAULT_VISIBILITY: Final = 3600


def check_signing_key(patient: Patient) -> Iterator[Finding]:
    """What is stored is signed with a secret that cannot be guessed."""
    keys = [key.strip() for key in patient.settings.signing_key.split(",") if key.strip()]
    remedy = "DAGCELERY_SIGNING_KEY=$(openssl rand -hex 32), the same for clients and workers"
    if not keys and not any(True for _ in patient.binding.imports):
        what = (
            "there is neither a signing key nor DAGCELERY_IMPORTS, and the app names no module of tasks, so workers "
            "may execute nothing"
        )
        yield Finding("signing key", Severity.SERIOUS, what, remedy)
    elif not keys:
        what = "there is no signing key: who can write to the store may change values, and name what is called"
        yield Finding("signing key", Severity.WARNING, what, remedy)
    elif min(map(len, keys)) < SHORTEST_KEY:
        what = f"a signing key has fewer than {SHORTEST_KEY} characters, and could be guessed"
        yield Finding("signing key", Severity.WARNING, what, remedy)


def check_visibility(patient: Patient) -> Iterator[Finding]:
    """Messages of long tasks are not delivered again while these still run; the three settings for it agree."""
    if not urls.is_redis(patient.broker_url):
        return
    conf = patient.app.conf
    said = {
        "broker_transport_options": (conf.broker_transport_options or {}).get("visibility_timeout"),
        "result_backend_transport_options": (conf.result_backend_transport_options or {}).get("visibility_timeout"),
        "visibility_timeout": conf.get("visibility_timeout"),
    }
    given = {name: seconds for name, seconds in said.items() if seconds is not None}
    if len(set(given.values())) > 1:
        what = "visibility timeouts differ: " + ", ".join(f"{name} says {seconds}" for name, seconds in given.items())
        yield Finding("visibility timeout", Severity.WARNING, what, "say the same in all three places")
    seconds = said["broker_transport_options"] or _DEFAULT_VISIBILITY
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        what = f"broker_transport_options says visibility_timeout={seconds!r}, which is not a number of seconds"
        yield Finding("visibility timeout", Severity.SERIOUS, what, "give a number, such as 43200")
    elif seconds < SHORTEST_SECONDS:
        what = f"the broker delivers a message again after {seconds:g} s, also to tasks of your own that take longer"
        remedy = "make visibility_timeout longer than your longest task, in all apps that share the broker"
        yield Finding("visibility timeout", Severity.WARNING, what, remedy)


def check_consumer_timeout(patient: Patient) -> Iterator[Finding]:
    """RabbitMQ waits long enough for acknowledgements; it cannot be asked, so this is said of every RabbitMQ."""
    if patient.broker_url.startswith(("amqp", "pyamqp")):
        what = (
            "RabbitMQ closes the channel of a worker whose task takes longer than consumer_timeout, 30 min by default"
        )
        remedy = "let consumer_timeout in rabbitmq.conf be longer than your longest task"
        yield Finding("consumer timeout", Severity.NOTE, what, remedy)


def check_prefetch(patient: Patient) -> Iterator[Finding]:
    """A process takes one message at a time."""
    multiplier = patient.app.conf.worker_prefetch_multiplier
    if multiplier != 1 and not patient.app.conf.get("worker_disable_prefetch"):
        what = f"worker_prefetch_multiplier is {multiplier}: work waits in a busy worker's hands while another is free"
        yield Finding("prefetch", Severity.WARNING, what, "start workers with --prefetch-multiplier 1")
