"""A verified plan made ready to run in this process; plans that pieces make during the run are linked into it."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dagcelery.engine.interrupts import is_leaving, quiet_logger
from dagcelery.errors import (
    CodeMismatch,
    DagceleryError,
    DeserializationError,
    FunctionNotFound,
)
from dagcelery.payload import codecs, functions, pickles
from dagcelery.payload.codecs import Codec
from dagcelery.payload.fingerprints import code_hash, same_code
from dagcelery.payload.signing import Keyring
from dagcelery.planner.plan import Body, FunctionSpec, Plan, Step, codec_key
from dagcelery.planner.topology import Follower, followers, topology
from dagcelery.store.records import CLOSE, HOOK, RANGE_ITEMS, START, Topology

log = quiet_logger(__name__)

DRIVERS = ("dagcelery.frontends.functional.dynamic", "dagcelery.frontends.workflow")
"""Modules whose functions may call dynamic tasks in a run that is not signed."""

_OWN_FUNCTIONS = frozenset({("dagcelery.skipped", "present"), ("dagcelery.hooks", "send_mail")})
"""Functions of this library that runs may call which are not signed, whatever modules they may name."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """What a plan's own numbers are in the program: `functions` and `codecs` by place, bodies from `body` on."""

    body: int
    functions: Sequence[int]
    codecs: Sequence[int]


def linked(body: Body, numbers: Numbering) -> Body:
    """Return a body with the program's numbers."""
    codecs = numbers.codecs
    return replace(
        body,
        params=tuple([replace(param, codec=codecs[param.codec]) for param in body.params]),
        steps=tuple([_step(step, numbers) for step in body.steps]),
        outputs=tuple([(name, expr, codecs[codec]) for name, expr, codec in body.outputs]),
    )


def _step(step: Step, numbers: Numbering) -> Step:
    target = step.target
    if step.kind == "task":
        target = numbers.functions[target]
    elif step.kind == "dag":
        target += numbers.body
    codecs = numbers.codecs
    outputs = [out if codecs[out.codec] == out.codec else replace(out, codec=codecs[out.codec]) for out in step.outputs]
    return replace(step, target=target, outputs=tuple(outputs), options=_options(step.options, numbers))


def _options(options: Mapping[str, Any], numbers: Numbering) -> Mapping[str, Any]:
    if "hooks" in options:
        options = {
            **options,
            "hooks": {event: [numbers.functions[at], given] for event, (at, given) in options["hooks"].items()},
        }
    if "dynamic" in options:
        dynamic = options["dynamic"]
        dynamic = dynamic | {"driver": numbers.functions[dynamic["driver"]], "codec": numbers.codecs[dynamic["codec"]]}
        options = {**options, "dynamic": dynamic}
    if "key_function" in options.get("cache", ()):
        cache = options["cache"]
        options = {**options, "cache": cache | {"key_function": numbers.functions[cache["key_function"]]}}
    return options


def topology_from(topology: Topology, body: int) -> Topology:
    """Return a plan's topology where its bodies are numbered from `body` on."""
    return [
        {step: replace(entry, body=entry.body + body) if entry.body >= 0 else entry for step, entry in steps.items()}
        for steps in topology
    ]


def identity(spec: FunctionSpec) -> tuple[object, ...]:
    """Return the identity of a function: those that travel by value are the same if their bytes are."""
    if spec.module:
        return "function", spec.module, spec.qualname, spec.hash
    return "function", spec.qualname, spec.hash, spec.blob or id(spec.live)


def _codec(spec: Mapping[str, Any], keyring: Keyring, imports: Collection[str] | None) -> Codec | DeserializationError:
    """Return a plan's codec; the error of one that cannot be had here is raised to the nodes that need it."""
    try:
        return codecs.from_spec(spec, keyring, imports)
    except DeserializationError as error:
        return error


def _driven(driver: Callable[..., Any], function: Callable[..., Any], /, **arguments: Any) -> Any:
    return driver(function, arguments)


class Program:
    """A plan with its codecs and functions, and the plans that were made while it runs. Bodies, functions and codecs
    of all of them have one numbering. Functions are looked up when they are first called.
    """

    def __init__(self, plan: Plan, keyring: Keyring, imports: Collection[str] | None, mismatch: str = "ignore") -> None:
        self.plan = plan
        self.frees = plan.options.get("keep") == "outputs"
        self.memos: dict[tuple[int, int], object] = {}
        """What the cache makes once for each step, since fingerprints of functions take time."""
        self._keyring = keyring
        self._imports = imports
        self._mismatch = mismatch
        self.function_specs = list(plan.functions)
        self.codec_specs = list(plan.codecs)
        self._codecs = [_codec(spec, keyring, imports) for spec in plan.codecs]
        self._note_codecs()
        self._bodies = dict(enumerate(plan.bodies))
        self._homes = {number: (plan, number) for number in self._bodies}
        self._functions: dict[int, Callable[..., Any]] = {}
        self._numbers: dict[object, int] = {}
        self._options: set[str] = set()
        self._note_options(plan)

    def _note_codecs(self) -> None:
        self._lacks_codecs = any(isinstance(codec, DeserializationError) for codec in self._codecs)

    def _note_options(self, plan: Plan) -> None:
        """Note which options are in use at all, so that steps need not be asked for an option that none of them has."""
        self._options = self._options | {
            option for body in plan.bodies for step in body.steps for option in step.options
        }
        self.may_skip, self.may_retry = "min_success" in self._options, "retry" in self._options
        self.has_hooks, self.may_grow = "hooks" in self._options, "dynamic" in self._options
        self._is_limited, self.caches = "max_concurrent" in self._options, "cache" in self._options

    def own_copy(self) -> Program:
        """Return the same program, free to grow: the one that was planned may be used for several runs."""
        program = copy.copy(self)
        for name in ("function_specs", "codec_specs", "_codecs", "_bodies", "_homes", "_functions", "memos"):
            setattr(program, name, copy.copy(getattr(self, name)))
        program._numbers = {identity(spec): number for number, spec in enumerate(self.function_specs)}
        program._numbers |= {("codec", codec_key(spec)): number for number, spec in enumerate(self.codec_specs)}
        return program

    def link(self, first: int, plan: Plan) -> None:
        """Take in a plan that was made while this one runs; its bodies are numbered from `first` on.

        Its bodies are known once all else is: other threads ask for them meanwhile.
        """
        numbers = Numbering(
            first, [*map(self._function_number, plan.functions)], [*map(self._codec_number, plan.codecs)]
        )
        self._note_codecs()
        bodies = {first + at: linked(body, numbers) for at, body in enumerate(plan.bodies)}
        self._homes.update({first + at: (plan, at) for at in range(len(plan.bodies))})
        self._note_options(plan)
        self._bodies.update(bodies)

    def _function_number(self, spec: FunctionSpec) -> int:
        number = self._numbers.setdefault(identity(spec), len(self.function_specs))
        if number == len(self.function_specs):
            self.function_specs.append(spec)
        return number

    def _codec_number(self, spec: Mapping[str, Any]) -> int:
        number = self._numbers.setdefault(("codec", codec_key(spec)), len(self.codec_specs))
        if number == len(self.codec_specs):
            self.codec_specs.append(spec)
            self._codecs.append(_codec(spec, self._keyring, self._imports))
        return number

    def knows(self, body: int) -> bool:
        """Return whether a body is at hand: those of plans made elsewhere have to be read first."""
        return body in self._bodies

    def home(self, body: int) -> tuple[Plan, int] | None:
        """Return the plan that a body belongs to, and its number there; None if it is not at hand."""
        return self._homes.get(body)

    @property
    def run_quota(self) -> tuple[str, int] | None:
        """The limit of active runs of this DAG, if it has one: its name, and how many there may be."""
        most = self.plan.options.get("max_active_runs")
        return None if most is None else (f"runs of {self.plan.name}", int(most))

    def quota(self, body: int, step: int) -> tuple[str, int] | None:
        """Return the limit of running pieces of a step's task, if it has one: its name, and how many there may be."""
        if step < 0 or not self._is_limited:
            return None
        task = self.step(body, step)
        most = task.options.get("max_concurrent")
        if most is None:
            return None
        spec = self.function_specs[task.target]
        return f"pieces of {spec.module}:{spec.qualname}", int(most)

    def codec(self, number: int) -> Codec:
        """Return a codec of the plan. Raises DeserializationError where it cannot be had."""
        codec = self._codecs[number]
        if isinstance(codec, DeserializationError):
            raise codec
        return codec

    def body(self, number: int) -> Body:
        """Return the steps of one scope."""
        return self._bodies[number]

    def step(self, body: int, step: int) -> Step:
        """Return one step of one body."""
        return self._bodies[body].steps[step]

    def function(self, target: int) -> Callable[..., Any]:
        """Return the function that a task step calls; FunctionNotFound or FunctionNotAllowed where it cannot be had."""
        function = self._functions.get(target)
        if function is None:
            spec = self.function_specs[target]
            function = self._loaded(spec)
            self._compare(spec, function)
            self._functions[target] = function
        return function

    def _loaded(self, spec: FunctionSpec) -> Callable[..., Any]:
        try:
            imports = (spec.module,) if (spec.module, spec.qualname) in _OWN_FUNCTIONS else self._imports
            return functions.load(spec, imports=imports, keyring=self._keyring)
        except DagceleryError:
            raise
        except BaseException as error:  # of a module's body: an interrupt that no signal raised, say
            if is_leaving(error):
                raise
            reason = f"importing {spec.module} raised {type(error).__name__}: {error}"
            raise FunctionNotFound(spec.module, spec.qualname, reason) from error

    def lacks(self, error: BaseException) -> bool:
        """Return whether an error is that of a codec which cannot be had in this process."""
        return self._lacks_codecs and any(error is codec for codec in self._codecs)

    def check_codecs(self, step: Step) -> None:
        """Raise DeserializationError, before its function is called, if a codec of a step's outputs is missing here."""
        if self._lacks_codecs:
            for output in step.outputs:
                self.codec(output.codec)

    def callee(self, step: Step) -> Callable[..., Any]:
        """Return what a task step calls: its function, or the driver that lets this function return a graph."""
        function = self.function(step.target)
        if not self.may_grow or "dynamic" not in step.options:
            return function
        number = step.options["dynamic"]["driver"]
        driver = self._functions.get(number)
        if driver is None:
            spec = self.function_specs[number]
            # Ways to write DAGs are part of this library: a process that may call their tasks may import them.
            imports = self._imports
            if imports is not None and spec.module in DRIVERS:
                imports = (spec.module,)
            driver = self._functions[number] = functions.load(spec, imports=imports, keyring=self._keyring)
        return partial(_driven, driver, function)

    def _compare(self, spec: FunctionSpec, function: Callable[..., Any]) -> None:
        """Warn, or refuse, if this process has other code than the run was planned with; see `code_mismatch`."""
        if self._mismatch == "ignore" or same_code(spec.hash, hash_here := code_hash(function)):
            return
        is_refused = self._mismatch == "error"
        wish = '"warn" lets it be called' if is_refused else '"error" refuses it'
        remedy = f"DAGCELERY_CODE_MISMATCH={wish}"
        mismatch = CodeMismatch(f"{spec.module}:{spec.qualname}", spec.hash, hash_here, remedy)
        if is_refused:
            raise mismatch
        log.warning("%s", mismatch, extra={"action": "code_mismatch", "function": spec.qualname})

    def hook(self, options: Mapping[str, Any], event: str) -> Callable[..., Any] | None:
        """Return the function to call at an event, or None."""
        named = options.get("hooks", {}).get(event)
        if named is None:
            return None
        number, given = named
        return partial(self.function(number), **given) if given else self.function(number)

    def literal(self, text: str) -> Any:
        """Return a literal that was pickled into the plan, loaded anew at each call."""
        self._keyring.require_key("a literal that JSON would change")
        return pickles.loads(base64.b64decode(text))

    def clock_key(self, body: int, step: int) -> str:
        """Return the name that durations are kept under: of the function, or of a step without one."""
        if step < 0:
            return {START: "start", HOOK: "hook"}.get(step) or f"close {self._place(body)}"
        named = self.step(body, step)
        if named.kind != "task":
            return f"{named.kind} {self._place(body)}.{step}"
        return self.function_specs[named.target].short_name

    def called(self, body: int, step: int) -> str:
        """Return the name, in the topology, of the function that a step calls once; "" for any other step."""
        plan, number = self._homes[body]
        return topology(plan)[number][step].function if step >= 0 else ""

    def is_alone(self, body: int, step: int) -> bool:
        """Return whether a step is never claimed in a batch."""
        plan, number = self._homes[body]
        return topology(plan)[number][step].is_alone

    def followers(self, body: int, step: int) -> Sequence[Follower]:
        """Return the steps that may be executed right behind this one, if others that they need are as well."""
        return followers(*self._homes[body], step) if step >= 0 else ()

    def _place(self, body: int) -> str:
        # Plans that are made by the thousand, by the same function, take as long as each other.
        plan, number = self._homes[body]
        return str(number) if plan is self.plan else f"{plan.name} {number}"

    def most_items(self, body: int, step: int) -> int:
        """Return how many items one claim may take, so that committing them stays one small script."""
        mapped = self.step(body, step)
        if "dynamic" in mapped.options:
            return 1  # each of them may become a scope
        if mapped.kind != "dag":
            return RANGE_ITEMS
        plan, number = self._homes[mapped.target]
        child = topology(plan)[number]
        return max(1, 200 // (2 + len(child[START].successors) + len(self.body(mapped.target).params)))

    def is_branch(self, body: int, step: int) -> bool:
        """Return whether a step runs its DAG once or not at all, so that its item has no number to be shown."""
        return step >= 0 and "branch" in self.step(body, step).options

    def is_grown(self, body: int) -> bool:
        """Return whether a body belongs to a plan that a piece made; its nodes are named after calls, and numbered."""
        return self._homes[body][0] is not self.plan

    def node_name(self, body: int, step: int) -> str:
        """Return the node's name in its own scope."""
        if step < 0:
            return {START: "(start)", CLOSE: "(close)", HOOK: "(hook)"}[step]
        return self.step(body, step).name
