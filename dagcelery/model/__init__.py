"""What a DAG is: graph, sources, outputs, options, and the rules that every DAG keeps.

Names are imported when they are first used: decorating a function needs its options only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagcelery.model.buildable import Buildable as Buildable
    from dagcelery.model.graph import DAG as DAG
    from dagcelery.model.graph import Node as Node
    from dagcelery.model.graph import Task as Task
    from dagcelery.model.graph import dependencies as dependencies
    from dagcelery.model.graph import fan_source as fan_source
    from dagcelery.model.nodes import FromKey as FromKey
    from dagcelery.model.nodes import FromPath as FromPath
    from dagcelery.model.nodes import FromProperty as FromProperty
    from dagcelery.model.nodes import FromReturnValue as FromReturnValue
    from dagcelery.model.nodes import TaskOutput as TaskOutput
    from dagcelery.model.options import Cache as Cache
    from dagcelery.model.options import DagOptions as DagOptions
    from dagcelery.model.options import Retry as Retry
    from dagcelery.model.options import TaskOptions as TaskOptions
    from dagcelery.model.options import Timeout as Timeout
    from dagcelery.model.options import Wait as Wait
    from dagcelery.model.options import as_timeout as as_timeout
    from dagcelery.model.options import exponential as exponential
    from dagcelery.model.options import static as static
    from dagcelery.model.serializers import Serialize as Serialize
    from dagcelery.model.serializers import Serializer as Serializer
    from dagcelery.model.sources import EMPTY as EMPTY
    from dagcelery.model.sources import Choice as Choice
    from dagcelery.model.sources import DictOf as DictOf
    from dagcelery.model.sources import Each as Each
    from dagcelery.model.sources import FromNodeOutput as FromNodeOutput
    from dagcelery.model.sources import FromParam as FromParam
    from dagcelery.model.sources import ListOf as ListOf
    from dagcelery.model.sources import Literal as Literal
    from dagcelery.model.sources import Open as Open
    from dagcelery.model.sources import Part as Part
    from dagcelery.model.sources import SetOf as SetOf
    from dagcelery.model.sources import Source as Source
    from dagcelery.model.sources import Splice as Splice
    from dagcelery.model.sources import TupleOf as TupleOf

_HOMES = {
    "buildable": "Buildable",
    "graph": "DAG Node Task dependencies fan_source",
    "nodes": "FromKey FromPath FromProperty FromReturnValue TaskOutput",
    "options": "Cache DagOptions Retry TaskOptions Timeout Wait as_timeout exponential static",
    "serializers": "Serialize Serializer",
    "sources": "EMPTY Choice DictOf Each FromNodeOutput FromParam ListOf Literal Open Part SetOf Source Splice TupleOf",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [*_HOME_OF]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOME_OF:
            raise AttributeError(f"module 'dagcelery.model' has no attribute '{name}'")
        value = globals()[name] = getattr(import_module(f"dagcelery.model.{_HOME_OF[name]}"), name)
        return value
