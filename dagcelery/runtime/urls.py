"""Celery and redis-py spell the address of a Unix socket differently; here one becomes the other."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

REDIS_SCHEMES = ("redis://", "rediss://", "redis+socket://", "unix://")


def is_redis(url: str | None) -> bool:
    """Whether a URL names a Redis."""
    return bool(url) and str(url).startswith(REDIS_SCHEMES)


def for_celery(url: str) -> str:
    """Celery's spelling: ``redis+socket://:password@/path?virtual_host=0``."""
    return _respelled(url, "unix", "db", "redis+socket", "virtual_host")


def for_redis(url: str) -> str:
    """redis-py's spelling: ``unix://:password@/path?db=0``."""
    return _respelled(url, "redis+socket", "virtual_host", "unix", "db")


def _respelled(url: str, scheme: str, database: str, new_scheme: str, new_database: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != scheme:
        return url
    number = parse_qs(parts.query).get(database, ["0"])[0]
    return f"{new_scheme}://{parts.netloc}{parts.path}?{new_database}={number}"
