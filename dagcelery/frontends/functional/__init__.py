"""The functional frontend: `@task` and `@dag`, and a DAG is what a function's body says.

`building`, which only the first DAG that is built needs, is imported then.
"""

from dagcelery.frontends.functional.decorators import DagFunction, TaskFunction, build, dag, task
from dagcelery.frontends.functional.definition import Definition

__all__ = ["DagFunction", "Definition", "TaskFunction", "build", "dag", "task"]
