"""Errors that are records: their constructors take what their classes annotate, as those of dataclasses do.

They are no dataclasses, because `dataclass` compiles code for each class; for all our errors that took three of the
thirty milliseconds in which `dag` and `task` are imported.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, TypeVar, dataclass_transform

_E = TypeVar("_E", bound="type[Record]")

_REQUIRED: Final = object()

_PAGE: Final = "https://dagcelery.readthedocs.io/en/stable/reference/errors/"


def page_of(error: BaseException, module: str) -> str:
    """Return where the documents tell of an error, or of the nearest class above it that `module` has.

    Tracebacks show it in a note. It is no part of the text, which stands in logs, lists and mails as well.
    """
    known = next(kind for kind in type(error).__mro__ if kind.__module__ == module)
    return f"{_PAGE}#{known.__name__.lower()}"


class _Unasked:
    def __init__(self, value: object) -> None:
        self.value = value


def unasked(*, default: object = "", init: Literal[False] = False) -> Any:
    """Return what stands in a class for a field with that value, which its constructor does not take."""
    return _Unasked(default)


class Record(Exception):
    """An error whose constructor takes its fields, by place or by name."""

    _fields: ClassVar[dict[str, object]] = {}
    """What the constructor takes, each with its default."""
    _declared: ClassVar[dict[str, object]] = {}

    def __init__(self, *args: object, **kwargs: object) -> None:
        by_place = dict(zip(self._fields, args, strict=False))
        values = {**self._fields, **by_place, **kwargs}
        is_twice = len(by_place) < len(args) or not by_place.keys().isdisjoint(kwargs)
        if is_twice or values.keys() != self._fields.keys() or any(value is _REQUIRED for value in values.values()):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields)}, not {args} and {kwargs}")
        self.__dict__.update(values)
        self.__post_init__()

    def __post_init__(self) -> None: ...


@dataclass_transform(eq_default=False, field_specifiers=(unasked,))
def record(cls: _E) -> _E:
    """Let the constructor of an error take what its class and those above it annotate."""
    cls._declared = {name: vars(cls).get(name, _REQUIRED) for name in cls.__annotations__}
    declared: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        declared |= vars(base).get("_declared", {})
    cls._fields = {name: default for name, default in declared.items() if not isinstance(default, _Unasked)}
    for name, default in cls._declared.items():
        if isinstance(default, _Unasked):
            setattr(cls, name, default.value)
    return cls
