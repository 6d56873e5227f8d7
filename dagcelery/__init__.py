"""Durable DAGs in plain Python for the Celery and Redis that you already run.

Names are imported when they are first used: ``from dagcelery import dag, task`` imports neither celery nor redis.
``celery -A dagcelery worker`` finds the app here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagcelery import errors as errors
    from dagcelery.client import Client as Client
    from dagcelery.client import ReturnDeserializedOutputs as ReturnDeserializedOutputs
    from dagcelery.client import Run as Run
    from dagcelery.client import RunSummary as RunSummary
    from dagcelery.client import StoreSerializedOutputsInPath as StoreSerializedOutputsInPath
    from dagcelery.client import aruns as aruns
    from dagcelery.client import asubmit as asubmit
    from dagcelery.client import attach as attach
    from dagcelery.client import invoke as invoke
    from dagcelery.client import runs as runs
    from dagcelery.client import submit as submit
    from dagcelery.client.activity import RunningPiece as RunningPiece
    from dagcelery.client.following import RunEvent as RunEvent
    from dagcelery.client.logs import PieceLog as PieceLog
    from dagcelery.client.node import RunNode as RunNode
    from dagcelery.client.preview import Preview as Preview
    from dagcelery.client.status import NodeStatus as NodeStatus
    from dagcelery.client.status import RunStatus as RunStatus
    from dagcelery.client.structure import GraphEdge as GraphEdge
    from dagcelery.client.structure import GraphNode as GraphNode
    from dagcelery.client.structure import RunGraph as RunGraph
    from dagcelery.client.tree import TreeNode as TreeNode
    from dagcelery.engine.hooks import Notice as Notice
    from dagcelery.engine.pieces import Piece as Piece
    from dagcelery.engine.pieces import PieceFilter as PieceFilter
    from dagcelery.engine.pieces import current as current
    from dagcelery.frontends.functional import DagFunction as DagFunction
    from dagcelery.frontends.functional import TaskFunction as TaskFunction
    from dagcelery.frontends.functional import build as build
    from dagcelery.frontends.functional import dag as dag
    from dagcelery.frontends.functional import task as task
    from dagcelery.frontends.functional.building import when as when
    from dagcelery.frontends.functional.present import present as present
    from dagcelery.frontends.stages import DiskCacheStage as DiskCacheStage
    from dagcelery.frontends.stages import Pipeline as Pipeline
    from dagcelery.frontends.stages import RedisStage as RedisStage
    from dagcelery.frontends.stages import Stage as Stage
    from dagcelery.frontends.stages import stage as stage
    from dagcelery.frontends.workflow import Workflow as Workflow
    from dagcelery.frontends.workflow import register_definition as register_definition
    from dagcelery.model import DAG as DAG
    from dagcelery.model import Cache as Cache
    from dagcelery.model import FromKey as FromKey
    from dagcelery.model import FromNodeOutput as FromNodeOutput
    from dagcelery.model import FromParam as FromParam
    from dagcelery.model import FromProperty as FromProperty
    from dagcelery.model import FromReturnValue as FromReturnValue
    from dagcelery.model import Retry as Retry
    from dagcelery.model import Serialize as Serialize
    from dagcelery.model import Serializer as Serializer
    from dagcelery.model import Task as Task
    from dagcelery.model import Timeout as Timeout
    from dagcelery.model import Wait as Wait
    from dagcelery.model import exponential as exponential
    from dagcelery.model import static as static
    from dagcelery.model.schedules import Schedule as Schedule
    from dagcelery.payload.codecs import AsJSON as AsJSON
    from dagcelery.payload.codecs import AsPickle as AsPickle
    from dagcelery.payload.formats.arrow import AsArrow as AsArrow
    from dagcelery.payload.formats.arrow import AsParquet as AsParquet
    from dagcelery.payload.formats.avro import AsAvro as AsAvro
    from dagcelery.payload.formats.csv import AsCSV as AsCSV
    from dagcelery.payload.formats.dill import AsDill as AsDill
    from dagcelery.payload.formats.message_pack import AsMessagePack as AsMessagePack
    from dagcelery.skipped import Skipped as Skipped
    from dagcelery.store.records import RunState as RunState

_HOMES = {
    "frontends.functional": "DagFunction TaskFunction build dag task",
    "frontends.functional.building": "when",
    "frontends.functional.present": "present",
    "frontends.stages": "DiskCacheStage Pipeline RedisStage Stage stage",
    "frontends.workflow": "Workflow register_definition",
    "client": "Client Run RunSummary aruns asubmit attach invoke runs submit",
    "client.local_runs": "ReturnDeserializedOutputs StoreSerializedOutputsInPath",
    "model": "Cache DAG FromKey FromNodeOutput FromParam FromProperty FromReturnValue Retry Serialize Serializer "
    "Task Timeout Wait exponential static",
    "model.schedules": "Schedule",
    "payload.codecs": "AsJSON AsPickle",
    "payload.formats.arrow": "AsArrow AsParquet",
    "payload.formats.avro": "AsAvro",
    "payload.formats.csv": "AsCSV",
    "payload.formats.dill": "AsDill",
    "payload.formats.message_pack": "AsMessagePack",
    "skipped": "Skipped",
    "client.following": "RunEvent",
    "client.logs": "PieceLog",
    "client.node": "RunNode",
    "engine.hooks": "Notice",
    "engine.pieces": "Piece PieceFilter current",
    "client.activity": "RunningPiece",
    "client.preview": "Preview",
    "client.status": "NodeStatus RunStatus",
    "client.structure": "GraphEdge GraphNode RunGraph",
    "client.tree": "TreeNode",
    "store.records": "RunState",
    "worker.own": "app",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = ["errors", *(name for name in _HOME_OF if name != "app")]
if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> Any:
        if name == "errors":
            return import_module("dagcelery.errors")
        if name == "__version__":
            return import_module("importlib.metadata").version("dagcelery")
        if name not in _HOME_OF:
            raise AttributeError(f"module 'dagcelery' has no attribute '{name}'")
        value = globals()[name] = getattr(import_module(f"dagcelery.{_HOME_OF[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
