"""Addresses of a Redis, in the spellings of Celery and of redis-py: Unix sockets, TLS, Sentinels, clusters.

What one of them says in a URL, the other may say beside it: Celery's `broker_use_ssl` and `redis_backend_use_ssl`, and
the name of a service, `master_name`, in its transport options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

from dagcelery.errors import NotConfigured
from dagcelery.text import masked

_OF_SENTINELS: Final = ("redis+sentinel://", "rediss+sentinel://")
_OF_CLUSTERS: Final = ("redis+cluster://", "rediss+cluster://")
REDIS_SCHEMES: Final = ("redis://", "rediss://", "redis+socket://", "unix://", "sentinel://", *_OF_SENTINELS)


def is_redis(url: str | None) -> bool:
    """Return whether a URL names a Redis that Celery can use: one server, or one behind Sentinels."""
    return bool(url) and str(url).startswith(REDIS_SCHEMES)


def is_cluster(url: str) -> bool:
    """Return whether a URL names a cluster, which only a store can be."""
    return url.startswith(_OF_CLUSTERS)


def has_user(url: str) -> bool:
    """Return whether a URL names a user, and not only a password."""
    return bool(urlsplit(url).username)


# -- for Celery ---------------------------------------------------------------------------------------
def for_celery(url: str) -> str:
    """Celery's spelling: ``redis+socket://:password@/path?virtual_host=0``, ``sentinel://:password@host:26379/0;...``.

    Where a ``rediss://`` URL does not say whether certificates are checked, they are, as by redis-py; Celery's
    result backend would refuse such a URL, and its broker connection would check nothing.
    """
    if url.startswith(_OF_SENTINELS):
        user, hosts, _, database, _ = _parted(url)
        return ";".join(f"sentinel://{user}{host}/{database}" for host in hosts)
    if url.startswith("rediss:") and "ssl_cert_reqs=" not in url:
        return _asking(url, {"ssl_cert_reqs": "required"})
    return _respelled(url, "unix", "db", "redis+socket", "virtual_host")


def transport_options(url: str) -> dict[str, Any]:
    """Return what Celery is told beside the URL of Sentinels: the service, and how to speak to the Sentinels."""
    if not url.startswith(_OF_SENTINELS):
        return {}
    _, _, service, _, query = _parted(url)
    own = {name.removeprefix("sentinel_"): value for name, value in query.items() if name.startswith("sentinel_")}
    is_secured = own.pop("ssl", "true").lower() not in ("0", "no", "false")
    tls = {"ssl": True} | tls_options(url) if url.startswith("rediss") and is_secured else {}
    return {"master_name": service} | ({"sentinel_kwargs": tls | own} if tls or own else {})


def tls_options(url: str) -> dict[str, Any]:
    """Return what Celery is told beside the URL of Sentinels with TLS."""
    if not url.startswith("rediss+sentinel:"):
        return {}
    said = {name: value for name, value in _parted(url)[4].items() if name.startswith("ssl_")}
    return {"ssl_cert_reqs": "required"} | said


def _parted(url: str) -> tuple[str, list[str], str, str, dict[str, str]]:
    """Return user and password, with their @, hosts, service, database and options of the URL of Sentinels."""
    place, _, query = url.partition("://")[2].partition("?")
    user, at, place = place.rpartition("@")
    hosts, _, path = place.partition("/")
    service, _, database = path.strip("/").partition("/")
    options = dict(parse_qsl(query))
    return user + at, hosts.split(","), service, database or options.get("db", "0"), options


# -- for redis-py -------------------------------------------------------------------------------------
def for_redis(url: str) -> str:
    """redis-py's spelling: ``unix://:password@/path?db=0``, and ``ssl_cert_reqs=none`` instead of CERT_NONE."""
    respelled = _respelled(url, "redis+socket", "virtual_host", "unix", "db")
    return re.sub(r"(?<=[?&]ssl_cert_reqs=)CERT_\w+", lambda found: found[0][5:].lower(), respelled)


def celerys(url: str | None, tls: object, options: object) -> str:
    """Return the store's address for what Celery has, a URL and what is said beside it; "" for what is no Redis."""
    if not url or not is_redis(url):
        return ""
    if url.startswith("sentinel://"):
        url = _behind_sentinels(url, options if isinstance(options, Mapping) else {})
    return for_redis(secured(url, tls))


def _behind_sentinels(urls: str, options: Mapping[str, Any]) -> str:
    if not options.get("master_name"):
        raise NotConfigured(
            f"{masked(urls)} of the Celery app",
            "set master_name in broker_transport_options, and in result_backend_transport_options if it is the result "
            "backend, to what the Sentinels call their master",
        )
    parts = [urlsplit(url) for url in urls.split(";") if url]
    user, at, _ = parts[0].netloc.rpartition("@")
    hosts = ",".join(part.netloc.rpartition("@")[2] for part in parts)
    path = f"{quote(str(options['master_name']), safe='')}/{parts[0].path.strip('/') or '0'}"
    own = {f"sentinel_{name}": value for name, value in (options.get("sentinel_kwargs") or {}).items()}
    url = f"redis+sentinel://{user}{at}{hosts}/{path}"
    return _asking(url, own) if own else url


def secured(url: str, options: object) -> str:
    """Say in the URL what Celery's ``broker_use_ssl`` or ``redis_backend_use_ssl`` says beside it."""
    scheme = url.partition("://")[0]
    if not isinstance(options, Mapping) or not options or scheme not in ("redis", "rediss", "redis+sentinel"):
        return url
    query = {name: getattr(value, "name", value) for name, value in options.items() if value is not None}
    return _asking("rediss" + url.removeprefix("rediss").removeprefix("redis"), query)


def _asking(url: str, query: Mapping[str, object]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


def _respelled(url: str, scheme: str, database: str, new_scheme: str, new_database: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != scheme:
        return url
    number = parse_qs(parts.query).get(database, ["0"])[0]
    return f"{new_scheme}://{parts.netloc}{parts.path}?{new_database}={number}"
