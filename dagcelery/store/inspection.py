"""A Redis or Valkey as a server: what it says of itself, as far as this user may ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import redis

from dagcelery.errors import StoreRefused
from dagcelery.store.redis import client_of, ping, reachable
from dagcelery.text import masked

_PORTION = 500
_MOST_ARGUMENTS = 8


class Inspection:
    """Looks at one server. What its user may not ask, or the server does not know, is answered with None."""

    def __init__(self, url: str) -> None:
        self.shown_url = masked(url)
        timeouts = {"socket_timeout": 5.0} | ({} if url.startswith("unix") else {"socket_connect_timeout": 3.0})
        self._client: Any = client_of(url, decode_responses=True, **timeouts)
        self.place = _place(url)

    def ping(self) -> None:
        """Raise StoreUnavailable unless the server answers, and lets this user in."""
        ping(self._client, self.shown_url)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def info(self) -> Mapping[str, Any] | None:
        """What INFO says."""
        found: Mapping[str, Any] | None = self._asked("info")
        return found

    def seconds(self) -> float | None:
        """The server's clock, in seconds since the epoch."""
        found = self._asked("time")
        return None if found is None else found[0] + found[1] / 1e6

    def user(self) -> str | None:
        """The name of this user."""
        found = self._asked("acl_whoami")
        return None if found is None else str(found)

    def rights(self, user: str) -> Mapping[str, Any] | None:
        """What ACL GETUSER says of a user."""
        found: Mapping[str, Any] | None = self._asked("acl_getuser", user)
        return found

    def denied(self, user: str, commands: Sequence[str]) -> list[str] | None:
        """Those of these commands that a user may not send."""
        found = []
        for command in commands:
            said = self._rehearsed(user, command)
            if said is None:
                return None
            if "permission" in said:
                found.append(command)
        return found

    def _rehearsed(self, user: str, command: str) -> str | None:
        """What the server would say to a command; how many arguments it takes has to be tried."""
        for count in range(_MOST_ARGUMENTS):
            try:
                with reachable(self.shown_url):
                    words = ("ACL", "DRYRUN", user, *command.split("|"), *["0"] * count)
                    return str(self._client.execute_command(*words))
            except redis.exceptions.ResponseError as error:
                if "number of arg" not in str(error):
                    return None
            except StoreRefused:
                return None
        return ""

    def lasting(self, pattern: str, most: int) -> list[str] | None:
        """Names of keys without a time to live, among the first `most` that are found; at most a few of them."""
        try:
            with reachable(self.shown_url):
                names = list(islice(self._client.scan_iter(pattern, count=_PORTION), most))
                found: list[str] = []
                for at in range(0, len(names), _PORTION):
                    portion = names[at : at + _PORTION]
                    with self._client.pipeline(transaction=False) as pipe:
                        for name in portion:
                            pipe.pttl(name)
                        found += [name for name, ttl in zip(portion, pipe.execute(), strict=True) if ttl == -1]
                return found
        except (StoreRefused, redis.exceptions.ResponseError):
            return None

    def _asked(self, method: str, *arguments: Any) -> Any:
        try:
            with reachable(self.shown_url):
                return getattr(self._client, method)(*arguments)
        except (StoreRefused, redis.exceptions.ResponseError):
            return None


def _place(url: str) -> str:
    """What two addresses of one server have in common."""
    parse: Any = redis.connection.parse_url
    kwargs = parse(url)
    return str(kwargs.get("path") or f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}")
