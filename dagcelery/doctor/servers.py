"""What may be wrong with the servers: Redis or Valkey as store and broker, and the way to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dagcelery.doctor.findings import Finding, Severity
from dagcelery.doctor.patient import Patient
from dagcelery.errors import InvalidSetting, NotSent, StoreUnavailable

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
