"""Objects of dataclasses and pydantic models travel in JSON where an annotation names their class.

The value that a task returns is written and read with the classes that its return annotation names, a run's parameter
with those that the annotations of its readers name. A class counts if it lies in ``list[Order]``,
``Order | None`` or ``Annotated[...]``, or in the fields of such a class, and so do enums there. Stored data only
chooses among these classes: it never makes us import one.

An object is carried as the state that it has, without calling its class, and only if its type is exactly a class that
was named: an object of a subclass, which was not named, is refused, as are attributes beside the fields. Nothing is
ever made of a dict, so that a dict stays one, whatever the annotation says. What cannot be carried so needs AsPickle().
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from dagcelery.payload import pickles
from dagcelery.payload.lazy import LazyList
from dagcelery.payload.strict_json import Marked, Unreadable, is_plain
from dagcelery.signatures import fields, hints

Classes = Mapping[str, type]
"""The classes that data may choose among, by module and name."""

_BUILTINS: Final = (int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, BaseException)
_DEEP: Final = 20


@dataclass(frozen=True, slots=True)
class AsModels:
    """Say that values are JSON with objects of these dataclasses, pydantic models and enums; codecs know how.

    It has no codec of its own: planners name classes, and only processes that touch values need codecs.
    """

    classes: tuple[tuple[str, type], ...]
    by_value: tuple[str, ...] = ()

    @classmethod
    def of(cls, classes: Sequence[type], by_value: Sequence[str] = ()) -> AsModels:
        """Return one for `classes`, named now: a class that travels by value has another name elsewhere."""
        return cls(tuple(by_name(classes).items()), tuple(by_value))

    extension: ClassVar[str] = "json"


class NotCarried(Exception):
    """An object has something that would be lost; says what."""


def named_by(func: Callable[..., Any], name: str) -> tuple[type, ...]:
    """Return the classes that the annotation of a parameter, or of "return", names; none without a model among them."""
    classes: dict[type, None] = {}
    _collect(hints(func).get(name), classes, 0)
    return tuple(classes) if any(map(is_model, classes)) else ()


def by_name(classes: Sequence[type]) -> Classes:
    """Return classes by the names that they have in data."""
    return {_name(kind): kind for kind in classes}


def lowered(value: Any, names: Mapping[type, str], *, exact: bool = False) -> Any:
    """Return `value` with its objects of classes that have `names` as `Marked`; others are left for JSON to refuse.

    Within an object, where all is `exact`, a tuple stays one: else the object would be equal to another.
    """
    kind = type(value)
    if kind is dict:
        return {key: lowered(item, names, exact=exact) for key, item in value.items()}
    if kind in (list, tuple, LazyList):
        items = [lowered(item, names, exact=exact) for item in value]
        return Marked("tuple", "tuple", items) if exact and kind is tuple else items
    name = names.get(kind)
    if name is None:
        return value
    if issubclass(kind, enum.Enum):
        return Marked("enum", name, value.name)
    try:
        state = _state_of_model(value) if _is_pydantic(kind) else _state(value)
    except NotCarried:
        return value
    marked = Marked("model", name, lowered(state, names, exact=True))
    return marked if not _is_pydantic(kind) else _validated(value, marked)


def restored(kind: str, name: str, state: Any, classes: Classes) -> Any:
    """Return the object that `Marked` stood for. Raises Unreadable for a class that is another here."""
    if kind == "tuple":
        return tuple(state)
    cls: Any = classes.get(name)
    if cls is None:
        raise Unreadable(f"holds an object of {name}, which no annotation names here")
    if kind == "enum":
        try:
            return cls[state]
        except KeyError:
            raise Unreadable(f"holds {name}.{state}, which is not a member here") from None
    if kind == "validated":
        return cls.model_validate(state)
    value = cls.__new__(cls)
    if _is_pydantic(cls):
        fields_set = set(state["fields_set"])
        value.__setstate__(
            {f"__pydantic_{key}__": state[key] for key in ("extra", "private")}
            | {"__dict__": state["fields"], "__pydantic_fields_set__": fields_set}
        )
        return value
    names = [field.name for field in dataclasses.fields(cls)]
    if sorted(names) != sorted(state):
        raise Unreadable(f"holds an object of {name} with the fields {sorted(state)}, and here it has {sorted(names)}")
    for key, item in state.items():
        object.__setattr__(value, key, item)
    return value


def is_model(kind: type) -> bool:
    """Whether objects of a class are their fields, and nothing else."""
    if _is_pydantic(kind):
        base = sys.modules["pydantic"].BaseModel
        return bool(kind.__getstate__ is base.__getstate__ and kind.__setstate__ is base.__setstate__)  # type: ignore[attr-defined]
    if not dataclasses.is_dataclass(kind) or issubclass(kind, _BUILTINS):
        return False
    own: Any = kind
    if own.__reduce__ is not object.__reduce__ or own.__reduce_ex__ is not object.__reduce_ex__:
        return False
    getstate = getattr(kind, "__getstate__", None)
    if getattr(getstate, "__module__", None) != "dataclasses" and getstate is not getattr(object, "__getstate__", None):
        return False
    names = {field.name for field in dataclasses.fields(kind)} | {"__dict__", "__weakref__"}
    return all(names.issuperset(_slots(base)) for base in kind.__mro__)


def _slots(kind: type) -> Sequence[str]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _state(value: Any) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(value)]
    beside = [key for key in getattr(value, "__dict__", {}) if key not in names and not _is_cached(value, key)]
    if beside or not all(hasattr(value, name) for name in names):
        raise NotCarried
    return {name: getattr(value, name) for name in names}


def _is_cached(value: Any, name: str) -> bool:
    return isinstance(inspect.getattr_static(type(value), name, None), functools.cached_property)


def _state_of_model(value: Any) -> dict[str, Any]:
    state = value.__getstate__()
    return {
        "fields": state["__dict__"],
        "extra": state["__pydantic_extra__"],
        "fields_set": sorted(state["__pydantic_fields_set__"]),
        "private": state["__pydantic_private__"],
    }


def _validated(value: Any, marked: Marked) -> Marked:
    """Return a model as pydantic itself writes it, where JSON cannot say its state and the same comes back."""
    if is_plain(marked):
        return marked
    try:
        data = value.model_dump(mode="json", round_trip=True, exclude_unset=True)
        back = type(value).model_validate(data)
        same = back == value and repr(back) == repr(value) and back.model_fields_set == value.model_fields_set
    except Exception:  # validators and serializers are the user's own
        return marked
    return Marked("validated", marked.name, data) if same else marked


def _is_pydantic(kind: type) -> bool:
    pydantic = sys.modules.get("pydantic")  # imported wherever there is a model
    base = getattr(pydantic, "BaseModel", None)
    return base is not None and kind is not base and issubclass(kind, base)


def _collect(hint: Any, classes: dict[type, None], depth: int) -> None:
    if depth > _DEEP:
        return
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        if hint in classes or not (is_model(hint) or issubclass(hint, enum.Enum)):
            return
        classes[hint] = None
        for inner in _fields(hint):
            _collect(inner, classes, depth + 1)
        return
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        _collect(typing.get_args(hint)[0], classes, depth + 1)
    elif origin is not None and origin is not typing.Literal:
        _collect(origin, classes, depth + 1)
        for inner in typing.get_args(hint):
            _collect(inner, classes, depth + 1)
    elif type(hint).__name__ == "TypeAliasType":  # since Python 3.12
        _collect(hint.__value__, classes, depth + 1)


def _fields(kind: type) -> Iterator[Any]:
    if issubclass(kind, enum.Enum):
        return
    if _is_pydantic(kind):
        yield from (field.annotation for field in kind.model_fields.values())  # type: ignore[attr-defined]
        return
    for base in kind.__mro__:
        yield from fields(base).values()


def _name(kind: type) -> str:
    module = kind.__module__
    if module in pickles.SCRIPTS:
        module = pickles.module_that_runs(module) or module
    return f"{module}:{kind.__qualname__}"
