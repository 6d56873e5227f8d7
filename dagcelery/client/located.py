"""Runs whose inputs and outputs are files: of a whole DAG, of one node of it, or of what stands between its nodes.

An orchestrator starts a process for each node, and moves files between them. What a worker does beside calling
functions needs such processes, too: one decides a condition, takes a list apart, or makes the inputs or outputs of a
nested DAG of several values (`Make`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from dagcelery.client.files import PendingOutputs, check_free, path_of, read
from dagcelery.client.lifecycle import Submittable, dag_of, split_static
from dagcelery.client.local_runs import LocalRun, Location, stored
from dagcelery.client.standalone import (
    EnclosingDag,
    alone,
    found_at,
    is_branch,
    is_made,
    is_partitioned,
    known,
    label,
    made,
)
from dagcelery.engine.pieces import Piece, executing_for
from dagcelery.errors import DagceleryError, InvalidLocation, InvalidParameters, NodeFailed
from dagcelery.model import (
    DAG,
    EMPTY,
    DagOptions,
    Each,
    FromNodeOutput,
    FromParam,
    Node,
    Retry,
    Source,
    Task,
    fan_source,
)
from dagcelery.model import Literal as LiteralSource
from dagcelery.model.graph import roots
from dagcelery.model.options import alone as without_items
from dagcelery.model.options import static as after
from dagcelery.model.sources import Readable, named
from dagcelery.payload.codecs import AsJSON, AsPickle, Codec, JsonCodec, PickleCodec
from dagcelery.planner.compile import as_dag, default_of
from dagcelery.settings import Settings
from dagcelery.skipped import Skipped
from dagcelery.text import choices, shown
from dagcelery.tracebacks import shortened

Make = Literal["parameters", "inputs", "outputs", "condition", "items"]
"""What is made in the place of running a node: values of its inputs or outputs, whether its condition holds, the list
that it goes through, by element; of a whole DAG its parameters, from JSON to what their serializers write."""

CONDITION: Final = "condition"

ITEMS: Final = "items"


TO_BE_RETRIED: Final = 75
"""The exit code of a process whose call is to be repeated: EX_TEMPFAIL of sysexits.h."""


class ToBeRetried(DagceleryError):
    """A call failed, and the retry policy of its task has another one follow; whoever called is to do that."""


@shortened
def invoke_with_locations(
    node: Submittable,
    params: Mapping[str, object] | None = None,
    *,
    node_name: str = "",
    inputs: Mapping[str, Location] | None = None,
    outputs: Mapping[str, Location] | None = None,
    values: Mapping[str, Location] | None = None,
    items: Mapping[str, Location] | None = None,
    make: Make | None = None,
    retries: int | None = None,
    skip: bool = False,
    run_id: str = "",
    address: str = "",
) -> Any:
    """Run a DAG, or the node of it that ``a.b`` names, in this process, with inputs that are read from files.

    With `outputs`, which must name all there are, these are written to files, all or none of them, and a mapping like
    that of StoreSerializedOutputsInPath is returned; without, the value is. An input that is a folder is a list.

    Inputs of one node may also be made of what their sources read: `values` are outputs of other nodes, ``load.rows``,
    and parameters of the DAG around, `items` the elements of such lists that belong to this item. `make` writes
    something else in the place of running the node. With `retries`, the number of calls that have failed before, it is
    called once. With `skip` a failure that stands is written as an item that was left out. `run_id` and `address` are
    what `current()` tells of the piece, which belongs to a run that is conducted elsewhere.

    Raises InvalidParameters for unknown and missing names, InvalidLocation for what cannot be read or written,
    DeserializationError, ToBeRetried, and what `invoke` raises.
    """
    node, params, _ = split_static(node, {} if params is None else params)
    _check_node_name(node_name)
    targets = None if outputs is None else _paths(outputs, "output")
    given = Given(_paths(inputs or {}, "input"), _paths(values or {}, "value"), _paths(items or {}, "item"))
    top = dag_of(node)
    if node_name and isinstance(top, Task) and node_name in (around := as_dag(top)).nodes:
        top = around
    found, place = found_at(top, node_name) if node_name else (top, None)
    culprit = f"node '{node_name}'" if node_name else f"'{getattr(top, 'name', None) or 'the task'}'"
    if make == "parameters":
        return _make_parameters(alone(found, None), given, targets or {}, culprit)
    if make is not None:
        return _make(make, found, place, given, targets or {}, culprit)
    if isinstance(found, Task) and place is not None:
        name = node_name.rpartition(".")[2]
        piece = Piece(run_id, address or node_name.replace(".", "/"), _index(address), (retries or 0) + 1)
        with executing_for(piece) if run_id else nullcontext():
            return OneTask(found, place, name, culprit, piece).run(params, given, targets, retries=retries, skip=skip)
    if given.values or given.items or retries is not None or skip or run_id:
        raise InvalidParameters(culprit, *_NOT_A_TASK)
    return _run(alone(found, place), found, place, params, given, targets, culprit)


@dataclass(frozen=True)
class Given:
    """Where the files are of inputs, and of the values and elements that inputs are made of."""

    inputs: Mapping[str, Path]
    values: Mapping[str, Path]
    items: Mapping[str, Path]
    used: set[str] = field(default_factory=set)

    def check_used(self, culprit: str) -> None:
        """Raise InvalidParameters for a value that nothing is made of."""
        for name in (*self.values, *self.items):
            if name not in self.used:
                raise InvalidParameters(f"value '{name}' for {culprit}", "is not read", choices(name, self.used))

    def reader(self, place: EnclosingDag, culprit: str) -> Any:
        """Return what reads the values in a DAG; one that is in no file may be said by the DAG itself."""

        def value(source: Readable, is_item: bool) -> Any:
            files, name = self.items if is_item else self.values, label(source)
            self.used.add(name)
            if name in files:
                return read_file(source, place, files[name], f"value '{name}'")
            default = known(source, place) if isinstance(source, FromParam) and not is_item else EMPTY
            if default is not EMPTY:
                return default
            option = "item" if is_item else "from"
            remedy = f"name the file that has it: --{option} {name}=FILE"
            raise InvalidParameters(f"value '{name}' for {culprit}", "is needed and missing", remedy)

        return value


def read_file(source: Source, place: EnclosingDag, location: Path, culprit: str) -> Any:
    """Return a value of a DAG from the file, or the folder, that the node which makes it has written.

    An orchestrator finds nothing where a branch was not taken, or a list has no elements.
    """
    if isinstance(source, FromNodeOutput) and _is_absent(location):
        if is_branch(source, place.dag):
            return None
        if fan_source(place.dag.nodes[source.node]) is not None:
            return []
    return read(codec_of_file(source, place), location, culprit)


def _is_absent(location: Path) -> bool:
    # Kubernetes makes an empty folder where it mounts a file that is not there.
    return not location.exists() or (location.is_dir() and not any(location.iterdir()))


# -- codecs ---------------------------------------------------------------------------------------
def codec_of_file(source: Source, place: EnclosingDag, name: str = "") -> Codec:
    """Return the codec of the file of a value: that of the task which makes it, however far away that is."""
    match source:
        case Each():
            return codec_of_file(source.source, place, name)
        case FromNodeOutput():
            node = place.dag.nodes[source.node]
            if isinstance(node, Task):
                return LocalRun(alone(node, place), Settings.from_environment()).codec_of_output(source.output)
            return codec_of_value(node.outputs[source.output], EnclosingDag(node, place), source.output)
        case FromParam():
            name = source.name or name
            declared = place.dag.inputs.get(name)
            if declared is not None and place.around is not None:
                return codec_of_value(declared, place.around, name)
            return LocalRun(place.dag, Settings.from_environment()).codec_of_param(name)
        case _:
            return PickleCodec(AsPickle())


def codec_of_value(source: Source, place: EnclosingDag, name: str) -> Codec:
    """Return the codec in which the value of an input or output is written; what is made of others is pickled."""
    return PickleCodec(AsPickle()) if is_made(source, place.dag) else codec_of_file(source, place, name)


# -- one task -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class OneTask:
    """A task in its DAG, called in this process alone."""

    task: Task
    place: EnclosingDag
    name: str
    culprit: str
    piece: Piece

    def run(
        self,
        params: Mapping[str, object],
        given: Given,
        targets: Mapping[str, Path] | None,
        *,
        retries: int | None,
        skip: bool,
    ) -> Any:
        """Call it, and write its outputs, or return its value."""
        values = self._arguments(params, given)
        dag = self._dag(values, retries)
        if targets is not None:
            _check_outputs(dag, self.culprit, targets)
        skipped = next((value for value in values.values() if type(value) is Skipped), None)
        if skipped is not None and targets is not None:
            return _write_skipped(targets, skipped)
        local_run = LocalRun(dag, Settings.from_environment(), is_patient=retries is None)
        try:
            local_run.run({})
            if not local_run.is_over:
                error = local_run.errors()[-1]
                raise ToBeRetried(self.culprit, f"failed with {error.type_name}: {error.message}", "call it again")
            return local_run.result() if targets is None else stored(local_run, dag, targets)
        except NodeFailed as error:
            if not skip or targets is None:
                raise
            return _write_skipped(targets, Skipped(self.piece.address, error.type_name, error.message))

    def _arguments(self, params: Mapping[str, object], given: Given) -> dict[str, Any]:
        inputs = self.task.inputs
        sources = {name: named_source(source, name) for name, source in inputs.items()}
        _check_given(given.inputs, params, self.culprit)
        open_names = [name for name in inputs if name not in params and name not in given.inputs]
        missing = [name for name in open_names if self._lacks(sources[name], given)]
        _check_names("input", self.culprit, [*given.inputs, *params], inputs, missing)
        reader = given.reader(self.place, self.culprit)
        values: dict[str, Any] = {}
        for name, source in sources.items():
            if name in params:
                values[name] = params[name]
            elif name in given.inputs:
                values[name] = read_file(source, self.place, given.inputs[name], f"input '{name}'")
            else:
                values[name] = made(source, reader, name)
        given.check_used(self.culprit)
        return values

    def _lacks(self, source: Source, given: Given) -> bool:
        """Whether an input that is one value of the DAG is neither in a file nor said by the DAG."""
        if isinstance(source, Each):
            return label(named(source.source, "")) not in given.items
        if isinstance(source, FromNodeOutput | FromParam) and label(source) not in given.values:
            return isinstance(source, FromNodeOutput) or known(source, self.place) is EMPTY
        return False

    def _dag(self, values: Mapping[str, Any], retries: int | None) -> DAG:
        options = without_items(self.task.options)
        if retries is not None and options.retry is not None:
            # The engine decides whether another attempt follows; it waits for longer than this process lives.
            left = max(1, options.retry.max_attempts - retries)
            retry = Retry(left, after(3600), options.retry.on, options.retry.give_up_on)
            options = replace(options, retry=retry)
        inside = alone(self.task, self.place)
        (task,) = inside.nodes.values()
        literals = {name: LiteralSource(value) for name, value in values.items()}
        node = Task(self.task.func, literals, getattr(task, "outputs", {}), options=options)
        returned = {name: FromNodeOutput(self.name, name) for name in node.outputs}
        return DAG({self.name: node}, {}, returned, name=inside.name, options=DagOptions(self.place.serializer))


def _index(address: str) -> int | None:
    """Return the number of the item that an address ends in."""
    found = re.search(r"\[(\d+)\]$", address)
    return int(found[1]) if found else None


def named_source(source: Source, name: str) -> Source:
    """Return the source of an input with the name that a nameless parameter takes from it."""
    return named(source, name) if isinstance(source, FromParam | FromNodeOutput) else source


def _write_skipped(targets: Mapping[str, Path], skipped: Skipped) -> None:
    with PendingOutputs() as pending:
        for name, target in targets.items():
            pending.file(PickleCodec(AsPickle()), target, skipped, f"output '{name}'")
        pending.commit()


# -- what stands between nodes --------------------------------------------------------------------
def _make(
    make: Make, node: Node, place: EnclosingDag | None, given: Given, targets: Mapping[str, Path], culprit: str
) -> None:
    """Write what is to be made of a node."""
    if make not in get_args(Make):
        raise InvalidParameters(f"make={shown(make)}", "is unknown", choices(make, get_args(Make)))
    sources, inside = _sources(make, node, place, culprit)
    _check_names("output", culprit, targets, sources, [])
    _check_places(targets)
    reader = given.reader(inside, culprit)
    with PendingOutputs() as pending:
        for name, target in targets.items():
            source, what = sources[name], f"output '{name}'"
            value = made(source, reader, name)
            if make == CONDITION:
                pending.text(target, "true" if value else "false", what)
            elif make == ITEMS or is_partitioned(source, inside.dag):
                codec = _codec(make, node, place, source, inside, name)
                pending.folder(codec, target, value, what)
            else:
                pending.file(_codec(make, node, place, source, inside, name), target, value, what)
        pending.commit()


def _make_parameters(dag: DAG, given: Given, targets: Mapping[str, Path], culprit: str) -> None:
    """Write parameters that come as JSON, or else have defaults, as their serializers do."""
    local_run = LocalRun(dag, Settings.from_environment())
    _check_names("output", culprit, targets, dag.inputs, [])
    with PendingOutputs() as pending:
        for name, target in targets.items():
            value = default_of(dag.inputs[name])
            if name in given.values:
                value = read(JsonCodec(AsJSON()), given.values[name], f"value '{name}'")
            if value is EMPTY:
                raise InvalidParameters(f"parameter '{name}' of {culprit}", "is missing", f"give --from {name}=FILE")
            pending.file(local_run.codec_of_param(name), target, value, f"output '{name}'")
        pending.commit()


def _sources(
    make: Make, node: Node, place: EnclosingDag | None, culprit: str
) -> tuple[Mapping[str, Source], EnclosingDag]:
    """Return what is made, by name, and the DAG whose values it is made of."""
    if make == "outputs" and isinstance(node, DAG):
        return node.outputs, EnclosingDag(node, place)
    if place is not None and make == "inputs" and isinstance(node, DAG):
        return node.inputs, place
    if place is not None and make == "condition" and isinstance(node, DAG) and node.only_if is not None:
        return {CONDITION: node.inputs[node.only_if[0]]}, place
    if place is not None and make == "items" and fan_source(node) is not None:
        (name,) = [name for name, each in place.dag.nodes.items() if each is node]
        maker, output = roots(place.dag)[name]
        return {ITEMS: FromNodeOutput(maker, output) if maker else FromParam(output)}, place
    raise InvalidParameters(culprit, f"has no {make} to be made", "name another node, or run it")


def _codec(
    make: Make, node: Node, place: EnclosingDag | None, source: Source, inside: EnclosingDag, name: str
) -> Codec:
    if make == "outputs" and place is None and isinstance(node, DAG):
        return LocalRun(node, Settings.from_environment()).codec_of_output(name)
    if make == ITEMS:
        return codec_of_file(source, inside)
    return codec_of_value(source, inside, name)


# -- a DAG ----------------------------------------------------------------------------------------
def _run(
    dag: DAG,
    node: Node,
    place: EnclosingDag | None,
    params: Mapping[str, object],
    given: Given,
    targets: Mapping[str, Path] | None,
    culprit: str,
) -> Any:
    local_run = LocalRun(dag, Settings.from_environment())
    _check_given(given.inputs, params, culprit)
    required = {param.name: param.required for param in local_run.plan.bodies[0].params}
    missing = [name for name in required if required[name] and name not in given.inputs and name not in params]
    _check_names("input", culprit, given.inputs, required, missing)
    if targets is not None:
        _check_outputs(dag, culprit, targets)
    read_values = {
        name: read(
            local_run.codec_of_param(name) if place is None else codec_of_value(node.inputs[name], place, name),
            location,
            f"input '{name}'",
        )
        for name, location in given.inputs.items()
    }
    if targets is None:
        local_run.run({**params, **read_values})
        return local_run.result()
    local_run.run({**params, **read_values})
    return stored(local_run, dag, targets)


# -- checks ---------------------------------------------------------------------------------------
_NOT_A_TASK: Final = (
    "is not one task of a DAG, and has no values, items, retries or piece",
    "name a task in it with --node-name, or give inputs only",
)


def _check_node_name(node_name: object) -> None:
    if not isinstance(node_name, str):
        remedy = 'give names with dots between, such as "a.b"'
        raise InvalidParameters(f"node_name={shown(node_name)}", "is not a str", remedy)


def _paths(locations: object, kind: str) -> dict[str, Path]:
    """Return the locations of inputs or outputs by name."""
    if not isinstance(locations, Mapping):
        remedy = "give a mapping of names to paths, such as {'x': 'x.json'}"
        raise InvalidParameters(f"{kind}s={shown(locations)}", f"does not say where each {kind} is", remedy)
    return {name: path_of(location, f"{kind} '{name}'") for name, location in locations.items()}


def _check_names(kind: str, culprit: str, names: Iterable[str], expected: Iterable[str], missing: list[str]) -> None:
    """Raise InvalidParameters for names that do not exist, and for those that are `missing`."""
    for name in names:
        if name not in expected:
            problem, remedy = "does not exist", choices(name, expected)
            raise InvalidParameters(f"{kind} '{name}' of {culprit}", problem, remedy)
    if missing:
        problem = f"missing {missing}; expected {list(expected)}, got {sorted(names)}"
        remedy = f"name a file for each that has no default: --{kind} NAME=FILE"
        raise InvalidParameters(f"{kind}s of {culprit}", problem, remedy)


def _check_given(sources: Mapping[str, Path], params: Mapping[str, object], culprit: str) -> None:
    for name in sources:
        if name in params:
            problem = "is given twice, as a value and as a file"
            raise InvalidParameters(f"input '{name}' of {culprit}", problem, "give one")


def _check_outputs(dag: DAG, culprit: str, targets: Mapping[str, Path]) -> None:
    _check_names("output", culprit, targets, dag.outputs, [name for name in dag.outputs if name not in targets])
    _check_places(targets)


def _check_places(targets: Mapping[str, Path]) -> None:
    taken: dict[str, str] = {}
    for name, target in targets.items():
        check_free(target, f"output '{name}'")
        other = taken.setdefault(os.path.realpath(target), name)
        if other != name:
            problem = f"output '{other}' goes there too"
            raise InvalidLocation(f"output '{name}': {target}", problem, "name another location")
