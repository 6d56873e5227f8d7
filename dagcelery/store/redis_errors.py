"""What a server's answers mean: each error of redis-py, whatever its kind, becomes one of ours.

What passes by itself is StoreUnavailable, what needs somebody one of its kinds. All of them are waited for, since a
call that got one was not applied, or may be repeated. What is wrong with one key alone is not: it would hold up all
other runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis import exceptions as of_redis

from dagcelery.errors import DagceleryError, StoreDamaged, StoreFull, StoreRefused, StoreUnavailable

_WAITS: Final = StoreUnavailable
_CLUSTER: Final = (of_redis.MovedError, of_redis.AskError, of_redis.ClusterCrossSlotError)
_NO_NODE: Final = "Redis Cluster cannot be connected.*"
_NO_SLOTS: Final = ".*slots are not covered"
"""A cluster's nodes do not answer, or not for all slots; redis-py has one class for that and for misuse."""
_DOWN: Final = (of_redis.ClusterError, of_redis.TryAgainError, of_redis.SlotNotCoveredError)

_MEANINGS: Final[tuple[tuple[tuple[type[Exception] | str, ...], type[StoreUnavailable], str], ...]] = (
    ((of_redis.OutOfMemoryError, "OOM"), StoreFull, ""),
    # -- what a first contact says of several servers
    ((f"{_NO_NODE}(invalid username|HELLO must|NOAUTH|WRONGPASS)",), StoreRefused, ""),
    (
        (f"{_NO_NODE}Cluster mode is not enabled",),
        StoreRefused,
        "write redis:// or redis+sentinel:// in its URL, as it is no cluster",
    ),
    ((_NO_NODE,), _WAITS, ""),
    (
        (r"No master found for .*(AuthenticationError|HELLO|NOAUTH)",),
        _WAITS,
        "write the password of the Sentinels themselves as ?sentinel_password=... in DAGCELERY_STORE_URL",
    ),
    ((r"No master found for .* : .*",), _WAITS, "start the Sentinels, or name them in DAGCELERY_STORE_URL"),
    (
        ("No master found for",),
        _WAITS,
        "name the service as the Sentinels do, or wait until they have found another master",
    ),
    # -- what passes by itself
    ((of_redis.BusyLoadingError, "LOADING"), _WAITS, "wait until it has read its data"),
    (("BUSY",), _WAITS, "wait until the script that it runs is over, or end that with SCRIPT KILL"),
    (("NOREPLICAS",), _WAITS, "wait for its replicas, or lower min-replicas-to-write"),
    ((*_DOWN, "CLUSTERDOWN", "TRYAGAIN", _NO_SLOTS), _WAITS, "wait until each slot has a primary"),
    (
        (".*ttempted to access a non local key",),
        _WAITS,
        "wait until the slot is moved, and move slots only while no run is active, or as a whole",
    ),
    (("MASTERDOWN",), _WAITS, "wait until its primary is back, or has a successor"),
    (("UNBLOCKED",), _WAITS, "call again"),
    (("max number of clients reached",), _WAITS, "raise its maxclients, or let fewer processes use it"),
    # -- what needs somebody
    ((of_redis.ReadOnlyError, "READONLY"), StoreRefused, "name its primary in DAGCELERY_STORE_URL"),
    (("MISCONF",), StoreRefused, "give its disk room, since it takes no writes that it cannot save; its log says why"),
    ((*_CLUSTER, "MOVED", "ASK", "CROSSSLOT"), StoreRefused, "as it is a cluster, write redis+cluster:// in its URL"),
    (("DENIED",), StoreRefused, "give it a password: without one it lets nobody in from other machines"),
    (("DB index is out of range",), StoreRefused, "name a database that it has, such as /0, in DAGCELERY_STORE_URL"),
    (
        ("unknown command .SENTINEL",),
        StoreRefused,
        "name the port of the Sentinels, or write redis:// to a server that none of them watches",
    ),
    (
        ("unknown command",),
        StoreRefused,
        "use a Redis or Valkey that has it: dagcelery needs scripts, and no service that hides or renames EVAL will do",
    ),
    (
        (r".*access (a|one of the) key",),
        StoreRefused,
        "set DAGCELERY_KEY_PREFIX to what the user's rights let keys begin with, such as shop: for ~shop:*",
    ),
    (("EXEC without MULTI",), StoreRefused, "give the user the right to open a transaction: ACL SETUSER ... +multi"),
    ((r"(ACL failure in script|The user executing the script)",), StoreRefused, ""),
    ((of_redis.NoPermissionError, of_redis.AuthenticationError, of_redis.AuthorizationError), StoreRefused, ""),
    ((of_redis.ConnectionError, of_redis.TimeoutError, of_redis.InvalidResponse), _WAITS, ""),
)
"""What errors are known by, their classes or words that they begin with; what they become, and the remedy."""

_PIPELINED: Final = r"(?:Command # \d+ \(.*?\) of pipeline caused error: )?"
_SCRIPTED: Final = r"(?:Error running script.*?[:-]+(?=[A-Z]{3,} ))?"
_FIRST: Final = re.compile(rf"{_PIPELINED}(?:ERR )?{_SCRIPTED}", re.DOTALL)
"""What may stand in front of the words of an error: a script of a Redis before 7 tells its error as a Lua error."""
_CLIENTS: Final = re.compile(r"<redis\.[^\n]*?\)>\)>\)> - ")
"""How redis-py shows each Sentinel that did not answer; the error behind it says enough."""
_OF_FAILOVERS: Final = (of_redis.ReadOnlyError, of_redis.AskError)
_KNOWS_OTHERS: Final = re.compile(r"\w+\+(sentinel|cluster)://")
_FAILS_OVER: Final = "wait until another server has taken over"
_OF_SCRIPTS: Final = re.compile(r"WRONGTYPE|user_script|Error running script")


@contextmanager
def our_errors(shown_url: str) -> Iterator[None]:
    """Raise one of our errors where redis-py raises what a server answered, or that it did not."""
    try:
        yield
    except (of_redis.RedisError, of_redis.RedisClusterException) as error:
        if isinstance(error, of_redis.DataError | of_redis.NoScriptError) or _is_misuse(error):
            raise  # our own fault, or the caller sends the script
        raise meaning(error, shown_url) from error


def _is_misuse(error: Exception) -> bool:
    is_of_cluster = isinstance(error, of_redis.RedisClusterException)
    return is_of_cluster and not (
        isinstance(error, of_redis.SlotNotCoveredError) or re.match(f"{_NO_NODE}|{_NO_SLOTS}", str(error))
    )


def meaning(error: Exception, shown_url: str) -> DagceleryError:
    """Return the error of ours that one of redis-py stands for."""
    told = _CLIENTS.sub("", str(error))
    first = told[_FIRST.match(told).end() :]  # type: ignore[union-attr]  # it matches an empty text
    for marks, ours, remedy in _MEANINGS:
        if any(re.match(rf"{mark}\b", first) if isinstance(mark, str) else isinstance(error, mark) for mark in marks):
            passes = ours is StoreRefused and isinstance(error, _OF_FAILOVERS) and _KNOWS_OTHERS.match(shown_url)
            return StoreUnavailable(told, shown_url, _FAILS_OVER) if passes else ours(told, shown_url, remedy)
    if _OF_SCRIPTS.search(told):
        remedy = "let nothing else write to keys of dagcelery, and delete the run; if nothing did, report this"
        return StoreDamaged(f"a script in the store at {shown_url}", f"fails: {told}", remedy)
    return StoreRefused(told, shown_url)
