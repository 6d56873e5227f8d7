"""`dagger.runtime.cli`: run a DAG, or a node in it, from the command line; inputs and outputs are files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from dagcelery import client
from dagcelery.client.files import PARTITIONS as PARTITION_MANIFEST_FILENAME
from dagcelery.compat.dagger.runtime.local import as_it_was, built
from dagcelery.errors import NodeFailed
from dagcelery.model import Buildable, Node

__all__ = ["PARTITION_MANIFEST_FILENAME", "invoke"]


def invoke(dag: Node | Buildable[..., Any], argv: Sequence[str] | None = None) -> None:
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
    arguments = parser.parse_args(argv)
    node, inputs, outputs = built(dag), dict(arguments.inputs), dict(arguments.outputs)
    try:
        client.invoke_with_locations(node, node_name=arguments.node_name, inputs=inputs, outputs=outputs)
    except NodeFailed as error:
        raise as_it_was(error, node) from error
