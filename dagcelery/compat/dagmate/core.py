"""`dagmate.core`: workflows from a YAML file, or from a dict of the same form; steps hand objects to each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from dagcelery.errors import InvalidConfig
from dagcelery.frontends.yaml import ConfiguredWorkflow, load
from dagcelery.model import DAG
from dagcelery.payload.codecs import AsPickle

__all__ = ["Dagmate"]


class Misconfigured(InvalidConfig, AssertionError):
    """There is no configuration, or there are two."""


class ConfigNotFound(InvalidConfig, FileNotFoundError):
    """There is no file of that name."""


class Dagmate:
    """A configuration in either dialect; `activate` makes its workflows.

    Raises InvalidConfig, which is also an AssertionError or a FileNotFoundError.
    """

    def __init__(
        self, config_file: str | os.PathLike[str] | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        if (config_file is None) == (config is None):
            count = "none" if config is None else "two"
            raise Misconfigured("Dagmate(...)", None, "", f"takes one configuration, and got {count}", "give either")
        if config_file is not None and not os.path.exists(config_file):
            raise ConfigNotFound(os.fspath(config_file), None, "", "does not exist", "name a YAML file")
        self._given = config if config_file is None else config_file
        self.workflows: Mapping[str, ConfiguredWorkflow] = {}

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration as it was given, or as its file has it."""
        if isinstance(self._given, Mapping):
            return self._given
        assert self._given is not None
        with open(self._given, encoding="utf-8") as file:
            found: Mapping[str, Any] = yaml.safe_load(file)
        return found

    def activate(self) -> Mapping[str, ConfiguredWorkflow]:
        """Read the configuration, import its modules, and return its workflows by name.

        A workflow can be called, which runs it here, and given to `dagcelery.submit`, which runs it on workers. Values
        are pickled.

        Raises InvalidConfig.
        """
        assert self._given is not None
        self.workflows = {workflow.name: _with_pickle(workflow) for workflow in load(self._given)}
        return self.workflows


def _with_pickle(workflow: ConfiguredWorkflow) -> ConfiguredWorkflow:
    dag = workflow.dag
    options = replace(dag.options, serializer=AsPickle())
    return replace(
        workflow, dag=DAG(dag.nodes, dag.inputs, dag.outputs, name=dag.name, options=options, returns=dag.returns)
    )
