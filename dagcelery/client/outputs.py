"""What `invoke` gives back where somebody says so: outputs by name, as values or as serialized files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagcelery.client import locations
from dagcelery.client.here import Here
from dagcelery.client.locations import OutputFile, PartitionedOutput, Staging
from dagcelery.client.nodes import alone, found_at, is_partitioned
from dagcelery.client.targets import Node, dag_of, fixed
from dagcelery.errors import InvalidLocation, InvalidParameters
from dagcelery.model import DAG
from dagcelery.settings import Settings
from dagcelery.text import choices, shown

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


def invoke_for(node: Node, params: Mapping[str, object], outputs: Outputs, settings: Settings) -> Mapping[str, Any]:
    """Run a DAG or a task in this process; its outputs as `outputs` says. Raises also InvalidLocation."""
    if not isinstance(outputs, ReturnDeserializedOutputs | StoreSerializedOutputsInPath):
        right = "give ReturnDeserializedOutputs() or StoreSerializedOutputsInPath('folder')"
        raise InvalidParameters(f"outputs={shown(outputs)}", "says nothing of outputs", right)
    node, params = fixed(node, params)
    dag = alone(dag_of(node), None)
    here = Here(dag, settings)
    if isinstance(outputs, StoreSerializedOutputsInPath):
        return _stored(here, dag, params, _in_folder(dag, outputs.path))
    here.run(params)
    here.raise_failure()
    return {name: here.output(name) for name in dag.outputs}


def invoke_with_locations(
    node: Node,
    params: Mapping[str, object] | None = None,
    *,
    node_name: str = "",
    inputs: Mapping[str, Location] | None = None,
    outputs: Mapping[str, Location] | None = None,
) -> Any:
    """Run a DAG, or the node of it that ``a.b`` names, in this process, with inputs that are read from files.

    With `outputs`, which must name all there are, these are written to files, all or none of them, and a mapping like
    that of StoreSerializedOutputsInPath is returned; without, the value is. An input that is a folder is a list.

    Raises InvalidParameters for names that are wrong or missing, InvalidLocation for what cannot be read or written,
    DeserializationError, and what `invoke` raises.
    """
    node, params = fixed(node, {} if params is None else params)
    if not isinstance(node_name, str):
        raise InvalidParameters(
            f"node_name={shown(node_name)}", "is not a str", 'give names with dots between, such as "a.b"'
        )
    dag = alone(*found_at(dag_of(node), node_name)) if node_name else alone(dag_of(node), None)
    here = Here(dag, Settings.from_environment())
    culprit = f"node '{node_name}'" if node_name else f"'{here.name}'"
    found = _paths(inputs or {}, "input")
    places = None if outputs is None else _paths(outputs, "output")
    _check_inputs(here, culprit, params, found)
    if places is not None:
        _check_outputs(dag, culprit, places)
    given = {**params, **_read(here, found)}
    if places is not None:
        return _stored(here, dag, given, places)
    here.run(given)
    return here.result()


def _paths(given: object, kind: str) -> dict[str, Path]:
    """The locations of inputs or outputs, by name."""
    if not isinstance(given, Mapping):
        right = "give a mapping of names to paths, such as {'x': 'x.json'}"
        raise InvalidParameters(f"{kind}s={shown(given)}", f"does not say where each {kind} is", right)
    return {name: locations.path_of(location, f"{kind} '{name}'") for name, location in given.items()}


def _check_inputs(here: Here, culprit: str, params: Mapping[str, object], found: Mapping[str, Path]) -> None:
    known = {param.name: param.required for param in here.body.params}
    for name in found:
        if name not in known:
            raise InvalidParameters(f"input '{name}' of {culprit}", "there is no such input", choices(name, known))
        if name in params:
            raise InvalidParameters(
                f"input '{name}' of {culprit}", "is given twice, as a value and as a file", "give one"
            )
    missing = [name for name, required in known.items() if required and name not in found and name not in params]
    if missing:
        wrong = f"missing {missing}; expected {list(known)}, got {sorted([*found, *map(str, params)])}"
        raise InvalidParameters(
            f"inputs of {culprit}", wrong, "say where each is that has no default: --input NAME=FILE"
        )


def _check_outputs(dag: DAG, culprit: str, places: Mapping[str, Path]) -> None:
    for name, place in places.items():
        if name not in dag.outputs:
            raise InvalidParameters(
                f"output '{name}' of {culprit}", "there is no such output", choices(name, dag.outputs)
            )
        locations.check_free(place, f"output '{name}'")
    missing = [name for name in dag.outputs if name not in places]
    if missing:
        wrong = f"missing {missing}; expected {list(dag.outputs)}, got {sorted(places)}"
        raise InvalidParameters(f"outputs of {culprit}", wrong, "say where to write each of them: --output NAME=FILE")
    taken: dict[str, str] = {}
    for name, place in places.items():
        other = taken.setdefault(os.path.realpath(place), name)
        if other != name:
            raise InvalidLocation(f"output '{name}': {place}", f"output '{other}' goes there too", "name another one")


def _read(here: Here, found: Mapping[str, Path]) -> dict[str, Any]:
    codecs = {param.name: here.codec(param.codec) for param in here.body.params}
    return {name: locations.read(codecs[name], location, f"input '{name}'") for name, location in found.items()}


def _in_folder(dag: DAG, path: Location) -> dict[str, Path]:
    """Where each output goes in a folder, which is made if it is not there."""
    folder = locations.path_of(path, "the folder for outputs")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        wrong = f"cannot be made: {error.strerror or error}"
        raise InvalidLocation(f"the folder {folder} for outputs", wrong, "name another one") from error
    places = {name: folder / name for name in dag.outputs}
    for name, place in places.items():
        locations.check_free(place, f"output '{name}'")
    return places


def _stored(here: Here, dag: DAG, params: Mapping[str, object], places: Mapping[str, Path]) -> dict[str, Stored]:
    here.run(params)
    here.raise_failure()
    codecs = {name: here.codec(number) for name, _, number in here.body.outputs}
    made: dict[str, Stored] = {}
    with Staging() as staging:
        for name, place in places.items():
            culprit = f"output '{name}'"
            if is_partitioned(dag.outputs[name], dag):
                made[name] = staging.folder(codecs[name], place, here.output(name, lazy=True), culprit)
            else:
                made[name] = staging.file(codecs[name], place, here.output(name), culprit)
        staging.commit()
    return made
