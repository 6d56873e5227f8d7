"""The doctor's checks of settings, servers and workers.

The command runs all of them; a starting worker runs those that cost next to nothing.
"""

from __future__ import annotations

import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from dagcelery.client.reasons import Worker, holds, lacking, of_other_keys
from dagcelery.client.status import run_status
from dagcelery.doctor.context import CheckContext, Finding, Severity
from dagcelery.errors import DagceleryError, NotSent, UnknownKey
from dagcelery.hooks.smtp import MailServer, NotDelivered, greet
from dagcelery.store.records import TERMINAL
from dagcelery.worker.app import COMMAND, AppContext
from dagcelery.worker.messages import UNSENT, can_send_to, ignored, serializer_of
from dagcelery.worker.server_urls import has_user, is_cluster, is_redis

SHORTEST_KEY: Final = 16

SHORTEST_SECONDS: Final = 600

_DEFAULT_VISIBILITY: Final = 3600


def check_signing_key(context: CheckContext) -> Iterator[Finding]:
    """Check that stored data is signed with a secret that cannot be guessed."""
    keys = [key.strip() for key in context.settings.signing_key.split(",") if key.strip()]
    remedy = "DAGCELERY_SIGNING_KEY=$(openssl rand -hex 32), the same for clients and workers"
    if not keys and not any(True for _ in context.app_context.imports):
        what = (
            "there is neither a signing key nor DAGCELERY_IMPORTS, and the app names no module of tasks, so workers "
            "may execute nothing"
        )
        yield Finding("signing key", Severity.SERIOUS, what, remedy)
    elif not keys:
        what = "no signing key is set: with write access to the store, anyone can change values, and what is called"
        yield Finding("signing key", Severity.WARNING, what, remedy)
    elif min(map(len, keys)) < SHORTEST_KEY:
        what = f"a signing key has fewer than {SHORTEST_KEY} characters, and could be guessed"
        yield Finding("signing key", Severity.WARNING, what, remedy)


def check_visibility(context: CheckContext) -> Iterator[Finding]:
    """Check that messages of long tasks are not delivered twice, and that the three settings for it agree."""
    if not is_redis(context.broker_url):
        return
    conf = context.app.conf
    timeouts = {
        "broker_transport_options": (conf.broker_transport_options or {}).get("visibility_timeout"),
        "result_backend_transport_options": (conf.result_backend_transport_options or {}).get("visibility_timeout"),
        "visibility_timeout": conf.get("visibility_timeout"),
    }
    explicit = {name: seconds for name, seconds in timeouts.items() if seconds is not None}
    if len(set(explicit.values())) > 1:
        what = "visibility timeouts differ: " + ", ".join(f"{name} has {seconds}" for name, seconds in explicit.items())
        yield Finding("visibility timeout", Severity.WARNING, what, "set the same in all three places")
    seconds = timeouts["broker_transport_options"] or _DEFAULT_VISIBILITY
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        what = f"broker_transport_options has visibility_timeout={seconds!r}, which is not a number of seconds"
        yield Finding("visibility timeout", Severity.SERIOUS, what, "give a number, such as 43200")
    elif seconds < SHORTEST_SECONDS:
        what = f"the broker delivers a message again after {seconds:g} s, even if your own task still runs"
        remedy = "make visibility_timeout longer than your longest task, in all apps that share the broker"
        yield Finding("visibility timeout", Severity.WARNING, what, remedy)


def check_full_broker(context: CheckContext) -> Iterator[Finding]:
    """Note what a full Redis does to workers: the message that one of them takes cannot be noted as taken."""
    if is_redis(context.broker_url) and not context.app.conf.broker_channel_error_retry:
        what = "a worker ends when the broker, a Redis, has no memory left (maxmemory)"
        yield Finding("full broker", Severity.NOTE, what, "set broker_channel_error_retry = True on the app")


def check_consumer_timeout(context: CheckContext) -> Iterator[Finding]:
    """Note RabbitMQ's limit for acknowledgements; it cannot be asked, so every RabbitMQ gets the note."""
    if context.broker_url.startswith(("amqp", "pyamqp")):
        what = (
            "RabbitMQ closes the channel of a worker whose task takes longer than consumer_timeout, 30 min by default"
        )
        remedy = "make consumer_timeout in rabbitmq.conf longer than your longest task"
        yield Finding("consumer timeout", Severity.NOTE, what, remedy)


def check_alarm(context: CheckContext) -> Iterator[Finding]:
    """Check that RabbitMQ takes messages: with an alarm for memory or disk it reads none, and says so only if asked."""
    if context.broker_url.startswith(("amqp", "pyamqp")) and not context.broker_error and context.is_blocked():
        what = f"the broker at {context.shown_broker} takes no messages: it has an alarm for its memory or its disk"
        yield Finding(
            "alarm", Severity.SERIOUS, what, "give it more, or let workers take what it holds: rabbitmqctl status"
        )


def check_key_prefix(context: CheckContext) -> Iterator[Finding]:
    """Check that a broker beside others on one Redis is kept apart from them, as the store is."""
    prefix, options = context.settings.key_prefix, context.app.conf.broker_transport_options or {}
    if prefix and is_redis(context.broker_url) and not options.get("global_keyprefix"):
        what = f"keys of the store begin with {prefix}, and those of the broker do not: others take its messages"
        remedy = (
            "set global_keyprefix in broker_transport_options and result_backend_transport_options, or give the broker "
            "a database of its own"
        )
        yield Finding("key prefix", Severity.WARNING, what, remedy)


def check_prefetch(context: CheckContext) -> Iterator[Finding]:
    """Check that a process takes one message at a time."""
    multiplier = context.app.conf.worker_prefetch_multiplier
    if multiplier != 1 and not context.app.conf.get("worker_disable_prefetch"):
        what = f"worker_prefetch_multiplier is {multiplier}: a busy worker holds work that a free one could do"
        yield Finding("prefetch", Severity.WARNING, what, "start workers with --prefetch-multiplier 1")


def check_own_messages(context: CheckContext) -> Iterator[Finding]:
    """Check that messages of ours can be sent and read, and note what holds for the app's own tasks only."""
    try:
        serializer_of(context.app)
    except NotSent as error:
        yield Finding("own messages", Severity.SERIOUS, error.problem, error.remedy)
    if context.app.conf.task_always_eager:
        what = "task_always_eager is set: runs are executed where they are submitted, and workers get none"
        yield Finding("own messages", Severity.WARNING, what, "leave it to tests")
    for setting, remedy in ignored(context.app):
        yield Finding("own messages", Severity.NOTE, f"{setting} does not hold for the nodes of DAGs", remedy)


def check_mail(context: CheckContext) -> Iterator[Finding]:
    """Check that mails can be sent without giving a password away, where a server for them is set."""
    if not context.settings.smtp_url:
        return
    server = MailServer.of(context.settings.smtp_url)
    if not context.settings.smtp_from and "@" not in server.user:
        what = "mails have no sender but for those that name one, and are not sent"
        yield Finding("mail", Severity.WARNING, what, "set DAGCELERY_SMTP_FROM")
    if server.password and server.scheme == "smtp" and not server.is_here:
        what = f"the password of {server.user} goes to the SMTP server {server} as plain text"
        remedy = "write smtp+starttls:// or smtps:// in DAGCELERY_SMTP_URL"
        yield Finding("mail", Severity.WARNING, what, remedy)


def check_mail_server(context: CheckContext) -> Iterator[Finding]:
    """Check that the server for mails, if one is set, lets this machine in."""
    if context.settings.smtp_url:
        try:
            greet(context.settings.smtp_url)
        except NotDelivered as error:
            yield Finding("mail", Severity.WARNING, f"mails cannot be sent: {error.problem}", error.remedy)


OLDEST: Final = (6, 2)

FIXED: Final = {
    "redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}
"""The first patch of each series without CVE-2025-49844, which lets scripts leave their sandbox."""

MOST_SECONDS_APART: Final = 5.0

MOST_MEMORY: Final = 0.9

MOST_KEYS: Final = 10_000

RIGHTS: Final = (
    "ping select client|setinfo time del unlink exists copy rename expire pexpire pttl get set setex mget incr "
    "hdel hexists hget hgetall hincrby hkeys hlen hmget hscan hset hsetnx hstrlen hvals brpop lindex llen lpop "
    "lpush lrange lrem lset rpush sadd sismember smembers srem sscan zadd zcard zcount zrange zrangebyscore zrem "
    "zremrangebyrank zscan zscore xadd xlen xrange xread xrevrange publish subscribe psubscribe unsubscribe "
    "punsubscribe eval evalsha script|load script|exists multi exec watch unwatch"
)
"""The commands that worker_config/redis.conf allows to dagcelery's user."""


def check_store(context: CheckContext) -> Iterator[Finding]:
    """Check that there is a store, and that it answers and lets this user in."""
    if not context.settings.store_url:
        remedy = "set DAGCELERY_STORE_URL to a Redis or Valkey"
        yield Finding("store", Severity.SERIOUS, "no store is configured, so nothing can be submitted", remedy)
        return
    try:
        context.app_context.store.ping()
    except DagceleryError as error:
        yield Finding("store", Severity.SERIOUS, f"{error.culprit}: {error.problem}", error.remedy)


def check_broker(context: CheckContext) -> Iterator[Finding]:
    """Check that the broker takes connections."""
    if not context.broker_url:
        remedy = "set DAGCELERY_BROKER_URL, or name an app that has one: dagcelery -A shop doctor"
        yield Finding("broker", Severity.SERIOUS, "no broker is configured, so workers do not hear of runs", remedy)
    elif isinstance(context.broker_fault, NotSent):
        what = f"no message can be sent to the broker at {context.shown_broker}: {context.broker_error}"
        yield Finding("broker", Severity.SERIOUS, what, context.broker_fault.remedy)
    elif context.broker_error:
        what = f"the broker at {context.shown_broker} does not answer: {context.broker_error}"
        remedy = "start it, or point DAGCELERY_BROKER_URL, or broker_url of your app, at one that runs"
        yield Finding("broker", Severity.SERIOUS, what, remedy)


def check_version(context: CheckContext) -> Iterator[Finding]:
    """Check that the servers have the commands that are needed, and no known vulnerability."""
    for name, info in _infos(context):
        kind = "valkey" if "valkey_version" in info else "redis"
        text = str(info.get(f"{kind}_version", ""))
        version = tuple(map(int, re.findall(r"\d+", text)[:3]))
        server = f"{name} is {kind.title()} {text}"
        if version < OLDEST:
            yield Finding("version", Severity.SERIOUS, f"{server}, which lacks commands", "upgrade it to 6.2 or newer")
        elif _is_vulnerable(version, FIXED[kind]):
            fixed = ", ".join(".".join(map(str, each)) for each in FIXED[kind])
            what = f"{server}, in which scripts can run any code (CVE-2025-49844), unless its packager fixed it"
            yield Finding(
                "version", Severity.WARNING, what, f"upgrade to the latest patch of a series, from {fixed} on"
            )


def check_cluster(context: CheckContext) -> Iterator[Finding]:
    """Check that a server that is a node of a cluster is used as one."""
    for name, info in _infos(context):
        if not int(info.get("cluster_enabled", 0)) or ("broker" not in name and is_cluster(context.settings.store_url)):
            continue
        if "broker" in name:
            remedy = "use another Redis, or a RabbitMQ: Celery cannot use a cluster"
        else:
            remedy = "write redis+cluster:// in DAGCELERY_STORE_URL"
        yield Finding("cluster", Severity.SERIOUS, f"{name} is a node of a cluster, and is used as one server", remedy)


def check_eviction(context: CheckContext) -> Iterator[Finding]:
    """Check that the servers do not evict keys."""
    for name, info in _infos(context):
        policy, limit = info.get("maxmemory_policy", "noeviction"), int(info.get("maxmemory", 0))
        if policy != "noeviction":
            severity = Severity.SERIOUS if limit else Severity.WARNING
            when = "when it is full" if limit else "once maxmemory is set and reached"
            what = f"{name} has maxmemory-policy {policy}: {when}, it evicts parts of runs, and messages"
            yield Finding("eviction", severity, what, "set maxmemory-policy noeviction")


def check_memory(context: CheckContext) -> Iterator[Finding]:
    """Check that the servers have memory left."""
    for name, info in _infos(context):
        used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
        if limit and used > MOST_MEMORY * limit:
            what = f"{name} uses {used / limit:.0%} of its maxmemory, and refuses writes when that is reached"
            yield Finding("memory", Severity.SERIOUS, what, "give it more, or lower DAGCELERY_RESULT_TTL_SECONDS")


def check_persistence(context: CheckContext) -> Iterator[Finding]:
    """Check that the servers' data survives them."""
    for name, info in _infos(context):
        if info.get("role") == "slave":
            what = f"{name} is a replica, which refuses writes"
            yield Finding("persistence", Severity.SERIOUS, what, "name its primary in DAGCELERY_STORE_URL")
        if not int(info.get("aof_enabled", 0)):
            what = f"{name} has no append-only file: everything since its last snapshot is lost if it dies"
            yield Finding("persistence", Severity.WARNING, what, "set appendonly yes")
        elif info.get("aof_last_write_status", "ok") != "ok":
            what = f"{name} cannot write its append-only file, and refuses writes"
            yield Finding("persistence", Severity.SERIOUS, what, "give its disk room; its log says why")


def check_rights(context: CheckContext) -> Iterator[Finding]:
    """Check that this user has the rights it needs, and that a password is required."""
    for name, server in context.servers.items():
        user = server.user()
        rights = None if user is None else server.rights("default")
        if user is None or rights is None:
            continue
        if {"nopass", "on"} <= set(rights["flags"]):
            what = f"{name} can be reached without a password"
            remedy = "set requirepass, or use worker_config/redis.conf, which has a user with few rights"
            yield Finding("rights", Severity.WARNING, what, remedy)
        denied = server.denied(user, RIGHTS.split())
        if denied:
            remedy = "ACL SETUSER " + " ".join([user, *(f"+{command}" for command in denied)])
            what = f"{name} denies {len(denied)} of the commands that are needed to its user {user!r}"
            yield Finding("rights", Severity.SERIOUS, what, remedy)


def check_clock(context: CheckContext) -> Iterator[Finding]:
    """Check that this machine's clock agrees with the servers' clocks."""
    for name, server in context.servers.items():
        before = context.clock()
        there = server.seconds()
        offset = 0.0 if there is None else there - (before + context.clock()) / 2
        if abs(offset) > MOST_SECONDS_APART:
            what = f"the clock of {name} is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this machine's"
            remedy = "let NTP set both; times in status, schedules and events differ by that much"
            yield Finding("clock", Severity.WARNING, what, remedy)


def check_keys(context: CheckContext) -> Iterator[Finding]:
    """Check that each of our keys expires."""
    for name, server in context.servers.items():
        if name == "the broker":
            continue
        lasting = server.lasting(f"{context.settings.key_prefix}dagcelery:*", MOST_KEYS)
        if lasting is None:
            what = f"keys without a time to live were not looked for: the user of {name} may not SCAN"
            yield Finding("keys", Severity.NOTE, what, "use an administrator's address")
        elif lasting:
            few = ", ".join(sorted(lasting)[:3])
            what = f"{name} has {len(lasting)} keys without a time to live among the first {MOST_KEYS:,}: {few}"
            yield Finding("keys", Severity.WARNING, what, "delete those that are not needed, and report this")


def check_openness(context: CheckContext) -> Iterator[Finding]:
    """Note what could not be checked, so that silence is not taken for health."""
    for name, server in context.servers.items():
        if server.info() is None:
            what = f"version, memory and persistence of {name} were not checked: its user may not call INFO"
            yield Finding("servers", Severity.NOTE, what, "use an administrator's address")


def _infos(context: CheckContext) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, server in context.servers.items():
        info = server.info()
        if info is not None:
            yield name, info


def _is_vulnerable(version: tuple[int, ...], fixed: tuple[tuple[int, ...], ...]) -> bool:
    """Whether a version is older than the fix in its series, or of an old series that got none."""
    ours = [each for each in fixed if each[:2] == version[:2]]
    return version < ours[0] if ours else version < fixed[-1]


MOST_RUNS: Final = 50
"""The number of runs, newest first, whose queues are checked."""


def check_queues(context: CheckContext) -> Iterator[Finding]:
    """Check that every queue that a run waits on has a worker."""
    served = {queue for beat in context.workers.values() for queue in beat["queues"]}
    waiting: dict[str, set[str]] = defaultdict(set)
    unreadable: list[str] = []
    store = context.app_context.store
    for listed in store.fleet.runs("", time.time() + 86400, MOST_RUNS):
        if listed.record is not None and listed.record.state not in TERMINAL:
            try:
                nodes = run_status(context.app_context.control, listed.id).nodes
            except UnknownKey:
                unreadable.append(listed.id)
                continue
            for node in nodes:
                if node.state != "done" and node.queue not in served:
                    waiting[node.queue].add(listed.id)
    if unreadable:
        what = f"{len(unreadable)} unfinished runs, such as {min(unreadable)}, were signed with a key that is not here"
        remedy = "use their DAGCELERY_SIGNING_KEY, or add it after a comma"
        yield Finding("queues", Severity.WARNING, what, remedy)
    for queue, runs in sorted(waiting.items()):
        if not can_send_to(context.app, queue):
            what = f"no message can be sent to the queue {queue!r}, for which such runs as {min(runs)} wait"
            yield Finding("queues", Severity.SERIOUS, what, UNSENT)
            continue
        need = "1 unfinished run needs" if len(runs) == 1 else f"{len(runs)} unfinished runs need"
        what = f"no worker consumes the queue {queue!r}, which {need}, such as {min(runs)}"
        remedy = f"start one: {_worker(context, queue)}"
        yield Finding("queues", Severity.SERIOUS, what, remedy)
    if not context.workers and not waiting:
        what = "no worker is alive"
        yield Finding("queues", Severity.WARNING, what, f"start one: {_worker(context)}")


def check_refusals(context: CheckContext) -> Iterator[Finding]:
    """Check that no live worker lacks what an unfinished run needs."""
    store = context.app_context.store
    runs: dict[tuple[str, str], set[str]] = defaultdict(set)
    unfit: dict[tuple[str, str], set[str]] = defaultdict(set)
    for listed in store.fleet.runs("", time.time() + 86400, MOST_RUNS):
        if listed.record is not None and listed.record.state not in TERMINAL:
            for refusal in store.reader.outstanding(listed.id).refused:
                if refusal.worker in context.workers:
                    runs[refusal.queue, refusal.why].add(listed.id)
                    unfit[refusal.queue, refusal.why].add(refusal.worker)
    for (queue, why), needing in sorted(runs.items()):
        number, all_of = len(unfit[queue, why]), sum(queue in beat["queues"] for beat in context.workers.values())
        lacking_workers = f"{number} of {all_of} workers of the queue {queue!r} {lacking(why, number)}"
        those = "1 unfinished run" if len(needing) == 1 else f"{len(needing)} unfinished runs"
        what = f"{lacking_workers}, so work is left undone of {those}, such as {min(needing)}"
        remedy = "deploy the same code and settings to all workers, and restart them; their logs say more"
        yield Finding("refusals", Severity.SERIOUS if number >= all_of else Severity.WARNING, what, remedy)


def _worker(context: CheckContext, queue: str = "") -> str:
    """Return the command that starts a worker of this app."""
    if context.is_ours:
        return "dagcelery worker" + (f" --include-queue {queue}" if queue else "")
    return f"celery -A {context.shown_name} worker" + (f" -Q {queue}" if queue else "")


def check_worker_keys(context: CheckContext) -> Iterator[Finding]:
    """Check that workers can read what this process signs, and it can read what they sign."""
    ring = context.app_context.keyring.ids
    ours: Worker = {"keys": ring}
    beats = [beat for beat in context.workers.values() if beat.get("keys") is not None]
    for queue in sorted({queue for beat in beats for queue in beat["queues"]}):
        workers = [beat for beat in beats if queue in beat["queues"]]
        strangers = [beat for beat in workers if not (holds(beat, _first(ring)) and holds(ours, _first(beat["keys"])))]
        if strangers:
            subject = f"{len(strangers)} of {len(workers)} workers of the queue {queue!r}"
            difference = of_other_keys(strangers, _first(ring), "this process")
            what = f"{subject} {difference}: they take messages of its runs, and cannot read them"
            remedy = "give all of them the same DAGCELERY_SIGNING_KEY, and restart them"
            yield Finding("worker keys", Severity.SERIOUS, what, remedy)


def _first(keys: Sequence[str]) -> str:
    """Return the key that seals, or ""."""
    return keys[0] if keys else ""


def check_idle_workers(context: CheckContext) -> Iterator[Finding]:
    """Check that every worker consumes a queue."""
    for name, queues in sorted(context.answers["active_queues"].items()):
        if not queues:
            what = f"worker {name} consumes no queue"
            remedy = "restart it, or give it one: celery control add_consumer"
            yield Finding("idle workers", Severity.WARNING, what, remedy)


def check_hoarders(context: CheckContext) -> Iterator[Finding]:
    """Check that running workers do not take more messages than they have processes."""
    for name, stats in sorted(context.answers["stats"].items()):
        slots = _processes(stats)
        if (count := stats.get("prefetch_count") or 0) > slots:
            what = f"worker {name} takes {count} messages for {slots} processes, so it holds work that others could do"
            yield Finding("prefetch", Severity.WARNING, what, "start it with --prefetch-multiplier 1")


def _processes(stats: Mapping[str, Any]) -> int:
    """Return how many a worker may have: a pool that was told to grow says so in its list of them alone."""
    pool, processes = stats.get("pool") or {}, (stats.get("pool") or {}).get("processes")
    now = len(processes) if isinstance(processes, list) else 0
    return max(pool.get("max-concurrency") or 1, now, (stats.get("autoscaler") or {}).get("max") or 0)


def check_code(context: CheckContext) -> Iterator[Finding]:
    """Check that all workers have the same code: of dagcelery, Python and their own modules."""
    by_part: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, answer in sorted(context.answers[COMMAND].items()):
        for part, version in _parts(answer):
            by_part[part][version].append(name)
    for part, by_version in sorted(by_part.items()):
        if len(by_version) > 1:
            versions = ", ".join(f"{names[0]} has {version}" for version, names in sorted(by_version.items()))
            what = f"workers have different code of {part}: {versions}"
            yield Finding("code", Severity.WARNING, what, "deploy the same version everywhere, and restart them")


def _parts(answer: Any) -> Iterator[tuple[str, str]]:
    if isinstance(answer, dict) and "error" not in answer:  # the answer of workers that do not know the command
        yield from ((str(part), str(version)) for part, version in answer.items())


log = logging.getLogger(__name__)

Check = Callable[[CheckContext], Iterable[Finding]]

OF_SETTINGS: Final[tuple[Check, ...]] = (
    check_signing_key,
    check_visibility,
    check_full_broker,
    check_key_prefix,
    check_prefetch,
    check_own_messages,
    check_mail,
)

OF_SERVERS: Final[tuple[Check, ...]] = (
    check_version,
    check_cluster,
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
    check_mail_server,
    check_consumer_timeout,
    check_alarm,
    check_queues,
    check_worker_keys,
    check_refusals,
    check_idle_workers,
    check_hoarders,
    check_code,
)

_ORDER: Final = list(Severity)


def run_checks(context: CheckContext, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """Run checks, and return their findings, the worst first.

    A check of a server that does not answer finds nothing: another check has reported that.
    """
    return sorted(_findings(context, checks), key=lambda finding: _ORDER.index(finding.severity))


def _findings(context: CheckContext, checks: Iterable[Check]) -> Iterator[Finding]:
    for check in checks:
        try:
            yield from check(context)
        except DagceleryError as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            log.debug("check %s: %s", name, error, extra={"action": "check_failed"})


def log_serious(app_context: AppContext) -> None:
    """Log the serious findings of those checks that cost a starting worker next to nothing.

    Servers are not asked where the store's address names a user: it has few rights on purpose, and the server logs
    each command that it denies.
    """
    context = CheckContext(app_context)
    checks = OF_SETTINGS if has_user(app_context.settings.store_url) else (*OF_SETTINGS, *OF_SERVERS)
    for finding in run_checks(context, checks):
        if finding.severity is Severity.SERIOUS:
            log.error("%s", finding, extra={"action": "finding", "check": finding.check})
    context.close()
