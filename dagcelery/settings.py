"""All that can be set from outside, read once: an argument wins over ``DAGCELERY_<NAME>``, which wins over the Celery
app's ``app.conf.dagcelery_<name>``, which wins over the default."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from dagcelery.errors import InvalidSetting
from dagcelery.text import choices, masked, shown

PREFIX: Final = "DAGCELERY_"
CONFIGURED: Final = "app.conf.dagcelery_"

_SERIALIZERS: Final = ("json", "pickle")
_MISMATCHES: Final = ("ignore", "warn", "error")
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_MB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a process, valid once they exist; InvalidSetting names the one that is not.

    Durations are in seconds, sizes in bytes. An empty URL means that another setting decides.
    """

    broker_url: str = field(default="", repr=False)
    """Where Celery sends messages."""
    store_url: str = field(default="", repr=False)
    """The Redis or Valkey that remembers runs."""
    signing_key: str = field(default="", repr=False)
    """Secret that signs what is stored, or "new,old" while it is being changed."""
    imports: tuple[str, ...] = ()
    """Modules and packages that unsigned plans may name."""
    serializer: Literal["json", "pickle"] = "json"
    """How values are serialized where neither task nor DAG says."""
    queue: str = ""
    """The queue of tasks that are not tainted; empty means the Celery app's default queue."""
    ttl_seconds: int = 7 * 86400
    """How long an unfinished run is remembered after its last activity."""
    result_ttl_seconds: int = 86400
    """How long a finished run is remembered."""
    heartbeat_seconds: float = 3.0
    """How often a worker says that it is alive, and looks for what was left undone."""
    dead_seconds: float = 10.0
    """How long a worker may be silent before its work is given to others."""
    max_deaths: int = 3
    """How many processes may die while they run a piece until it fails."""
    slice_seconds: float = 0.4
    """How long a message starts new pieces before it hands on the rest, so that runs take turns."""
    handoff_seconds: float = 0.010
    """How long ready work may wait behind a running piece before it is offered to others."""
    max_payload_bytes: int = 512 * _MB
    """The largest value; a list counts whole."""
    max_items: int = 1_000_000
    """The longest list that is iterated by a fan-out."""
    max_nodes: int = 100_000
    """The largest DAG, nested ones counted in."""
    spool_bytes: int = 8 * _MB
    """How much of a list being split is kept in memory before a temporary file takes over."""
    workflows: tuple[str, ...] = ()
    """YAML files, or patterns of their names, whose workflows beat submits when they are due."""
    spill_url: str = field(default="", repr=False)
    """Where large values stand in files; empty: nowhere, they stand in the store."""
    spill_bytes: int = _MB
    """The largest value that does not go into a file, and the largest block of a list."""
    cache_directory: str = ".dagcelery/cache"
    """Where stages that keep values on disk keep them, if they name no other folder."""
    code_mismatch: Literal["ignore", "warn", "error"] = "warn"
    """What happens where a function's code is not the code that its run was planned with."""
    log_level: str = "INFO"
    """The level of dagcelery's own log lines."""

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            wrong = check(getattr(self, name))
            if wrong:
                raise InvalidSetting(name, *wrong)
        if self.dead_seconds < 2 * self.heartbeat_seconds:
            raise InvalidSetting(
                "dead_seconds",
                f"is {self.dead_seconds:g}, less than two beats of {self.heartbeat_seconds:g} s, "
                "so that workers would be taken for dead between them",
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

        What the environment does not say is as `configured` says, by the names that ``app.conf`` has without their
        prefix. Raises InvalidSetting naming the variable, the argument or the app's setting, also where there is none
        of that name.
        """
        known = {setting.name: setting for setting in dataclasses.fields(cls)}
        for prefix, names in (("", overrides), (CONFIGURED, configured)):
            for name in names:
                if name not in known:
                    raise InvalidSetting(prefix + name, "is not a setting", choices(name, known))
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for name, setting in known.items():
            text = environ.get(PREFIX + name.upper(), "").strip()
            if overrides.get(name) is not None:
                values[name] = _given(name, overrides[name])
            elif text:
                sources[name] = PREFIX + name.upper()
                values[name] = _read(sources[name], text, type(setting.default))
            elif configured.get(name) is not None:
                sources[name] = CONFIGURED + name
                values[name] = _given(name, configured[name])
        try:
            return cls(**values)
        except InvalidSetting as error:
            named = sources.get(error.culprit, error.culprit)
            raise InvalidSetting(named, error.problem, error.remedy) from None

    def __repr__(self) -> str:
        """Show what was set; the signing key is never shown, nor a URL's password."""
        parts = []
        for setting in dataclasses.fields(self):
            value = getattr(self, setting.name)
            if value == setting.default:
                continue
            if setting.name == "signing_key":
                value = "***"
            elif setting.name.endswith("_url"):
                value = masked(value, hides_query=setting.name == "spill_url")
            parts.append(f"{setting.name}={value!r}")
        return f"Settings({', '.join(parts)})"


def _given(name: str, value: Any) -> Any:
    if name in ("imports", "workflows"):
        if isinstance(value, str):
            return _modules(value)
        return tuple(value) if isinstance(value, Iterable) else value
    if name == "log_level" and isinstance(value, str):
        return value.upper()
    return value


def _modules(text: str) -> tuple[str, ...]:
    return tuple(filter(None, re.split(r"[\s,]+", text)))


def _read(variable: str, text: str, kind: type) -> Any:
    if kind is tuple:
        return _modules(text)
    if kind is str:
        return text.upper() if variable.endswith("_LOG_LEVEL") else text
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise InvalidSetting(variable, f"is {text!r}, which is not {wanted}", f"write {wanted}") from None


_Wrong = tuple[str, str] | None


def _is_text(value: object) -> _Wrong:
    if isinstance(value, str):
        return None
    return f"is of type {type(value).__name__}", "give a str"


def _are_texts(value: object) -> _Wrong:
    if isinstance(value, tuple) and all(isinstance(each, str) for each in value):
        return None
    return f"is {shown(value)}", 'write paths such as "conf/*.yml"'


def _is_url(value: object) -> _Wrong:
    if value == "" or (isinstance(value, str) and re.match(r"[\w+.-]+://", value)):
        checks = re.search(r"[?&]ssl_cert_reqs=([^&]*)", str(value))
        if checks and checks[1].lower().removeprefix("cert_") not in ("required", "optional", "none"):
            return f"says ssl_cert_reqs={checks[1]}", "write ssl_cert_reqs=required, optional or none"
        return None
    shown = "is not a URL" if isinstance(value, str) else f"is of type {type(value).__name__}"
    return shown, "write one such as redis://localhost:6379/0"


def _is_redis_url(value: object) -> _Wrong:
    if value == "" or _is_url(value) is not None:
        return _is_url(value)
    wrong, right = "is not the address of a Redis or Valkey", "write one such as redis://localhost:6379/0"
    try:
        scheme, _, path, *_ = parts = urlsplit(str(value))
        parts.port  # noqa: B018  # it is looked at when it is asked for
    except ValueError:
        return wrong, right
    if scheme == "unix":
        return None
    # The database's number: redis-py would take 0 in place of anything else.
    is_right = scheme in ("redis", "rediss") and (path.strip("/") or "0").isdecimal()
    return None if is_right else (wrong, right)


def _is_broker_url(value: object) -> _Wrong:
    """One address, or several with semicolons between."""
    if wrong := _is_url(value):
        return wrong
    found = [_is_redis_url(each) for each in str(value).split(";") if each.startswith(("redis://", "rediss://"))]
    return next(filter(None, found), None)


def _is_file_url(value: object) -> _Wrong:
    right = "write one such as file:///var/dagcelery or s3://bucket/folder"
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}", right
    if value and not re.match(r"(file|local):///|(?!file:|local:)[\w+.-]+://", value):
        return "is not the URL of a folder that is the same for all processes", right
    return None


def _one_of(choices: tuple[str, ...]) -> Callable[[object], _Wrong]:
    return lambda value: None if value in choices else (f"is {shown(value)}", f"choose one of {', '.join(choices)}")


def _positive(kind: type[int] | type[float]) -> Callable[[object], _Wrong]:
    def check(value: object) -> _Wrong:
        allowed = (int,) if kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, allowed):
            wanted = "an int" if kind is int else "a number"
            return f"is {shown(value)} of type {type(value).__name__}", f"give {wanted}"
        if not value > 0 or math.isinf(value):
            return f"is {value}", "give a number above 0"
        return None

    return check


def _are_modules(value: object) -> _Wrong:
    if not isinstance(value, tuple):
        return f"is of type {type(value).__name__}", "give a tuple of module names"
    for name in value:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            return (
                f"names {name!r}, which is not a module",
                'write modules or packages such as "shop.tasks,reports"',
            )
    return None


_CHECKS: Final[Mapping[str, Callable[[Any], _Wrong]]] = {
    "broker_url": _is_broker_url,
    "store_url": _is_redis_url,
    "signing_key": _is_text,
    "spill_url": _is_file_url,
    "imports": _are_modules,
    "serializer": _one_of(_SERIALIZERS),
    "queue": _is_text,
    "workflows": _are_texts,
    "cache_directory": _is_text,
    "code_mismatch": _one_of(_MISMATCHES),
    "log_level": _one_of(_LEVELS),
    **dict.fromkeys(("ttl_seconds", "result_ttl_seconds"), _positive(int)),
    **dict.fromkeys(("heartbeat_seconds", "dead_seconds", "slice_seconds", "handoff_seconds"), _positive(float)),
    **dict.fromkeys(("max_payload_bytes", "max_items", "max_nodes", "max_deaths"), _positive(int)),
    **dict.fromkeys(("spool_bytes", "spill_bytes"), _positive(int)),
}
