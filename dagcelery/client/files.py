"""Values as serialized files: a value is one file, a list made by element is a folder with a file for each element.

Such a folder also has ``partitions.json``, the list of its files' names in order. A folder without it is read in the
order of its files' names, which are numbers then.

`invoke` runs a DAG in this process, with values or with such files. One node of a DAG, however deep it is nested, is
run as a DAG of its own: its inputs are the parameters.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from dagcelery.client.lifecycle import Submittable, dag_of, split_static
from dagcelery.client.local_runs import LocalRun
from dagcelery.errors import InvalidLocation, InvalidParameters, SerializationError
from dagcelery.model import (
    DAG,
    DagOptions,
    Each,
    FromNodeOutput,
    FromParam,
    Literal,
    Node,
    Serializer,
    Source,
    Task,
    fan_source,
)
from dagcelery.model.sources import reads
from dagcelery.payload.codecs import AsJSON, AsPickle, Codec
from dagcelery.planner.compile import as_dag, default_of
from dagcelery.planner.pools import output_serializer
from dagcelery.settings import Settings
from dagcelery.text import choices, shown
from dagcelery.tracebacks import shortened

PARTITIONS: Final = "partitions.json"


class OutputFile(NamedTuple):
    """An output in a file, and the serializer that reads it."""

    filename: str
    serializer: Serializer


@dataclass(frozen=True)
class PartitionedOutput:
    """An output in a folder: iterating yields an `OutputFile` for each element, in order."""

    filename: str
    serializer: Serializer
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[OutputFile]:
        return (OutputFile(os.path.join(self.filename, str(at)), self.serializer) for at in range(self.count))


def read(codec: Codec, location: Path, culprit: str) -> Any:
    """Return the value of a file, or the list of a folder.

    Raises InvalidLocation, DeserializationError.
    """
    if not location.is_dir():
        return _value(codec, location, culprit)
    return [_value(codec, location / name, f"{culprit}[{at}]") for at, name in enumerate(_names(location, culprit))]


def _value(codec: Codec, file: Path, culprit: str) -> Any:
    with _naming_location(f"{culprit}: {file}", "read", "name a file that can be"), open(file, "rb") as reader:
        return codec.read(reader, f"{culprit}, which is read from {file},")


def _names(folder: Path, culprit: str) -> list[str]:
    """Return the names of a folder's files, in order; none of them leads out of it."""
    manifest = folder / PARTITIONS
    with _naming_location(f"{culprit}: {folder}", "read", "name a folder that can be"):
        if not manifest.exists():
            return _numbered((entry.name for entry in folder.iterdir() if _is_number(entry, culprit)), folder, culprit)
        text = manifest.read_bytes()
    try:
        names = json.loads(text)
    except ValueError as error:
        raise InvalidLocation(f"{culprit}: {manifest}", f"is not JSON: {error}", 'write ["0", "1"]') from error
    if not isinstance(names, list) or not all(_is_plain(name) for name in names):
        remedy = 'write a list of names of files in this folder, such as ["0", "1"]'
        raise InvalidLocation(f"{culprit}: {manifest}", "is not a list of the names of files beside it", remedy)
    return names


def _numbered(names: Iterable[str], folder: Path, culprit: str) -> list[str]:
    """Sort names by the numbers that they are.

    Raises InvalidLocation if two are the same number.
    """
    known: dict[int, str] = {}
    for name in sorted(names):
        other = known.setdefault(int(name), name)
        if other != name:
            problem = f"{other} and {name} are the same number, so their order is unknown"
            raise InvalidLocation(f"{culprit}: {folder}", problem, f"list the files' names in {PARTITIONS}")
    return [known[number] for number in sorted(known)]


def _is_number(entry: Path, culprit: str) -> bool:
    if entry.is_file() and not entry.name.startswith(".") and not (entry.name.isascii() and entry.name.isdigit()):
        remedy = f"call the files 0, 1, 2, or list their names in {PARTITIONS}"
        raise InvalidLocation(f"{culprit}: {entry}", "is not named by a number, so its place is unknown", remedy)
    return entry.is_file() and not entry.name.startswith(".")


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..", PARTITIONS) and not {"/", "\\", "\0"} & set(name)


def path_of(location: object, culprit: str) -> Path:
    """Return a location as a path.

    Raises InvalidLocation.
    """
    path = os.fspath(location) if isinstance(location, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidLocation(f"{culprit}: {shown(location)}", "is not a path", "give a str or a Path")
    return Path(path)


def check_free(location: Path, culprit: str) -> None:
    """Raise InvalidLocation unless something can be written at a location where nothing is."""
    place = f"{culprit}: {location}"
    if os.path.lexists(location):
        raise InvalidLocation(place, "is there already", "remove it, or name another location")
    if not location.parent.is_dir():
        raise InvalidLocation(place, f"{location.parent} is not a folder", "make it first, or name another location")
    if not os.access(location.parent, os.W_OK | os.X_OK):
        raise InvalidLocation(place, f"nothing may be written in {location.parent}", "name another location")


def _check_apart(location: Path, written: Iterable[Path]) -> None:
    """Raise InvalidLocation where a location is a file that was just written: "a" and "A" are one on some machines."""
    other = next((place for place in written if location.exists() and location.samefile(place)), None)
    if other is not None:
        problem = f"this file system takes it for {other}, where another output goes"
        raise InvalidLocation(f"output: {location}", problem, "name another location, or another output")


class PendingOutputs:
    """Outputs that are written beside their locations, and moved there all together when all of them are complete."""

    def __init__(self) -> None:
        self._moves: list[tuple[Path, Path]] = []

    def file(self, codec: Codec, location: Path, value: Any, culprit: str) -> OutputFile:
        """Write a value to be moved to a location."""
        with _naming_location(f"{culprit}: {location}", "written", "name another location"):
            _write(codec, self._part(location), value, culprit)
        return OutputFile(str(location), codec.serializer)

    def folder(self, codec: Codec, location: Path, elements: Any, culprit: str) -> PartitionedOutput:
        """Write elements, one after the other, to be moved to a location."""
        if not isinstance(elements, Iterable):
            problem = f"is to be written by element, but it is of type {type(elements).__name__}, which is not iterable"
            raise SerializationError(culprit, problem, "return a list, or any other iterable")
        names: list[str] = []
        with _naming_location(f"{culprit}: {location}", "written", "name another location"):
            part = self._part(location)
            part.mkdir()
            for at, element in enumerate(elements):
                _write(codec, part / str(at), element, f"{culprit} at [{at}]")
                names.append(str(at))
            (part / PARTITIONS).write_text(json.dumps(names))
        return PartitionedOutput(str(location), codec.serializer, len(names))

    def _part(self, location: Path) -> Path:
        part = location.with_name(f".{location.name[:100]}.{uuid.uuid4().hex}.part")
        self._moves.append((part, location))
        return part

    def commit(self) -> None:
        """Move everything to its location; where one cannot be moved, none is."""
        for at, (part, location) in enumerate(self._moves):
            try:
                _check_apart(location, [moved for _, moved in self._moves[:at]])
                check_free(location, "output")  # another process may have been faster
                part.rename(location)
            except OSError as error:
                for back, moved in self._moves[:at]:
                    moved.rename(back)
                if isinstance(error, InvalidLocation):
                    raise
                raise InvalidLocation(str(location), f"cannot be written: {error}", "name another location") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for part, _ in self._moves:
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)


def _write(codec: Codec, file: Path, value: Any, culprit: str) -> None:
    with codec.stream(value, culprit) as made, open(file, "xb") as writer:
        shutil.copyfileobj(made, writer)


@contextmanager
def _naming_location(culprit: str, verb: str, remedy: str) -> Iterator[None]:
    """Say which location it is that the operating system refuses."""
    try:
        yield
    except InvalidLocation:
        raise
    except OSError as error:
        raise InvalidLocation(culprit, f"cannot be {verb}: {error.strerror or error}", remedy) from error


@dataclass(frozen=True)
class EnclosingDag:
    """The DAG that a node stands in: `around` is the DAG that it is a node of itself, if it is."""

    dag: DAG
    around: EnclosingDag | None = None

    @property
    def serializer(self) -> Serializer | None:
        """The serializer of values that name none; None is the one of the settings."""
        return self.dag.options.serializer or (self.around.serializer if self.around else None)


def found_at(node: Node, address: str) -> tuple[Node, EnclosingDag | None]:
    """Return the node that ``a.b`` names in a DAG, and the DAG that it is a node of.

    Raises InvalidParameters.
    """
    place: EnclosingDag | None = None
    names = address.split(".")
    for depth, name in enumerate(names):
        culprit = f"node '{address}'"
        if isinstance(node, Task):
            inside = f"'{'.'.join(names[:depth])}'" if depth else "this"
            raise InvalidParameters(culprit, f"{inside} is a task, which has no nodes within", "name the task itself")
        if name not in node.nodes:
            inside = f"DAG '{'.'.join(names[:depth])}'" if depth else "this DAG"
            raise InvalidParameters(culprit, f"{inside} has no node '{name}'", choices(name, node.nodes))
        place, node = EnclosingDag(node, place), node.nodes[name]
    return node, place


def alone(node: Node, place: EnclosingDag | None) -> DAG:
    """Return a DAG that does what a node does, once. What it is given is read as the node's writers write it.

    A literal, or the default of an input, is the default of its parameter.
    """
    if place is None:
        return node if isinstance(node, DAG) else as_dag(node)
    inputs = {name: _parameter(source, name, place) for name, source in node.inputs.items()}
    if isinstance(node, DAG):
        options = DagOptions(serializer=node.options.serializer or place.serializer)
        return DAG(node.nodes, inputs, node.outputs, name=node.name, options=options, returns=node.returns)
    dag = as_dag(node)
    options = DagOptions(serializer=place.serializer)
    return DAG(dag.nodes, inputs, dag.outputs, name=dag.name, options=options)


def is_partitioned(source: Source, dag: DAG) -> bool:
    """Whether an output of a DAG is a list that is made, or taken, by element."""
    if not isinstance(source, FromNodeOutput):
        return False
    node = dag.nodes[source.node]
    if fan_source(node) is not None:
        return True
    if isinstance(node, Task):
        return node.outputs[source.output].is_partitioned
    return is_partitioned(node.outputs[source.output], node)


def _parameter(source: Source, name: str, place: EnclosingDag) -> FromParam:
    return FromParam(None, _serializer(source, name, place), default_of(source))


def _serializer(source: Source, name: str, place: EnclosingDag) -> Serializer | None:
    """Return how the value of an input is written in its DAG; None is as the settings say."""
    match source:
        case FromParam() | FromNodeOutput() if source.serializer is not None:
            return source.serializer
        case FromParam():
            return _of_parameter(source.name or name, place)
        case FromNodeOutput():
            return _of_output(source, place)
        case Each():
            return _serializer(source.source, name, place)
        case _:
            # A serializer for one kind of object says nothing about what holds such objects.
            parts = [_serializer(read, name, place) for read in reads(source)]
            is_plain = all(part in (None, AsJSON(), place.serializer) for part in parts)
            return place.serializer if is_plain else AsPickle()


def _of_parameter(name: str, place: EnclosingDag) -> Serializer | None:
    declared = place.dag.inputs.get(name)
    if declared is None or isinstance(declared, Literal):
        return place.serializer
    if place.around is not None:
        return _serializer(declared, name, place.around)
    return getattr(declared, "serializer", None) or place.serializer


def _of_output(source: FromNodeOutput, place: EnclosingDag) -> Serializer | None:
    node = place.dag.nodes[source.node]
    if isinstance(node, Task):
        return output_serializer(node.outputs[source.output], node.options) or place.serializer
    return _serializer(node.outputs[source.output], source.output, EnclosingDag(node, place))


Stored = OutputFile | PartitionedOutput

Location = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class ReturnDeserializedOutputs:
    """Let `invoke` return a mapping of each output's name to its value."""


@dataclass(frozen=True, slots=True)
class StoreSerializedOutputsInPath:
    """Let `invoke` write each output to a file of its name in a folder, which is made if it is not there.

    A list that is made by element, by a fan-out say, becomes a folder with a file for each element. `invoke` returns a
    mapping of each output's name to an `OutputFile`, or a `PartitionedOutput`.
    """

    path: Location


Outputs = ReturnDeserializedOutputs | StoreSerializedOutputsInPath


@shortened
def invoke(node: Submittable, params: Mapping[str, object] | None = None, outputs: Outputs | None = None) -> Any:
    """Run a DAG or a task in this process, without Celery and Redis, and return its value.

    With `outputs` it returns a mapping of outputs by name instead: to values, or to files that it writes.

    Raises what `submit` raises before it writes, NodeFailed with the original error as its cause, and InvalidLocation.
    """
    if not isinstance(outputs, Outputs | None):
        remedy = "give ReturnDeserializedOutputs() or StoreSerializedOutputsInPath('folder')"
        raise InvalidParameters(f"outputs={shown(outputs)}", "does not say what to do with outputs", remedy)
    node, params, _ = split_static(node, {} if params is None else params)
    if outputs is None:
        local_run = LocalRun(node, Settings.from_environment())
        local_run.run(params)
        return local_run.result()
    dag = alone(dag_of(node), None)
    local_run = LocalRun(dag, Settings.from_environment())
    if isinstance(outputs, StoreSerializedOutputsInPath):
        return _stored(local_run, dag, params, _in_folder(dag, outputs.path))
    local_run.run(params)
    local_run.raise_failure()
    return {name: local_run.output(name) for name in dag.outputs}


def invoke_with_locations(
    node: Submittable,
    params: Mapping[str, object] | None = None,
    *,
    node_name: str = "",
    inputs: Mapping[str, Location] | None = None,
    outputs: Mapping[str, Location] | None = None,
) -> Any:
    """Run a DAG, or the node of it that ``a.b`` names, in this process, with inputs that are read from files.

    With `outputs`, which must name all there are, these are written to files, all or none of them, and a mapping like
    that of StoreSerializedOutputsInPath is returned; without, the value is. An input that is a folder is a list.

    Raises InvalidParameters for unknown and missing names, InvalidLocation for what cannot be read or written,
    DeserializationError, and what `invoke` raises.
    """
    node, params, _ = split_static(node, {} if params is None else params)
    if not isinstance(node_name, str):
        raise InvalidParameters(
            f"node_name={shown(node_name)}", "is not a str", 'give names with dots between, such as "a.b"'
        )
    dag = alone(*found_at(dag_of(node), node_name)) if node_name else alone(dag_of(node), None)
    local_run = LocalRun(dag, Settings.from_environment())
    culprit = f"node '{node_name}'" if node_name else f"'{local_run.plan.name}'"
    sources = _paths(inputs or {}, "input")
    targets = None if outputs is None else _paths(outputs, "output")
    _check_inputs(local_run, culprit, params, sources)
    if targets is not None:
        _check_outputs(dag, culprit, targets)
    params = {**params, **_read(local_run, sources)}
    if targets is not None:
        return _stored(local_run, dag, params, targets)
    local_run.run(params)
    return local_run.result()


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


def _check_inputs(local_run: LocalRun, culprit: str, params: Mapping[str, object], sources: Mapping[str, Path]) -> None:
    for name in sources:
        if name in params:
            problem = "is given twice, as a value and as a file"
            raise InvalidParameters(f"input '{name}' of {culprit}", problem, "give one")
    required = {param.name: param.required for param in local_run.plan.bodies[0].params}
    missing = [name for name in required if required[name] and name not in sources and name not in params]
    _check_names("input", culprit, sources, required, missing)


def _check_outputs(dag: DAG, culprit: str, targets: Mapping[str, Path]) -> None:
    _check_names("output", culprit, targets, dag.outputs, [name for name in dag.outputs if name not in targets])
    taken: dict[str, str] = {}
    for name, target in targets.items():
        check_free(target, f"output '{name}'")
        other = taken.setdefault(os.path.realpath(target), name)
        if other != name:
            problem = f"output '{other}' goes there too"
            raise InvalidLocation(f"output '{name}': {target}", problem, "name another location")


def _read(local_run: LocalRun, sources: Mapping[str, Path]) -> dict[str, Any]:
    codecs = {param.name: local_run.codec(param.codec) for param in local_run.plan.bodies[0].params}
    return {name: read(codecs[name], location, f"input '{name}'") for name, location in sources.items()}


def _in_folder(dag: DAG, path: Location) -> dict[str, Path]:
    """Return where each output goes in a folder, which is made if it is not there."""
    folder = path_of(path, "the folder for outputs")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot be made: {error.strerror or error}"
        raise InvalidLocation(f"the folder {folder} for outputs", problem, "name another one") from error
    targets = {name: folder / name for name in dag.outputs}
    for name, target in targets.items():
        check_free(target, f"output '{name}'")
    return targets


def _stored(
    local_run: LocalRun, dag: DAG, params: Mapping[str, object], targets: Mapping[str, Path]
) -> dict[str, Stored]:
    local_run.run(params)
    local_run.raise_failure()
    codecs = {name: local_run.codec(number) for name, _, number in local_run.plan.bodies[0].outputs}
    stored: dict[str, Stored] = {}
    with PendingOutputs() as pending:
        for name, target in targets.items():
            culprit = f"output '{name}'"
            if is_partitioned(dag.outputs[name], dag):
                stored[name] = pending.folder(codecs[name], target, local_run.output(name, lazy=True), culprit)
            else:
                stored[name] = pending.file(codecs[name], target, local_run.output(name), culprit)
        pending.commit()
    return stored
