"""The functional frontend: `@task` and `@dag`, and a DAG is what a function's body says."""

from dagcelery.frontends.functional.branching import when
from dagcelery.frontends.functional.dag_function import DagFunction
from dagcelery.frontends.functional.decorators import build, dag, task
from dagcelery.frontends.functional.definition import Definition
from dagcelery.frontends.functional.task_function import TaskFunction

__all__ = ["DagFunction", "Definition", "TaskFunction", "build", "dag", "task", "when"]
