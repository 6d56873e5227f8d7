"""Results of tasks with `cache=` are kept for later calls, also of other runs. If that fails, the function is called.

The name of a result is made of all that it depends on: the function's code, the arguments or the key that stands for
them, and how its outputs are encoded. It is sealed for that name, so it cannot be moved to another one.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from dagcelery.engine.interrupts import quiet_logger
from dagcelery.engine.io import Parts, as_taken, extract
from dagcelery.engine.program import Program
from dagcelery.engine.run_view import RunView
from dagcelery.errors import InvalidParameters, SerializationError
from dagcelery.payload import addresses, functions, values
from dagcelery.payload.codecs import Codec
from dagcelery.payload.fingerprints import code_hash, fingerprint, fingerprint_captures
from dagcelery.payload.signing import Keyring
from dagcelery.planner.plan import Path, Step

log = quiet_logger(__name__)

_NONE: Final = object()

_WHOLE: Final[Path] = ()

_ABOUT: Final = {"action": "not_cached"}

Arguments = dict[str, Any]


class Memo:
    """How results of one step's task are named, and become bytes and values again."""

    def __init__(self, program: Program, step: Step) -> None:
        cache, spec = step.options["cache"], program.function_specs[step.target]
        self.task = f"{spec.module}:{spec.qualname}"
        self.ttl_seconds = float(cache["ttl"])
        self._most = int(cache["max_bytes"])
        self._key: str | Callable[..., Any] | None = cache.get("key")
        if "key_function" in cache:
            self._key = program.function(cache["key_function"])
        self._outputs = {output.path: output for output in step.outputs}
        numbers = {path: output.codec for path, output in self._outputs.items()}
        self._codecs: dict[Path, Codec] = {path: program.codec(number) for path, number in numbers.items()}
        kept = [[path, program.codec_specs[number]] for path, number in numbers.items()]
        function = program.function(step.target)
        captures = fingerprint_captures(function)
        if captures is None:
            problem = "captures something that cannot be pickled, so its results could be those of another function"
            raise SerializationError(f"task {self.task}", problem, "pass it as an argument")
        text = f"{code_hash(function)} {captures.hex()} {json.dumps(kept, default=_pickled)}"
        self._identity = hashlib.sha256(text.encode())

    def entry(self, arguments: Arguments) -> str | None:
        """Name the result of a call; None if its arguments have no fingerprint."""
        digest = self._identity.copy()
        if self._key is None:
            digested = fingerprint(arguments)
            if digested is None:
                log.warning(
                    "a result of %s is not kept: its arguments hold code, or an object that cannot be pickled",
                    self.task,
                    extra=_ABOUT,
                )
                return None
            digest.update(b"\0arguments\0" + digested)
        else:
            key = self._key if isinstance(self._key, str) else self._key(**arguments)
            if not isinstance(key, str):
                problem = f"is of type {type(key).__name__}"
                raise InvalidParameters(f"the cache key of {self.task}", problem, "return a string from the function")
            digest.update(b"\0key\0" + key.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:40]

    def result(self, returned: Any) -> Any:
        """Return a result as it can be written and kept: a generator can be read only once, so it becomes a list."""
        outputs, codecs = self._outputs.items(), self._codecs
        return _joined({path: as_taken(codecs[path], extract(returned, output)) for path, output in outputs})

    def seal(self, keyring: Keyring, entry: str, result: Any) -> bytes | None:
        """Return a result as sealed bytes, or None if it is larger than the task allows."""
        parts = result.by_path if type(result) is Parts else {_WHOLE: result}
        dumped = [codec.dump(parts[path], f"a result of {self.task}") for path, codec in self._codecs.items()]
        if sum(map(len, dumped)) > self._most:
            log.info("a result of %s is not kept: it is larger than max_bytes", self.task, extra=_ABOUT)
            return None
        body = b"".join(len(data).to_bytes(8, "big") + data for data in dumped)
        return values.seal_bytes(keyring, addresses.cached(self.task, entry), 0, body)

    def open(self, keyring: Keyring, entry: str, stored: bytes) -> Any:
        """Return a result from sealed bytes. Raises BadSignature, DeserializationError."""
        _, body = values.open_bytes(keyring, addresses.cached(self.task, entry), stored)
        parts: dict[Path, Any] = {}
        at = 0
        for path, codec in self._codecs.items():
            size = int.from_bytes(body[at : at + 8], "big")
            parts[path] = codec.load(body[at + 8 : at + 8 + size], f"a kept result of {self.task}")
            at += 8 + size
        return _joined(parts)


def memo_of(program: Program, body: int, step: int) -> Memo | None:
    """Return how results of a step are kept, or None if they are not."""
    place, cached = (body, step), program.step(body, step)
    if "cache" not in cached.options:
        return None
    if place not in program.memos:
        program.memos[place] = None
        with _Harmless(cached.name):
            program.memos[place] = Memo(program, cached)
    memo = program.memos[place]
    return memo if isinstance(memo, Memo) else None


class Recollection:
    """The part of the cache for the calls of one claim: read at once before them, and written at once after them."""

    def __init__(self, view: RunView, memo: Memo, calls: Iterable[Arguments]) -> None:
        self._view = view
        self.memo = memo
        self.calls = list(calls)
        self._entries = [self._entry(arguments) for arguments in self.calls]
        self._new: dict[str, bytes] = {}
        self._known = self._read()
        self._hits: list[bool] = []

    def result(self, at: int, call: Callable[[], Any]) -> Any:
        """Return the kept result of one of the calls; if there is none, make the call."""
        entry = self._entries[at]
        if isinstance(entry, Exception):
            raise entry
        kept = self._find(entry) if entry is not None else _NONE
        self._hits.append(kept is not _NONE)
        if kept is not _NONE:
            return kept
        returned = call()
        if entry is not None:
            self._add(entry, returned)
        return returned

    def is_kept(self, at: int) -> bool:
        """Return whether one of the calls need not be made: its result is kept, or has no name because of an error."""
        entry = self._entries[at]
        if entry is None or isinstance(entry, Exception):
            return entry is not None
        if self._find(entry) is _NONE:
            self._known.pop(entry, None)
            return False
        return True

    def skip(self, instead: Any) -> Any:
        """Leave out one of the calls, and return what stands in place of its result."""
        self._hits.append(False)
        return instead

    def hits(self, calls: int | None = None) -> int:
        """Count the kept results among the first `calls`, or among all."""
        return sum(self._hits[:calls])

    def keep(self) -> None:
        """Keep what is new for others."""
        if self._new:
            with _Harmless(self.memo.task):
                self._view.store.fleet.cache.set(self.memo.task, self._new, self.memo.ttl_seconds)

    def _entry(self, arguments: Arguments) -> str | Exception | None:
        """Name a result; an error of the user's function is raised for the piece that it hit."""
        try:
            return self.memo.entry(arguments)
        except Exception as error:
            return error

    def _read(self) -> dict[str, bytes]:
        names = list(dict.fromkeys(entry for entry in self._entries if isinstance(entry, str)))
        stored: Sequence[bytes | None] = ()
        with _Harmless(self.memo.task):
            stored = self._view.store.fleet.cache.get(self.memo.task, names) if names else ()
        return {name: data for name, data in zip(names, stored, strict=False) if data is not None}

    def _find(self, entry: str) -> Any:
        stored = self._new.get(entry) or self._known.get(entry)
        if stored is not None:
            with _Harmless(self.memo.task):
                return self.memo.open(self._view.keyring, entry, stored)
        return _NONE

    def _add(self, entry: str, result: Any) -> None:
        with _Harmless(self.memo.task):
            sealed = self.memo.seal(self._view.keyring, entry, result)
            if sealed is not None:
                self._new[entry] = sealed


class _Harmless:
    """Lets a block fail, and logs why: a result that cannot be kept or read is computed instead."""

    def __init__(self, task: str) -> None:
        self._task = task

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        log.warning("results of %s are neither read from the cache nor kept: %s", self._task, error, extra=_ABOUT)
        return True


def _pickled(serializer: Any) -> str | list[str]:
    if type(serializer) is tuple:  # classes, which a models codec finds by its functions
        return []
    return base64.b64encode(functions.pickled(serializer)).decode()


def _joined(parts: Mapping[Path, Any]) -> Any:
    return parts[_WHOLE] if parts.keys() == {_WHOLE} else Parts(parts)
