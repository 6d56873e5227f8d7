"""The YAML frontend: workflows in a configuration file, or in a dict of the same shape; each becomes a DAG."""

from dagcelery.frontends.yaml.dags import Workflow, load

__all__ = ["Workflow", "load"]
