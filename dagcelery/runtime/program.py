"""A plan that was verified and made ready to run in this process: codecs built, functions found once."""

from __future__ import annotations

import base64
import logging
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagcelery.errors import CodeMismatch, DeserializationError, FunctionNotFound
from dagcelery.payload import codecs, functions
from dagcelery.payload.code import code_hash, same_code
from dagcelery.payload.codecs import Codec
from dagcelery.payload.signing import Keyring
from dagcelery.planner.plan import Body, FunctionSpec, Plan, Step
from dagcelery.planner.topology import topology
from dagcelery.store.base import CLOSE, HOOK, RANGE_ITEMS, START

if TYPE_CHECKING:
    from dagcelery.runtime.caching import Memo

log = logging.getLogger(__name__)


def _codec(spec: Mapping[str, Any], keyring: Keyring) -> Codec | DeserializationError:
    """A plan's codec; the error of one that cannot be had here is raised to the nodes that need it."""
    try:
        return codecs.from_spec(spec, keyring)
    except DeserializationError as error:
        return error


class Program:
    """A plan with its codecs and functions. Functions are looked up when they are first called."""

    def __init__(self, plan: Plan, keyring: Keyring, imports: Sequence[str] | None, mismatch: str = "ignore") -> None:
        self.plan = plan
        self._codecs = [_codec(spec, keyring) for spec in plan.codecs]
        options = {option for body in plan.bodies for step in body.steps for option in step.options}
        self.may_skip, self.may_retry, self.has_hooks = (name in options for name in ("min_success", "retry", "hooks"))
        self.frees = plan.options.get("keep") == "outputs"
        self.caches = "cache" in options
        self.memos: dict[tuple[int, int], Memo | None] = {}
        self._is_limited = "max_concurrent" in options
        self._keyring = keyring
        self._imports = imports
        self._mismatch = mismatch
        self._functions: dict[int, Callable[..., Any]] = {}

    @property
    def run_quota(self) -> tuple[str, int] | None:
        """The limit of active runs of this DAG, if it has one: its name, and how many there may be."""
        most = self.plan.options.get("max_active_runs")
        return None if most is None else (f"runs of {self.plan.name}", int(most))

    def quota(self, body: int, step: int) -> tuple[str, int] | None:
        """The limit of pieces of a step's task that may run, if it has one: its name, and how many there may be."""
        if step < 0 or not self._is_limited:
            return None
        found = self.step(body, step)
        most = found.options.get("max_concurrent")
        if most is None:
            return None
        spec = self.plan.functions[found.target]
        return f"pieces of {spec.module}:{spec.qualname}", int(most)

    def codec(self, number: int) -> Codec:
        """A codec of the plan. Raises DeserializationError where it cannot be had."""
        found = self._codecs[number]
        if isinstance(found, DeserializationError):
            raise found
        return found

    def body(self, number: int) -> Body:
        """The steps of one scope."""
        return self.plan.bodies[number]

    def step(self, body: int, step: int) -> Step:
        """One step of one body."""
        return self.plan.bodies[body].steps[step]

    def function(self, target: int) -> Callable[..., Any]:
        """The function that a task step calls; FunctionNotFound or FunctionNotAllowed where it cannot be had."""
        found = self._functions.get(target)
        if found is None:
            spec = self.plan.functions[target]
            found = functions.load(spec, imports=self._imports, keyring=self._keyring)
            self._compare(spec, found)
            self._functions[target] = found
        return found

    def is_missing(self, step: Step, error: BaseException) -> bool:
        """Whether an error says that this process does not have the function of a task step."""
        if not isinstance(error, FunctionNotFound) or step.kind != "task":
            return False
        spec = self.plan.functions[step.target]
        return (error.module, error.qualname) == (spec.module, spec.qualname)

    def _compare(self, spec: FunctionSpec, found: Callable[..., Any]) -> None:
        """Say it, or refuse, if this process has other code than the run was planned with; see `code_mismatch`."""
        hash_here = code_hash(found)
        if self._mismatch == "ignore" or same_code(spec.hash, hash_here):
            return
        mismatch = CodeMismatch(f"{spec.module}:{spec.qualname}", spec.hash, hash_here)
        if self._mismatch == "error":
            raise mismatch
        log.warning("%s", mismatch, extra={"action": "code_mismatch", "function": spec.qualname})

    def hook(self, options: Mapping[str, Any], event: str) -> Callable[..., Any] | None:
        """What is to be called at an event, or None."""
        number = options.get("hooks", {}).get(event)
        return None if number is None else self.function(number)

    def literal(self, text: str) -> Any:
        """A literal that was pickled into the plan, loaded anew at each call."""
        self._keyring.require_key("a literal that JSON would change")
        return pickle.loads(base64.b64decode(text))

    def clock_key(self, body: int, step: int) -> str:
        """What durations are kept by: the function, or the step where there is none."""
        if step < 0:
            return {START: "start", HOOK: "hook"}.get(step, f"close {body}")
        found = self.step(body, step)
        if found.kind != "task":
            return f"{found.kind} {body}.{step}"
        spec = self.plan.functions[found.target]
        return f"{spec.module}:{spec.qualname}:{spec.hash}"

    def most_items(self, body: int, step: int) -> int:
        """How many items one claim may take, so that committing them stays one small script."""
        found = self.step(body, step)
        if found.kind != "dag":
            return RANGE_ITEMS
        child = topology(self.plan)[found.target]
        return max(1, 200 // (2 + len(child["start"]["s"]) + len(self.body(found.target).params)))

    def node_name(self, body: int, step: int) -> str:
        """The node's name in its own scope."""
        if step < 0:
            return {START: "(start)", CLOSE: "(close)", HOOK: "(hook)"}[step]
        return self.step(body, step).name
