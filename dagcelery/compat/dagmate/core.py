"""`dagmate.core`: workflows from a YAML file, or from a dict of the same form."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dagcelery.errors import InvalidConfig
from dagcelery.frontends.yaml import ConfiguredWorkflow, load

__all__ = ["Dagmate"]


class Dagmate:
    """A configuration in either dialect; `activate` makes its workflows."""

    def __init__(
        self, config_file: str | os.PathLike[str] | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        if (config_file is None) == (config is None):
            count = "none" if config is None else "two"
            raise InvalidConfig("Dagmate(...)", None, "", f"takes one configuration, and got {count}", "give either")
        self._config = config if config_file is None else config_file
        self.workflows: Mapping[str, ConfiguredWorkflow] = {}

    def activate(self) -> Mapping[str, ConfiguredWorkflow]:
        """Read the configuration, import its modules, and return its workflows by name.

        A workflow can be called, which runs it here, and given to `dagcelery.submit`, which runs it on workers.

        Raises InvalidConfig.
        """
        assert self._config is not None
        self.workflows = {workflow.name: workflow for workflow in load(self._config)}
        return self.workflows
