"""All that can be set from outside, read once: an argument wins over ``DAGCELERY_<NAME>``, which wins over the Celery
app's ``app.conf.dagcelery_<name>``, which wins over the default."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from dagcelery.errors import InvalidSetting
from dagcelery.text import choices, masked, shown

PREFIX: Final = "DAGCELERY_"
CONFIGURED: Final = "app.conf.dagcelery_"

Flaw = tuple[str, str] | None
"""What is wrong with a value and what would be right, or None."""

_MB: Final = 1024 * 1024


def _text(value: object) -> Flaw:
    return None if isinstance(value, str) else (f"is of type {type(value).__name__}", "give a str")


def _paths(value: object) -> Flaw:
    if isinstance(value, tuple) and all(isinstance(each, str) for each in value):
        return None
    return f"is {shown(value)}", 'write paths such as "conf/*.yml"'


def _modules(value: object) -> Flaw:
    if not isinstance(value, tuple):
        return f"is of type {type(value).__name__}", "give a tuple of module names"
    for name in value:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            return (
                f"names {name!r}, which is not a module",
                'write modules or packages such as "shop.tasks,reports"',
            )
    return None


def _url(value: object) -> Flaw:
    if value == "" or (isinstance(value, str) and re.match(r"[\w+.-]+://", value)):
        checks = re.search(r"[?&]ssl_cert_reqs=([^&]*)", str(value))
        if checks and checks[1].lower().removeprefix("cert_") not in ("required", "optional", "none"):
            return f"has ssl_cert_reqs={checks[1]}", "write ssl_cert_reqs=required, optional or none"
        return None
    problem = "is not a URL" if isinstance(value, str) else f"is of type {type(value).__name__}"
    return problem, "write one such as redis://localhost:6379/0"


def _redis_url(value: object) -> Flaw:
    if value == "" or _url(value) is not None:
        return _url(value)
    flaw = "is not the address of a Redis or Valkey", "write one such as redis://localhost:6379/0"
    if kind := re.match(r"rediss?\+(sentinel|cluster)://", str(value)):
        return _several_servers(kind[1], str(value)[kind.end() :])
    try:
        scheme, _, path, *_ = parts = urlsplit(str(value))
        parts.port  # noqa: B018  # it is parsed when it is read
    except ValueError:
        return flaw
    # The database must be a number: redis-py would take 0 in place of anything else.
    is_redis = scheme in ("redis", "rediss") and (path.strip("/") or "0").isdecimal()
    return None if is_redis or scheme == "unix" else flaw


_SEVERAL: Final = {
    "sentinel": "write redis+sentinel://:password@host1:26379,host2:26379/service/0",
    "cluster": "write redis+cluster://:password@host1:6379,host2:6379",
}


def _several_servers(kind: str, rest: str) -> Flaw:
    """Check what stands behind the scheme of an address of Sentinels and their service, or of a cluster."""
    place, _, query = rest.partition("?")
    hosts, _, path = place.rpartition("@")[2].partition("/")
    for host in hosts.split(","):
        try:
            parts = urlsplit(f"//{host}")
            is_host = bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_host = False
        if not is_host:
            return f"names {host!r} where a host and its port should be", _SEVERAL[kind]
    service, _, database = path.strip("/").partition("/") if kind == "sentinel" else ("-", "", path.strip("/"))
    if not service:
        return "does not say what the Sentinels call their master", f"{_SEVERAL[kind]}, service as in sentinel.conf"
    if not (database or "0").isdecimal():
        return f"names {database!r}, which is no number of a database", _SEVERAL[kind]
    if kind == "cluster" and (database.strip("0") or re.search(r"(^|&)db=(?!0*(&|$))", query)):
        return "names a database, and a cluster has only number 0", "leave it out"
    return None


def _broker_url(value: object) -> Flaw:
    """Check one address, or several with semicolons between them."""
    if flaw := _url(value):
        return flaw
    if re.match(r"rediss?\+cluster:", str(value)):
        remedy = "give it a Redis of its own, one behind Sentinels, or RabbitMQ; only the store may be a cluster"
        return "is a cluster, over which Celery cannot send", remedy
    ours = ("redis://", "rediss://", "redis+sentinel://", "rediss+sentinel://")
    flaws = [_redis_url(each) for each in str(value).split(";") if each.startswith(ours)]
    return next(filter(None, flaws), None)


def _smtp_url(value: object) -> Flaw:
    remedy = "write smtps://user:password@host, smtp+starttls://user:password@host or smtp://host"
    try:
        parts = urlsplit(str(value))
        is_server = parts.scheme in ("smtp", "smtps", "smtp+starttls") and parts.hostname and parts.port != 0
    except ValueError:  # the port, or brackets
        is_server = False
    if value == "" or (isinstance(value, str) and is_server and not (parts.path.strip("/") or parts.query)):
        return None
    return "is not the address of an SMTP server", f"{remedy}, with @ / : and % in a password as %40 %2F %3A %25"


def _address(value: object) -> Flaw:
    if value == "" or (isinstance(value, str) and value.isprintable() and re.fullmatch(r"[^@]+@[^@]+", value)):
        return None
    return f"is {shown(value)}", "write an address such as dags@example.com"


def _page_url(value: object) -> Flaw:
    if value == "" or (isinstance(value, str) and value.isprintable() and re.match(r"https?://[^/]", value)):
        return None
    return f"is {shown(value)}", "write one such as https://dags.example.com/runs/{run}"


def _token(value: object) -> Flaw:
    if value == "" or (isinstance(value, str) and len(value) >= 16 and value.isprintable()):
        return None
    return "is no text of at least 16 characters", "make it with openssl rand -hex 32"


def _key_prefix(value: object) -> Flaw:
    # Braces would be a hash tag of their own, and what stands for others in a pattern would in a rule of an ACL.
    if isinstance(value, str) and re.fullmatch(r"[!-~]{0,64}", value) and not set(value) & set("{}*?[]\\"):
        return None
    remedy = "give at most 64 printable ASCII characters, without spaces, braces and * ? [ ] \\, such as shop:"
    return f"is {shown(value)}", remedy


def _folder_url(value: object) -> Flaw:
    remedy = "write one such as file:///var/dagcelery or s3://bucket/folder"
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}", remedy
    if value and not re.match(r"(file|local):///|(?!file:|local:)[\w+.-]+://", value):
        return "is not the URL of a folder that is the same for all processes", remedy
    return None


def _one_of(*choices: str) -> Callable[[object], Flaw]:
    return lambda value: None if value in choices else (f"is {shown(value)}", f"choose one of {', '.join(choices)}")


def _positive(*kinds: type[int] | type[float]) -> Callable[[object], Flaw]:
    def check(value: object) -> Flaw:
        if isinstance(value, bool) or not isinstance(value, kinds):
            expected = "a number" if float in kinds else "an int"
            return f"is {shown(value)} of type {type(value).__name__}", f"give {expected}"
        if not value > 0 or math.isinf(value):
            return f"is {value}", "give a number above 0"
        return None

    return check


_count: Final = _positive(int)
_duration: Final = _positive(int, float)


def _count_or_none(value: object) -> Flaw:
    return None if value == 0 and type(value) is int else _count(value)


def _setting(default: Any, check: Callable[[Any], Flaw], meaning: str, *, is_secret: bool = False) -> Any:
    return field(default=default, repr=not is_secret, metadata={"check": check, "meaning": meaning})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a process, valid once they exist; InvalidSetting names the one that is not.

    Durations are in seconds, sizes in bytes. An empty URL means that another setting decides. the reference of the
    documents is made of this.
    """

    broker_url: str = _setting("", _broker_url, "where Celery sends messages", is_secret=True)
    store_url: str = _setting(
        "",
        _redis_url,
        "the Redis or Valkey that remembers runs, also "
        "[behind Sentinels, or a cluster](docs/howto/sentinel_and_cluster.md)",
        is_secret=True,
    )
    key_prefix: str = _setting(
        "",
        _key_prefix,
        "what the names of all keys in the store begin with, such as `shop:`, "
        "[beside others on one server](docs/howto/shared_redis.md)",
    )
    signing_key: str = _setting(
        "", _text, "the secret that signs stored data; `new,old` while you change it", is_secret=True
    )
    imports: tuple[str, ...] = _setting(
        (), _modules, "modules and packages that unsigned plans may name, besides those of the app's tasks"
    )
    serializer: Literal["json", "pickle"] = _setting(
        "json", _one_of("json", "pickle"), "`json` or `pickle`, for tasks and DAGs that do not name a serializer"
    )
    queue: str = _setting("", _text, "the queue of untainted tasks; empty: the app's default queue")
    ttl_seconds: int = _setting(
        7 * 86400,
        _count,
        "how long an unfinished run lives in which nothing happens, is due or waits for a live worker",
    )
    result_ttl_seconds: int = _setting(86400, _count, "how long a finished run is kept")
    heartbeat_seconds: float = _setting(3.0, _duration, "how often a worker reports that it is alive, and sweeps runs")
    dead_seconds: float = _setting(
        10.0, _duration, "how long a worker may be silent before its work is given to others"
    )
    max_deaths: int = _setting(
        3,
        _count,
        "how many processes may die while they run a piece before it fails; stopped workers may give it back ten times "
        "as often",
    )
    slice_seconds: float = _setting(
        0.4, _duration, "how long one message goes on starting pieces before it gives way to other runs"
    )
    handoff_seconds: float = _setting(
        0.010, _duration, "how long ready work may wait behind a running piece before it is offered to other processes"
    )
    async_concurrency: int = _setting(
        1,
        _count,
        "how many pieces of `async def` tasks of one run a process awaits [side by side](docs/howto/async_tasks.md)",
    )
    max_payload_bytes: int = _setting(512 * _MB, _count, "the largest value; a list counts as a whole")
    max_items: int = _setting(1_000_000, _count, "the longest list that a fan-out may run over")
    max_nodes: int = _setting(100_000, _count, "the largest DAG, including nested ones")
    spool_bytes: int = _setting(
        8 * _MB, _count, "how much of a list is held in memory while it is split, before a temporary file is used"
    )
    spill_url: str = _setting(
        "", _folder_url, "where large values are kept as files; empty: in the store", is_secret=True
    )
    spill_bytes: int = _setting(_MB, _count, "the largest value, or block of a list, that is not put into a file")
    cache_directory: str = _setting(
        ".dagcelery/cache", _text, "where a `DiskCacheStage` keeps values if it names no folder"
    )
    workflows: tuple[str, ...] = _setting(
        (), _paths, "YAML files, or glob patterns, whose workflows beat submits when they are due"
    )
    smtp_url: str = _setting(
        "",
        _smtp_url,
        "the server through which workers send mails: `smtps://user:password@host:465` (TLS), "
        "`smtp+starttls://user:password@host:587` or `smtp://host:25` (neither)",
        is_secret=True,
    )
    smtp_from: str = _setting("", _address, "the sender of these mails; empty: the user in `DAGCELERY_SMTP_URL`")
    run_url: str = _setting("", _page_url, "a page that mails link to, with `{run}` for the id of the run")
    flower_url: str = _setting("", _page_url, "where Flower is, for links from the page of a run")
    trace_link: str = _setting(
        "", _page_url, "a page of traces that the page of a run links to, with `{run}` and `{node}` in it"
    )
    trace: Literal["off", "link", "child"] = _setting(
        "off",
        _one_of("off", "link", "child"),
        "`off`, `link` or `child`: whether runs are [traced](docs/howto/tracing.md) with OpenTelemetry "
        "(`dagcelery[otel]`), and whether a run's trace links to its submitter's or is part of it",
    )
    metrics: Literal["off", "on"] = _setting(
        "off",
        _one_of("off", "on"),
        "`off` or `on`: whether pieces and runs are counted for [Prometheus](docs/howto/metrics.md); what is ready, "
        "and which workers there are, it is told in any case",
    )
    log_link: str = _setting("", _page_url, "a page of logs, likewise")
    web_token: str = _setting(
        "", _token, "what a browser shows `dagcelery ui` to see the page; empty: one that serves once", is_secret=True
    )
    code_mismatch: Literal["ignore", "warn", "error"] = _setting(
        "warn",
        _one_of("ignore", "warn", "error"),
        "`ignore`, `warn` or `error`: what a worker does if its code of a function differs from the code that the run "
        "was planned with",
    )
    log_level: str = _setting(
        "INFO", _one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "the level of dagcelery's own log lines"
    )
    log_tail_lines: int = _setting(
        50,
        _count_or_none,
        "how many of the last lines that a piece logs are kept with its run; 0: none",
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            if flaw := setting.metadata["check"](getattr(self, setting.name)):
                raise InvalidSetting(setting.name, *flaw)
        if self.dead_seconds < 2 * self.heartbeat_seconds:
            raise InvalidSetting(
                "dead_seconds",
                f"is {self.dead_seconds:g}, less than two heartbeats of {self.heartbeat_seconds:g} s, so live workers "
                "would be taken for dead",
                "make it at least twice heartbeat_seconds",
            )

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] | None = None,
        /,
        *,
        configured: Mapping[str, Any] = MappingProxyType({}),
        **overrides: Any,
    ) -> Settings:
        """Read ``DAGCELERY_*`` from `environ`, os.environ by default; overrides other than None win.

        `configured` has the app's settings, by their names in ``app.conf`` without the prefix; the environment wins
        over them.

        Raises:
            InvalidSetting: a value is not allowed, or a setting does not exist; it names the variable, the argument
                or the app's setting.
        """
        settings = {setting.name: setting for setting in fields(cls)}
        for prefix, names in (("", overrides), (CONFIGURED, configured)):
            for name in names:
                if name not in settings:
                    raise InvalidSetting(prefix + name, "is not a setting", choices(name, settings))
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for name, setting in settings.items():
            variable = PREFIX + name.upper()
            text = environ.get(variable, "").strip()
            if overrides.get(name) is not None:
                values[name] = _converted(name, overrides[name])
            elif text:
                sources[name] = variable
                values[name] = _parsed(variable, text, type(setting.default))
            elif configured.get(name) is not None:
                sources[name] = CONFIGURED + name
                values[name] = _converted(name, configured[name])
        try:
            return cls(**values)
        except InvalidSetting as error:
            culprit = sources.get(error.culprit, error.culprit)
            raise InvalidSetting(culprit, error.problem, error.remedy) from None

    def __repr__(self) -> str:
        """Show all settings but the signing key and the token, and URLs without their passwords."""
        parts = []
        for setting in fields(self):
            value = getattr(self, setting.name)
            if value == setting.default:
                continue
            if setting.name in ("signing_key", "web_token"):
                value = "***"
            elif setting.name.endswith("_url"):
                value = masked(value, hides_query=setting.name == "spill_url")
            parts.append(f"{setting.name}={value!r}")
        return f"Settings({', '.join(parts)})"


def _converted(name: str, value: Any) -> Any:
    if name in ("imports", "workflows"):
        if isinstance(value, str):
            return _split(value)
        return tuple(value) if isinstance(value, Iterable) else value
    if name == "log_level" and isinstance(value, str):
        return value.upper()
    return value


def _split(text: str) -> tuple[str, ...]:
    return tuple(filter(None, re.split(r"[\s,]+", text)))


def _parsed(variable: str, text: str, kind: type) -> Any:
    if kind is tuple:
        return _split(text)
    if kind is str:
        return text.upper() if variable.endswith("_LOG_LEVEL") else text
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise InvalidSetting(variable, f"is {text!r}, which is not {expected}", f"write {expected}") from None
