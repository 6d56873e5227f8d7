"""The YAML frontend: workflows in a configuration file, or in a dict of the same shape; each becomes a DAG."""

from dagcelery.frontends.yaml.dags import ConfiguredWorkflow, load

__all__ = ["ConfiguredWorkflow", "load"]
