"""A workflow is a class: its decorated methods are nodes that call each other while the run goes on."""

from dagcelery.frontends.workflow.definitions import register_definition
from dagcelery.frontends.workflow.workflow import Workflow

__all__ = ["Workflow", "register_definition"]
