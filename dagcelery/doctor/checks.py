"""The doctor's checks: settings, which nobody has to be asked for; servers, and the way to them; workers.

All of them are made, or those that cost a worker's start next to nothing.
"""

from __future__ import annotations

import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from dagcelery.client.status import Worker, holds, of_other_keys, run_status
from dagcelery.doctor.context import Finding, Patient, Severity
from dagcelery.errors import DagceleryError, InvalidSetting, NotSent, StoreUnavailable, UnknownKey
from dagcelery.store.records import TERMINAL
from dagcelery.worker import context
from dagcelery.worker.context import COMMAND, Binding

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
    if not context.is_redis(patient.broker_url):
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


OLDEST: Final = (6, 2)

FIXED: Final = {
    "redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}
"""The first patch of each series in which CVE-2025-49844 is fixed: whoever may run scripts could run code."""

MOST_SECONDS_APART: Final = 5.0

MOST_MEMORY: Final = 0.9

MOST_KEYS: Final = 10_000

RIGHTS: Final = (
    "ping select client|setinfo time del unlink exists expire pexpire pttl get set setex mget incr hdel hexists "
    "hget hgetall hincrby hkeys hlen hmget hscan hset hsetnx hstrlen hvals brpop lindex llen lpop lpush lrange lrem "
    "lset rpush sadd sismember smembers srem sscan zadd zcard zcount zrange zrangebyscore zrem zremrangebyrank zscan "
    "zscore xadd xrange xread xrevrange publish subscribe psubscribe unsubscribe punsubscribe eval evalsha "
    "script|load script|exists multi exec watch unwatch"
)
"""The commands that worker_config/redis.conf allows dagcelery's user."""


def check_store(patient: Patient) -> Iterator[Finding]:
    """The store is there, answers, and lets this user in."""
    if not patient.settings.store_url:
        remedy = "set DAGCELERY_STORE_URL to a Redis or Valkey"
        yield Finding("store", Severity.SERIOUS, "there is no store, so nothing can be submitted or executed", remedy)
        return
    try:
        patient.binding.store.ping()
    except (StoreUnavailable, InvalidSetting) as error:
        wrong, _, remedy = str(error).rpartition("; ")
        yield Finding("store", Severity.SERIOUS, wrong, remedy)


def check_broker(patient: Patient) -> Iterator[Finding]:
    """The broker takes connections."""
    if not patient.broker_url:
        remedy = "set DAGCELERY_BROKER_URL, or name the app that has one: dagcelery -A shop doctor"
        yield Finding("broker", Severity.SERIOUS, "there is no broker, so no worker hears of a run", remedy)
    elif isinstance(patient.broker_fault, NotSent):
        wrong = f"no message can be sent to the broker at {patient.shown_broker}: {patient.broker_error}"
        yield Finding("broker", Severity.SERIOUS, wrong, patient.broker_fault.remedy)
    elif patient.broker_error:
        wrong = f"the broker at {patient.shown_broker} does not answer: {patient.broker_error}"
        remedy = "start it, or point DAGCELERY_BROKER_URL, or broker_url of your app, at one that runs"
        yield Finding("broker", Severity.SERIOUS, wrong, remedy)


def check_version(patient: Patient) -> Iterator[Finding]:
    """The servers can do what is needed, and have no hole that is known."""
    for name, info in _infos(patient):
        kind = "valkey" if "valkey_version" in info else "redis"
        text = str(info.get(f"{kind}_version", ""))
        version = tuple(map(int, re.findall(r"\d+", text)[:3]))
        said = f"{name} is {kind.title()} {text}"
        if version < OLDEST:
            yield Finding("version", Severity.SERIOUS, f"{said}, which lacks commands", "upgrade it to 6.2 or newer")
        elif _has_hole(version, FIXED[kind]):
            fixed = ", ".join(".".join(map(str, each)) for each in FIXED[kind])
            what = f"{said}, in which who may send scripts can run code (CVE-2025-49844), unless its packager fixed it"
            yield Finding(
                "version", Severity.WARNING, what, f"upgrade to the latest patch of a series, from {fixed} on"
            )


def check_eviction(patient: Patient) -> Iterator[Finding]:
    """The servers forget nothing when they are full."""
    for name, info in _infos(patient):
        policy, limit = info.get("maxmemory_policy", "noeviction"), int(info.get("maxmemory", 0))
        if policy != "noeviction":
            severity = Severity.SERIOUS if limit else Severity.WARNING
            when = "when it is full" if limit else "once maxmemory is set and reached"
            what = f"{name} has maxmemory-policy {policy}: {when} it forgets parts of runs, and messages"
            yield Finding("eviction", severity, what, "set maxmemory-policy noeviction")


def check_memory(patient: Patient) -> Iterator[Finding]:
    """The servers have room."""
    for name, info in _infos(patient):
        used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
        if limit and used > MOST_MEMORY * limit:
            what = f"{name} uses {used / limit:.0%} of its maxmemory, and refuses writes when that is reached"
            yield Finding("memory", Severity.SERIOUS, what, "give it more, or lower DAGCELERY_RESULT_TTL_SECONDS")


def check_persistence(patient: Patient) -> Iterator[Finding]:
    """What the servers were given survives them."""
    for name, info in _infos(patient):
        if info.get("role") == "slave":
            what = f"{name} is a replica, which takes no writes"
            yield Finding("persistence", Severity.SERIOUS, what, "name its primary in DAGCELERY_STORE_URL")
        if not int(info.get("aof_enabled", 0)):
            what = f"{name} keeps no append-only file: what it was given since its last snapshot is lost if it dies"
            yield Finding("persistence", Severity.WARNING, what, "set appendonly yes")
        elif info.get("aof_last_write_status", "ok") != "ok":
            what = f"{name} cannot write its append-only file, and refuses writes"
            yield Finding("persistence", Severity.SERIOUS, what, "give its disk room; its log says why")


def check_rights(patient: Patient) -> Iterator[Finding]:
    """This user may do what is needed, and nobody without a password may do anything."""
    for name, server in patient.servers.items():
        user = server.user()
        rights = None if user is None else server.rights("default")
        if user is None or rights is None:
            continue
        if {"nopass", "on"} <= set(rights["flags"]):
            what = f"{name} lets in everybody who reaches it, without a password"
            remedy = "set requirepass, or use worker_config/redis.conf, which has a user with few rights"
            yield Finding("rights", Severity.WARNING, what, remedy)
        denied = server.denied(user, RIGHTS.split())
        if denied:
            remedy = "ACL SETUSER " + " ".join([user, *(f"+{command}" for command in denied)])
            what = f"{name} denies its user {user!r} {len(denied)} of the commands that are needed"
            yield Finding("rights", Severity.SERIOUS, what, remedy)


def check_clock(patient: Patient) -> Iterator[Finding]:
    """This machine's clock is the servers' clock, more or less."""
    for name, server in patient.servers.items():
        before = patient.clock()
        there = server.seconds()
        apart = 0.0 if there is None else there - (before + patient.clock()) / 2
        if abs(apart) > MOST_SECONDS_APART:
            what = f"the clock of {name} is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
            remedy = "let NTP set both; times in status, schedules and events differ by that much"
            yield Finding("clock", Severity.WARNING, what, remedy)


def check_keys(patient: Patient) -> Iterator[Finding]:
    """Nothing of ours stays in the store for ever."""
    for name, server in patient.servers.items():
        if name == "the broker":
            continue
        found = server.lasting("dagcelery:*", MOST_KEYS)
        if found is None:
            what = f"keys without a time to live could not be looked for: the user of {name} may not SCAN"
            yield Finding("keys", Severity.NOTE, what, "ask with the address of an administrator")
        elif found:
            few = ", ".join(sorted(found)[:3])
            what = f"{name} has {len(found)} keys without a time to live among the first {MOST_KEYS:,}: {few}"
            yield Finding("keys", Severity.WARNING, what, "delete those that are not needed, and report this")


def check_openness(patient: Patient) -> Iterator[Finding]:
    """What this user may not ask is said once, so that nobody takes silence for health."""
    for name, server in patient.servers.items():
        if server.info() is None:
            what = f"version, memory and persistence of {name} could not be looked at: its user may not ask INFO"
            yield Finding("servers", Severity.NOTE, what, "ask with the address of an administrator")


def _infos(patient: Patient) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, server in patient.servers.items():
        info = server.info()
        if info is not None:
            yield name, info


def _has_hole(version: tuple[int, ...], fixed: tuple[tuple[int, ...], ...]) -> bool:
    """Whether a version is older than the fix in its series, or of an old series that got none."""
    ours = [each for each in fixed if each[:2] == version[:2]]
    return version < ours[0] if ours else version < fixed[-1]


MOST_RUNS: Final = 50
"""How many runs, newest first, are looked at for the queues that they need."""


def check_queues(patient: Patient) -> Iterator[Finding]:
    """Every queue that a run waits on has a worker."""
    served = {queue for word in patient.workers.values() for queue in word["queues"]}
    waiting: dict[str, set[str]] = defaultdict(set)
    strange: list[str] = []
    store = patient.binding.store
    for listed in store.fleet.runs("", time.time() + 86400, MOST_RUNS):
        if listed.record is not None and listed.record.state not in TERMINAL:
            try:
                nodes = run_status(patient.binding.control, listed.id).nodes
            except UnknownKey:
                strange.append(listed.id)
                continue
            for node in nodes:
                if node.state != "done" and node.queue not in served:
                    waiting[node.queue].add(listed.id)
    if strange:
        what = f"{len(strange)} unfinished runs were signed with a key that this process lacks, such as {min(strange)}"
        remedy = "look with their DAGCELERY_SIGNING_KEY, or add it behind a comma"
        yield Finding("queues", Severity.WARNING, what, remedy)
    for queue, runs in sorted(waiting.items()):
        need = "1 unfinished run needs" if len(runs) == 1 else f"{len(runs)} unfinished runs need"
        what = f"no worker consumes the queue {queue!r}, which {need}, such as {min(runs)}"
        remedy = f"start one: {_worker(patient, queue)}"
        yield Finding("queues", Severity.SERIOUS, what, remedy)
    if not patient.workers and not waiting:
        what = "no worker has said within the last seconds that it is alive"
        yield Finding("queues", Severity.WARNING, what, f"start one: {_worker(patient)}")


def _worker(patient: Patient, queue: str = "") -> str:
    """Return the command that starts a worker of this app."""
    if patient.is_ours:
        return "dagcelery worker" + (f" --include-queue {queue}" if queue else "")
    return f"celery -A {patient.shown_name} worker" + (f" -Q {queue}" if queue else "")


def check_worker_keys(patient: Patient) -> Iterator[Finding]:
    """Workers can read what this process signs, and it can read what they sign."""
    ring = patient.binding.keyring.ids
    ours: Worker = {"keys": ring}
    telling = [word for word in patient.workers.values() if word.get("keys") is not None]
    for queue in sorted({queue for word in telling for queue in word["queues"]}):
        workers = [word for word in telling if queue in word["queues"]]
        strangers = [word for word in workers if not (holds(word, _first(ring)) and holds(ours, _first(word["keys"])))]
        if strangers:
            who = f"{len(strangers)} of {len(workers)} workers of the queue {queue!r}"
            wrong = of_other_keys(strangers, _first(ring), "this process")
            what = f"{who} {wrong}: they take messages of its runs, and cannot read them"
            remedy = "give all of them the same DAGCELERY_SIGNING_KEY, and start them again"
            yield Finding("worker keys", Severity.SERIOUS, what, remedy)


def _first(keys: Sequence[str]) -> str:
    """The key that seals, "" where there is none."""
    return keys[0] if keys else ""


def check_idle_workers(patient: Patient) -> Iterator[Finding]:
    """Every worker consumes something."""
    for name, queues in sorted(patient.answers["active_queues"].items()):
        if not queues:
            what = f"worker {name} consumes no queue"
            remedy = "start it again, or give it one: celery control add_consumer"
            yield Finding("idle workers", Severity.WARNING, what, remedy)


def check_hoarders(patient: Patient) -> Iterator[Finding]:
    """No worker that runs now takes more messages than it has processes."""
    for name, stats in sorted(patient.answers["stats"].items()):
        slots = (stats.get("pool") or {}).get("max-concurrency") or 1
        if (count := stats.get("prefetch_count") or 0) > slots:
            what = f"worker {name} takes {count} messages for {slots} processes, and work waits in its hands"
            yield Finding("prefetch", Severity.WARNING, what, "start it with --prefetch-multiplier 1")


def check_code(patient: Patient) -> Iterator[Finding]:
    """All workers have the same code: dagcelery's, Python's, and that of their own modules."""
    by_part: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, versions in sorted(patient.answers[COMMAND].items()):
        for part, version in _parts(versions):
            by_part[part][version].append(name)
    for part, by_version in sorted(by_part.items()):
        if len(by_version) > 1:
            wrong = ", ".join(f"{names[0]} has {version}" for version, names in sorted(by_version.items()))
            what = f"workers have different code of {part}: {wrong}"
            yield Finding("code", Severity.WARNING, what, "deploy the same version everywhere, and start them again")


def _parts(versions: Any) -> Iterator[tuple[str, str]]:
    if isinstance(versions, dict) and "error" not in versions:  # as workers answer that do not know the question
        yield from ((str(part), str(version)) for part, version in versions.items())


log = logging.getLogger(__name__)

Check = Callable[[Patient], Iterable[Finding]]

OF_SETTINGS: Final[tuple[Check, ...]] = (
    check_signing_key,
    check_visibility,
    check_prefetch,
)

OF_SERVERS: Final[tuple[Check, ...]] = (
    check_version,
    check_eviction,
    check_memory,
    check_persistence,
    check_clock,
)

CHECKS: Final[tuple[Check, ...]] = (
    check_broker,
    check_store,
    check_openness,
    *OF_SETTINGS,
    *OF_SERVERS,
    check_rights,
    check_keys,
    check_consumer_timeout,
    check_queues,
    check_worker_keys,
    check_idle_workers,
    check_hoarders,
    check_code,
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
    checks = OF_SETTINGS if context.has_user(binding.settings.store_url) else (*OF_SETTINGS, *OF_SERVERS)
    for finding in examine(patient, checks):
        if finding.severity is Severity.SERIOUS:
            log.error("%s", finding, extra={"action": "finding", "check": finding.check})
    patient.close()
