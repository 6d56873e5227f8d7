"""What a function says of itself: the signature of its outermost wrapper that declares parameters, and annotations.

Annotations promise something of a value, of its parts and of its elements: their types, and how many there are. An
annotation that cannot be evaluated is ignored.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import sys
import threading
from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from operator import is_
from types import CellType, FunctionType, GenericAlias, MethodType
from typing import Annotated, Any, Final, ForwardRef, Literal, get_args, get_origin
from weakref import WeakKeyDictionary

_LENIENT: Final[dict[str, Any]] = {}

if sys.version_info >= (3, 14):
    from annotationlib import Format

    _LENIENT["annotation_format"] = Format.FORWARDREF

"""Annotations are evaluated lazily from 3.14 on; one that names what is imported for type checkers only would raise."""

_ATTEMPTS: Final = 5

_parsing = threading.Lock()

_LAYERS: Final = 20
"""Objects that have any attribute one asks for would be unwrapped for ever."""


class Binding:
    """Binds arguments to the names in a signature, as its `bind` does at ten times the cost, where no doubt is left."""

    __slots__ = ("_known", "_names", "_positional", "_required", "rest", "signature")

    def __init__(self, signature: inspect.Signature) -> None:
        single = [each for each in signature.parameters.values() if each.kind not in _STARRED]
        self.signature = signature
        kinds = {each.kind: each.name for each in signature.parameters.values()}
        self.rest = kinds.get(inspect.Parameter.VAR_KEYWORD)
        self._positional = [each.name for each in single if each.kind is not each.KEYWORD_ONLY]
        self._names = [each.name for each in single if each.kind is not each.POSITIONAL_ONLY]
        self._known = frozenset(self._names)
        self._required = frozenset(each.name for each in single if each.default is each.empty)

    def __reduce__(self) -> tuple[Any, ...]:
        return Binding, (self.signature,)

    def fits(self, names: Set[str]) -> bool:
        """Whether a call with arguments of these names is sure to fit."""
        return self._required <= names <= self._known

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments by the names of parameters, in their order. Raises TypeError."""
        arguments = dict(zip(self._positional, args, strict=False))
        if kwargs and self._known.issuperset(kwargs) and arguments.keys().isdisjoint(kwargs):
            given = {**arguments, **kwargs}
            arguments = {name: given[name] for name in self._names if name in given}
        if len(arguments) == len(args) + len(kwargs) and self._required <= arguments.keys():
            return arguments
        return self.signature.bind(*args, **kwargs).arguments


_STARRED: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_bindings: WeakKeyDictionary[FunctionType, tuple[list[object], Binding]] = WeakKeyDictionary()
"""Signatures, each with what it was read from, which may be replaced."""

_calls_within: WeakKeyDictionary[FunctionType, ast.Call | None] = WeakKeyDictionary()


def signature(func: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of `func`; None for the built-in functions that have none.

    `inspect.signature` reads the innermost of wrapped functions, even where a wrapper takes other arguments.
    """
    bound = binding(func)
    return None if bound is None else bound.signature


def binding(func: Callable[..., Any]) -> Binding | None:
    """Return what binds arguments as `func` does, by its `signature`."""
    if not isinstance(func, FunctionType):
        read = _read(func)
        return None if read is None else Binding(read)
    stamp, cached = list(_stamp(func)), _bindings.get(func)
    if cached is not None and len(cached[0]) == len(stamp) and all(map(is_, cached[0], stamp)):
        return cached[1]
    read = _read(func)
    if read is None:
        return None
    _bindings[func] = stamp, Binding(read)
    return _bindings[func][1]


def _stamp(func: object) -> Iterator[object]:
    """Yield what the signature of a function, and of what it wraps, is read off."""
    for _ in range(_LAYERS):
        if not isinstance(func, FunctionType):
            break
        yield from (func.__code__, func.__defaults__, func.__dict__.get("__signature__"))
        named = func.__kwdefaults__ or {}
        yield from named
        yield from named.values()
        func = func.__dict__.get("__wrapped__")


def says(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return `func`, or the one of the functions in it, that names the parameters."""
    return list(_layers(func))[-1]


def _read(func: Callable[..., Any]) -> inspect.Signature | None:
    try:
        if isinstance(func, MethodType):
            inner = _read(func.__func__)
            return None if inner is None else _without(inner)
        if isinstance(func, functools.partial):
            return _own(functools.partial(_with(_read(func.func)), *func.args, **func.keywords))
        *passing, last = _layers(func)
        inner = _own(last) if not passing else _read(last)
    except (TypeError, ValueError):
        return None
    for layer in reversed(passing):
        inner = None if inner is None else _combined(layer, inner)
    return inner


def _layers(func: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield `func` and what it wraps, as long as each passes on what it does not name itself."""
    for _ in range(_LAYERS):
        yield func
        wrapped = None if isinstance(func, type | MethodType | functools.partial) else _wrapped_by(func)
        if wrapped is None or _states(func) or not _passes_on(func):
            return
        func = wrapped


def _wrapped_by(func: Callable[..., Any] | None) -> Callable[..., Any] | None:
    wrapped = getattr(func, "__wrapped__", None)
    return wrapped if callable(wrapped) else None


def _passes_on(func: Callable[..., Any]) -> bool:
    try:
        kinds = {each.kind for each in _own(func).parameters.values()}
    except (TypeError, ValueError):
        return True  # such as what functools.cache makes, which is written in C
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        return False
    call = _call_within(func)
    return call is None or any(each.arg is None for each in call.keywords)


def _states(func: Callable[..., Any]) -> bool:
    """Whether `func` has a ``__signature__`` of its own; functools.wraps copies that of the wrapped function."""
    stated = getattr(func, "__signature__", None)
    return stated is not None and stated is not getattr(_wrapped_by(func), "__signature__", None)


def _own(func: Callable[..., Any]) -> inspect.Signature:
    if isinstance(func, type):
        return inspect.signature(func, **_LENIENT)
    if _states(func):
        return inspect.signature(func, follow_wrapped=False, **_LENIENT)
    if isinstance(func, FunctionType) and hasattr(func, "__signature__"):
        plain = FunctionType(func.__code__, func.__globals__, argdefs=func.__defaults__, closure=func.__closure__)
        plain.__kwdefaults__ = func.__kwdefaults__
        func = functools.update_wrapper(plain, func, updated=())
    if not isinstance(func, FunctionType):
        call = inspect.getattr_static(type(func), "__call__", None)
        of_call = _read(call) if isinstance(call, FunctionType) else None
        if of_call is not None:
            return _without(of_call)
    return inspect.signature(func, follow_wrapped=False, **_LENIENT)


def _combined(wrapper: Callable[..., Any], inner: inspect.Signature) -> inspect.Signature:
    """Return the signature of `wrapper`, which passes on arguments that it does not name to a function with `inner`."""
    try:
        own = list(_own(wrapper).parameters.values())
    except (TypeError, ValueError):
        return inner
    kinds = {each.kind: each for each in own}
    named = [each for each in own if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    call = _call_within(wrapper)
    leading, by_name = (0, set[str | None]()) if call is None else _filled_in(call)
    rest = [each for each in list(inner.parameters.values())[leading:] if each.name not in by_name]
    rest = [each for each in rest if all(each.name != other.name for other in named)]
    may_be_left_out = any(_is_plain(each) and not _is_needed(each) for each in named)
    if inspect.Parameter.VAR_POSITIONAL not in kinds or (may_be_left_out and any(map(_is_needed, rest))):
        rest = list(map(_by_name_only, rest))
    return inner.replace(parameters=sorted([*named, *rest], key=lambda each: each.kind))


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty


def _by_name_only(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=parameter.KEYWORD_ONLY) if _is_plain(parameter) else parameter


def _is_plain(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.POSITIONAL_OR_KEYWORD


def _call_within(wrapper: Callable[..., Any]) -> ast.Call | None:
    """Return how a wrapper calls what it wraps, as in ``return f(connection(), *args, **kwargs)``.

    Only its source tells. Where it cannot be read, or says two things, everything is taken to come from outside: a
    call that does not fit raises a TypeError.
    """
    if not isinstance(wrapper, FunctionType) or not wrapper.__closure__:
        return None
    if wrapper not in _calls_within:
        _calls_within[wrapper] = _read_call(wrapper)
    return _calls_within[wrapper]


def parsed(source: str) -> ast.Module:
    """Return the syntax tree of a source. Raises SyntaxError, ValueError; SystemError where other threads parse, too.

    Before Python 3.13 `ast.parse` counts how deep it is in one place for all threads, and fails when another one has
    moved that. Ours wait for each other; one that met somebody else's tries again.
    """
    with _parsing:
        for _ in range(_ATTEMPTS - 1):
            with suppress(SystemError):
                return ast.parse(source)
        return ast.parse(source)


def _read_call(wrapper: FunctionType) -> ast.Call | None:
    import textwrap  # here, since few functions are wrapped

    cells = zip(wrapper.__code__.co_freevars, wrapper.__closure__ or (), strict=True)
    wrapped = _wrapped_by(wrapper)
    names = {name for name, cell in cells if any(value is wrapped for value in cell_contents(cell))}
    try:
        tree = parsed(textwrap.dedent(inspect.getsource(wrapper.__code__)))
    except (OSError, SyntaxError, SystemError, ValueError):
        return None
    calls = {ast.dump(call): call for call in _calls(ast.walk(tree), names)}
    return calls.popitem()[1] if len(calls) == 1 else None


def _calls(nodes: Iterable[ast.AST], names: set[str]) -> Iterator[ast.Call]:
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


def _filled_in(call: ast.Call) -> tuple[int, set[str | None]]:
    """Return how many leading arguments a call gives beside those that are passed on, and which by name."""
    starred = [isinstance(argument, ast.Starred) for argument in call.args]
    leading = starred.index(True) if True in starred else len(starred)
    return leading, {each.arg for each in call.keywords}


def _without(bound: inspect.Signature) -> inspect.Signature:
    """Return a signature without the object that a method is bound to."""
    parameters = list(bound.parameters.values())
    is_rest = bool(parameters) and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL
    return bound if is_rest else bound.replace(parameters=parameters[1:])


def _with(signature: inspect.Signature | None) -> Callable[..., Any]:
    """Return a function that has this signature, for `inspect` to work out what is left of it."""
    if signature is None:
        raise ValueError("no signature")

    def stand_in(*_: object, **__: object) -> None: ...

    stand_in.__signature__ = signature  # type: ignore[attr-defined]
    return stand_in


class _Annotations:
    """Annotations as written, and evaluated; and what these say, once it was asked for."""

    __slots__ = ("lazy", "promise", "read", "written")

    def __init__(self, written: dict[str, object], read: dict[str, object]) -> None:
        self.written, self.read = written, read
        self.lazy = frozenset(name for name, hint in read.items() if name != "return" and _is_lazy(hint))
        result = read.get("return")
        self.promise: Literal["iterable", "list"] | None = "list" if is_list(result) else None
        if _is_lazy(result):
            self.promise = "iterable"


_read_before: WeakKeyDictionary[FunctionType, _Annotations] = WeakKeyDictionary()
"""Many nodes are made of the same functions."""

_QUOTES: Final = 3
"""A name may stand for a text that is an annotation again, such as itself."""

LAZY: Final = frozenset({Iterable, Iterator, Collection, Sequence})


class Unread:
    """Stands for a name that cannot be resolved: most often it is imported for type checkers only."""

    def __getattr__(self, name: str) -> Unread:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, _: object) -> Unread:
        return self

    def __or__(self, _: object) -> Unread:
        return self

    __ror__ = __or__

    def __call__(self, *_: object, **__: object) -> Unread:
        return self


def hints(func: Callable[..., Any]) -> dict[str, object]:
    """Return the annotations of `func` by parameter name, and "return", with their `Annotated` metadata.

    `typing.get_type_hints` is not used, because one name imported under TYPE_CHECKING makes it raise for all. Here
    it is `Unread`, and the rest is read.
    """
    return dict(_annotations(_plain(func)).read)


def fields(cls: type) -> dict[str, object]:
    """Return the annotations of what stands in a class, by name."""
    return _annotations(cls).read


def _annotations(func: Callable[..., Any]) -> _Annotations:
    written, is_complete = _written(func)
    cached = _read_before.get(func) if isinstance(func, FunctionType) else None
    if cached is not None and cached.written == written:
        return cached
    scope = _Scope(_author(func, written))
    evaluated = {name: _evaluated(hint, scope) for name, hint in written.items()}
    read = {name: hint for name, hint in evaluated.items() if hint is not None and not isinstance(hint, Unread)}
    annotations = _Annotations(dict(written), read)
    if isinstance(func, FunctionType) and is_complete and not scope.missed:  # else a name may still be defined
        _read_before[func] = annotations
    return annotations


def bare(hint: object) -> object:
    """Return `hint` without its `Annotated` metadata."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def lazy_parameters(func: Callable[..., Any], names: Iterable[str]) -> frozenset[str]:
    """Return those of `names` that `func` declares only to iterate: they need not be made a list for it."""
    annotations = _annotations(_plain(func))
    if not annotations.lazy:
        return annotations.lazy
    rest = _keywords(func)
    taken = names if rest in annotations.lazy else annotations.lazy.intersection(names)
    return frozenset(name for name in taken if name in annotations.lazy or name not in annotations.read)


def promise(func: Callable[..., Any]) -> Literal["iterable", "list"] | None:
    """Return which of the two `func` declares to return: a list, or just something to be iterated; None for others."""
    return _annotations(_plain(func)).promise


def _plain(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that has the annotations, which is the one whose parameters a call has to fit."""
    if isinstance(func, FunctionType) and "__wrapped__" not in func.__dict__:
        return func  # which most are, and is asked for with each node that a running task makes
    while True:
        inner: Any = func.func if isinstance(func, functools.partial) else getattr(says(func), "__func__", says(func))
        if inner is func:
            break
        func = inner
    call = (
        getattr(func, "__init__", None)
        if isinstance(func, type)
        else inspect.getattr_static(type(func), "__call__", None)
    )
    return call if isinstance(call, FunctionType) else func


def _written(func: Callable[..., Any]) -> tuple[dict[str, object], bool]:
    """Return the annotations as they stand in the code, and whether all of them could be read."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        # This evaluates them, so it may raise anything.
        with suppress(Exception):
            return func.__annotations__, True
        for format in (Format.FORWARDREF, Format.STRING):
            with suppress(Exception):
                return get_annotations(func, format=format), False
        return {}, False
    return inspect.get_annotations(func) if isinstance(func, type) else getattr(func, "__annotations__", {}), True


def _author(func: Any, written: Mapping[str, object]) -> Any:
    """Return the function that `written` was written for: functools.wraps copies annotations, but not their scope."""
    for _ in range(_LAYERS):
        inner = getattr(func, "__wrapped__", None)
        if inner is None or list(_written(inner)[0].items()) != list(written.items()):
            break
        func = inner
    return func


class _Scope(ChainMap[str, object]):
    """The names that annotations of a function may mention; all others are `Unread`."""

    def __init__(self, func: Any) -> None:
        code, cells = getattr(func, "__code__", None), getattr(func, "__closure__", None) or ()
        own: dict[str, object] = dict(vars(func)) if isinstance(func, type) else {}
        own.update((each.__name__, each) for each in getattr(func, "__type_params__", ()))
        for name, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False):
            own.update((name, value) for value in cell_contents(cell))
        home = sys.modules.get(getattr(func, "__module__", ""), builtins)
        super().__init__(own, getattr(func, "__globals__", home.__dict__), builtins.__dict__)
        self.missed = False

    def __missing__(self, _: str) -> Unread:
        self.missed = True
        return Unread()


def _is_lazy(hint: object) -> bool:
    hint = bare(hint)
    return (get_origin(hint) or hint) in LAZY if _is_hashable(hint) else False


def _is_hashable(hint: object) -> bool:
    try:
        hash(hint)
    except TypeError:
        return False
    return True


def _keywords(func: Callable[..., Any]) -> str | None:
    bound = binding(func)
    return None if bound is None else bound.rest


def _evaluated(hint: object, scope: _Scope) -> object:
    for _ in range(_QUOTES):
        if not isinstance(hint, str | ForwardRef):
            break
        text = hint if isinstance(hint, str) else hint.__forward_arg__
        try:
            hint = eval(text, {}, scope)  # the author's own annotation, as typing.get_type_hints evaluates it
        except Exception:
            scope.missed = True
            return Unread()
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        inner = _evaluated(args[0], scope)
        return hint if inner is args[0] else Annotated[(inner, *args[1:])]
    if not isinstance(origin, type) or not issubclass(origin, Iterable):
        return hint
    parts = tuple([_evaluated(arg, scope) for arg in args])
    return hint if all(new is old for new, old in zip(parts, args, strict=True)) else GenericAlias(origin, parts)


def arity(hint: Any) -> int | None:
    """Return how many values a fixed tuple or a named tuple has; None if it may have any number."""
    hint = bare(hint)
    if is_named_tuple(hint):
        return len(vars(hint)["_fields"])
    if get_origin(hint) is not tuple:
        return None
    args = get_args(hint)
    return None if Ellipsis in args else len(args)


def is_named_tuple(hint: object) -> Any:
    return isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields")


def is_list(hint: object) -> bool:
    """Whether an annotation says `list`, with or without its elements."""
    hint = bare(hint)
    return (get_origin(hint) or hint) is list


def element_of(hint: object) -> object:
    """Return the type of what iterating a `hint` gives; None where the annotation does not say."""
    hint = bare(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        return args[0] if len(args) == 2 and args[1] is Ellipsis else None
    return args[0] if isinstance(origin, type) and issubclass(origin, Iterable) and args else None


def hint_at(hint: object, path: Iterable[tuple[str, str | int]]) -> object:
    """Return the type of what lies at `path` within a `hint`; None where the annotation does not say."""
    for step in path:
        hint = _part(bare(hint), step)
    return hint


def _part(hint: object, step: tuple[str, str | int]) -> object:
    kind, name = step
    if isinstance(hint, type) and kind == "property":
        return _all_fields(hint).get(str(name))
    if isinstance(hint, type) and hasattr(hint, "__total__"):
        return _all_fields(hint).get(str(name))
    if is_named_tuple(hint):
        return _item(list(_all_fields(hint).values()), name)
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple and Ellipsis not in args:
        return _item(args, name)
    if isinstance(origin, type) and issubclass(origin, Mapping) and len(args) == 2:
        return args[1]
    return element_of(hint)


def _item(items: Any, index: object) -> object:
    return items[index] if isinstance(index, int) and -len(items) <= index < len(items) else None


def _all_fields(cls: Any) -> dict[str, object]:
    hints: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        hints |= fields(base)
    return hints


def cell_contents(cell: CellType) -> list[Any]:
    """Return the value of a free variable as the only element of a list, which is empty before it has one."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


def is_named(func: Any) -> bool:
    """Return whether a function or class can be found under its name in its module, as pickle would do."""
    named: Any = sys.modules.get(getattr(func, "__module__", None) or "")
    for name in getattr(func, "__qualname__", "").split("."):
        if named is None:
            return False
        named = getattr(named, name, None)
    return named is func
