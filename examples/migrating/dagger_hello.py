"""Run py-dagger's hello world; only the imports are new.

Notice that decorators may be bare or called, and that `invoke` returns a mapping of outputs, here an empty one.
"""

from __future__ import annotations

from dagcelery.compat.dagger.dsl import DAG, build, task
from dagcelery.compat.dagger.runtime.local import invoke


@task
def say_hello_world() -> None:
    """Print."""
    print("hello world!")


@DAG
def hello_world_pipeline() -> None:
    """Call one task, which returns nothing."""
    say_hello_world()


dag = build(hello_world_pipeline)

if __name__ == "__main__":
    invoke(dag)
