"""`dagger.runtime.cli`: run a DAG, or a node in it, from the command line; inputs and outputs are files."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dagcelery.compat.dagger import old_paths
from dagcelery.compat.dagger.input import split_required_and_optional_inputs
from dagcelery.compat.dagger.old_texts import WrongLocation, WrongParameters
from dagcelery.compat.dagger.runtime.local import StoreSerializedOutputsInPath, built
from dagcelery.compat.dagger.runtime.local import invoke as invoke_locally
from dagcelery.compat.dagger.runtime.locations import (
    PARTITION_MANIFEST_FILENAME,
    NodeWithParent,
    find_nested_node,
    retrieve_input_from_location,
    store_output_in_location,
)
from dagcelery.compat.dagger.serializer import DefaultSerializer
from dagcelery.model import Buildable, Node

__all__ = [
    "PARTITION_MANIFEST_FILENAME",
    "NodeWithParent",
    "find_nested_node",
    "invoke",
    "invoke_with_locations",
    "retrieve_input_from_location",
    "store_output_in_location",
]


def invoke(dag: Node | Buildable[..., Any], argv: Iterable[str] | None = None) -> None:
    """Run what the command line says, by default that of this program.

    ``--input NAME LOCATION`` and ``--output NAME LOCATION``, for each one, are files; a list that is made by element is
    a folder. ``--node-name a.b`` names a node in a nested DAG.

    Raises InvalidParameters, which is a ValueError, InvalidLocation, which is an OSError, and what
    `runtime.local.invoke` raises.
    """
    parser = argparse.ArgumentParser(description="Run a DAG or one of its nodes, with files as inputs and outputs.")
    parser.add_argument("--node-name", default="", help="a node, or one of a nested DAG: nested-dag.node")
    for name in ("input", "output"):
        parser.add_argument(
            f"--{name}", dest=f"{name}s", nargs=2, metavar=("NAME", "LOCATION"), action="append", default=[]
        )
    arguments = parser.parse_args(None if argv is None else list(argv))
    address = [name for name in arguments.node_name.split(".") if name]
    invoke_with_locations(dag, address, dict(arguments.inputs), dict(arguments.outputs))


def invoke_with_locations(
    dag: Node | Buildable[..., Any],
    node_address: Sequence[str] | None = None,
    input_locations: Mapping[str, str] | None = None,
    output_locations: Mapping[str, str] | None = None,
) -> None:
    """Run a DAG, or the node at an address in it. Nothing is written unless all outputs can be.

    Raises what `invoke` raises.
    """
    inputs, outputs = input_locations or {}, output_locations or {}
    node = find_nested_node(built(dag), node_address or []).node
    _check_names("input", inputs, node.inputs, split_required_and_optional_inputs(node.inputs)[0])
    _check_names("output", outputs, node.outputs, node.outputs)
    for name, location in outputs.items():
        if os.path.lexists(location):
            raise _not_stored(name, f"{location} exists already")
        if not os.path.isdir(os.path.dirname(os.path.abspath(location))):
            raise _not_stored(name, f"{os.path.dirname(location)} is not a folder")
    params = {name: _retrieved(name, location, node) for name, location in inputs.items()}
    with tempfile.TemporaryDirectory() as folder:
        made = invoke_locally(node, params, StoreSerializedOutputsInPath(folder))
        for name, location in outputs.items():
            try:
                store_output_in_location(location, made[name])
            except OSError as error:
                raise _not_stored(name, str(error)) from error


def _check_names(kind: str, given: Mapping[str, str], known: Iterable[str], needed: Iterable[str]) -> None:
    for name in needed:
        if name not in given:
            raise WrongParameters(
                "",
                f"This node is supposed to receive a pointer to an {kind} named '{name}'. However, only the following "
                f"{kind} pointers were supplied: {sorted(given)}",
            )
    if unknown := sorted(given.keys() - set(known)):
        problem = f"This node has no {kind} named '{unknown[0]}'. These are the ones that it has: {sorted(known)}"
        raise WrongParameters("", problem)


def _retrieved(name: str, location: str, node: Node) -> Any:
    try:
        serializer = getattr(node.inputs[name], "serializer", None) or DefaultSerializer
        return retrieve_input_from_location(location, serializer)
    except OSError as error:
        problem = f"When retrieving input '{name}' from the provided location, we got the following error: {error}"
        raise WrongLocation("", problem) from error


def _not_stored(name: str, why: str) -> WrongLocation:
    return WrongLocation("", f"When storing output '{name}', we got the following error: {why}")


old_paths.register(__name__)
