"""A task alone is planned as a DAG that has one node and takes the task's inputs as parameters."""

from __future__ import annotations

from dagcelery.model import DAG, EMPTY, FromNodeOutput, FromParam, FromReturnValue, Literal, Source, Task
from dagcelery.model.names import is_name


def as_dag(task: Task) -> DAG:
    """Return a DAG around `task`, which runs once there even where its own DAG maps it.

    Parameters are called like the inputs. An input's literal or default value is its parameter's default.
    Outputs are those of the task; one that declares none gives back what it returns.
    """
    called = getattr(task.func, "__qualname__", type(task.func).__qualname__)
    plain = task.options.name or called.rpartition(".")[2]
    name = plain if is_name(plain) else "task"
    outputs = task.outputs or {"return_value": FromReturnValue()}
    params = {key: _param(source) for key, source in task.inputs.items()}
    node = Task(
        task.func,
        {key: FromParam(key) for key in params},
        outputs,
        task.runtime_options,
        options=task.options,
    )
    return DAG(
        {name: node},
        params,
        {key: FromNodeOutput(name, key) for key in outputs},
        name=f"{getattr(task.func, '__module__', '')}:{called}",
    )


def _param(source: Source) -> FromParam:
    if isinstance(source, Literal):
        return FromParam(default_value=source.value)
    serializer = getattr(source, "serializer", None)
    return FromParam(serializer=serializer, default_value=getattr(source, "default_value", EMPTY))
