"""Celery and redis-py spell the addresses of Unix sockets and of TLS differently; here one becomes the other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, urlencode, urlsplit

REDIS_SCHEMES = ("redis://", "rediss://", "redis+socket://", "unix://")


def is_redis(url: str | None) -> bool:
    """Whether a URL names a Redis."""
    return bool(url) and str(url).startswith(REDIS_SCHEMES)


def has_user(url: str) -> bool:
    """Whether a URL names a user, and not only a password."""
    return bool(urlsplit(url).username)


def for_celery(url: str) -> str:
    """Celery's spelling: ``redis+socket://:password@/path?virtual_host=0``.

    Where a ``rediss://`` URL does not say whether certificates are checked, they are, as by redis-py; Celery's
    result backend would refuse such a URL, and its broker connection would check nothing.
    """
    if url.startswith("rediss:") and "ssl_cert_reqs=" not in url:
        return _asking(url, {"ssl_cert_reqs": "required"})
    return _respelled(url, "unix", "db", "redis+socket", "virtual_host")


def for_redis(url: str) -> str:
    """redis-py's spelling: ``unix://:password@/path?db=0``, and ``ssl_cert_reqs=none`` instead of CERT_NONE."""
    respelled = _respelled(url, "redis+socket", "virtual_host", "unix", "db")
    return re.sub(r"(?<=[?&]ssl_cert_reqs=)CERT_\w+", lambda found: found[0][5:].lower(), respelled)


def secured(url: str, options: object) -> str:
    """Say in the URL what Celery's ``broker_use_ssl`` or ``redis_backend_use_ssl`` says beside it."""
    if not isinstance(options, Mapping) or not options or urlsplit(url).scheme not in ("redis", "rediss"):
        return url
    given = {name: getattr(value, "name", value) for name, value in options.items() if value is not None}
    return _asking("rediss" + url[url.index(":") :], given)


def _asking(url: str, query: Mapping[str, object]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


def _respelled(url: str, scheme: str, database: str, new_scheme: str, new_database: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != scheme:
        return url
    number = parse_qs(parts.query).get(database, ["0"])[0]
    return f"{new_scheme}://{parts.netloc}{parts.path}?{new_database}={number}"
