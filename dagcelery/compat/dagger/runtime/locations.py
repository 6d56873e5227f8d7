"""Where the command line finds its node, and its values: nodes by their address, values in files and folders."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from dagcelery.client.files import PARTITIONS
from dagcelery.compat.dagger.old_texts import WrongParameters
from dagcelery.compat.dagger.runtime.outputs import NodeOutput, load
from dagcelery.model import DAG, Node, Serializer

PARTITION_MANIFEST_FILENAME: Final = PARTITIONS


class NodeWithParent(NamedTuple):
    """A node, its name, and the DAG that it stands in."""

    node: Node
    node_name: str = ""
    parent: NodeWithParent | None = None

    def __repr__(self) -> str:
        return f"NodeWithParent(node={self.node}, node_name={self.node_name}, parent={self.parent})"


def _nodes_referenced_so_far(node: NodeWithParent | None = None) -> list[str]:
    if node is None:
        return []
    return [*_nodes_referenced_so_far(node.parent), *([node.node_name] if node.node_name else [])]


def find_nested_node(
    node: Node, address: Sequence[str], node_name: str = "", parent: NodeWithParent | None = None
) -> NodeWithParent:
    """Return the node at an address in `node`, of which each part is a level deeper.

    Raises InvalidParameters, which is a ValueError.
    """
    here = NodeWithParent(node, node_name, parent)
    if not address:
        return here
    above = ".".join(_nodes_referenced_so_far(here))
    if not isinstance(node, DAG):
        raise WrongParameters(
            "",
            f"Node '{above}' does not contain any other nodes. However, you are trying to access a subnode "
            f"'{'.'.join(address)}'.",
        )
    name = address[0]
    if name not in node.nodes:
        selected, dag = (f"{above}.{name}", f"DAG '{above}'") if above else (name, "this DAG")
        raise WrongParameters(
            "",
            f"You selected node '{selected}'. However, {dag} does not contain any node with such a name. These are the "
            f"names the DAG contains: {sorted(node.nodes)}",
        )
    return find_nested_node(node.nodes[name], address[1:], name, here)


def retrieve_input_from_location(input_location: str, serializer: Serializer) -> Any:
    """Return the value of a file, or the list of the values in a folder whose files are called by numbers.

    Raises OSError, DeserializationError.
    """
    if not os.path.isdir(input_location):
        return load(input_location, serializer)
    paths = [
        os.path.join(input_location, name) for name in os.listdir(input_location) if name != PARTITION_MANIFEST_FILENAME
    ]
    files = sorted(filter(os.path.isfile, paths), key=lambda path: int(os.path.basename(path)))
    return [load(file, serializer) for file in files]


def store_output_in_location(output_location: str, output_value: NodeOutput) -> None:
    """Move an output to a location: a file, or a folder with a file for each part and a list of their names.

    Raises OSError, also if there is something already.
    """
    if isinstance(output_value, tuple):
        if os.path.lexists(output_location):
            raise FileExistsError(f"{output_location} exists already")
        shutil.move(output_value.filename, output_location)
        return
    os.mkdir(output_location)
    names = []
    for at, part in enumerate(output_value):
        shutil.move(part.filename, os.path.join(output_location, str(at)))
        names.append(str(at))
    with open(os.path.join(output_location, PARTITION_MANIFEST_FILENAME), "w", encoding="utf-8") as manifest:
        json.dump(names, manifest)
