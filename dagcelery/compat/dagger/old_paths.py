"""Where py-dagger has a package of small modules, there is one module here; it is found at their paths as well."""

from __future__ import annotations

import sys
from typing import Final

_PACKAGE: Final = __name__.rpartition(".")[0]

_MODULES: Final = {
    "dag": "dag topological_sort",
    "data_structures": "frozen_mapping",
    "dsl": "build dsl node_output_serializer",
    "input": "empty_default_value from_node_output from_param protocol validators",
    "output": "from_key from_property from_return_value protocol validators",
    "runtime.argo": "cron cron_workflow_spec extra_spec_options metadata v1alpha1 workflow workflow_spec",
    "runtime.cli": "cli invoke_with_locations locations:runtime.locations nested_nodes:runtime.locations",
    "runtime.local": "dag:runtime.execution invoke output:runtime.outputs task:runtime.execution types:runtime.outputs",
    "serializer": "as_json as_pickle errors protocol",
    "task": "task",
}
"""The names below a module, each with the module that has what is there, where that is another one."""


def register(module: str) -> None:
    """Let what py-dagger has in modules below `module` be imported from there: ``dagger.serializer.as_json``.

    Python looks into ``sys.modules`` for a name once it has imported the part before the last dot, so `module` needs
    to be no package. A name that it has already, such as that of the function `invoke`, stays what it is, as there.
    """
    for name in _MODULES[module.removeprefix(f"{_PACKAGE}.")].split():
        name, _, home = name.partition(":")
        found = sys.modules[f"{_PACKAGE}.{home}" if home else module]
        sys.modules.setdefault(f"{module}.{name}", found)
        if not hasattr(sys.modules[module], name):
            setattr(sys.modules[module], name, found)
