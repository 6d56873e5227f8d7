"""What a DAG is: graph, sources, outputs, options, and the rules that every DAG keeps."""

from dagcelery.model.buildable import Buildable
from dagcelery.model.fanout import fan_source
from dagcelery.model.graph import DAG, Node, Task
from dagcelery.model.options import DagOptions, TaskOptions
from dagcelery.model.order import dependencies
from dagcelery.model.outputs import FromKey, FromPath, FromProperty, FromReturnValue, TaskOutput
from dagcelery.model.policies import Cache, Retry, Timeout, Wait, as_timeout, exponential, static
from dagcelery.model.schedules import Schedule
from dagcelery.model.serializers import Serialize, Serializer
from dagcelery.model.sources import (
    EMPTY,
    Choice,
    DictOf,
    Each,
    FromNodeOutput,
    FromParam,
    ListOf,
    Literal,
    Open,
    Part,
    SetOf,
    Source,
    Splice,
    TupleOf,
)

__all__ = [
    "DAG",
    "EMPTY",
    "Buildable",
    "Cache",
    "Choice",
    "DagOptions",
    "DictOf",
    "Each",
    "FromKey",
    "FromNodeOutput",
    "FromParam",
    "FromPath",
    "FromProperty",
    "FromReturnValue",
    "ListOf",
    "Literal",
    "Node",
    "Open",
    "Part",
    "Retry",
    "Schedule",
    "Serialize",
    "Serializer",
    "SetOf",
    "Source",
    "Splice",
    "Task",
    "TaskOptions",
    "TaskOutput",
    "Timeout",
    "TupleOf",
    "Wait",
    "as_timeout",
    "dependencies",
    "exponential",
    "fan_source",
    "static",
]
