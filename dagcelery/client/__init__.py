"""Submit a DAG and hold a Run; or invoke it right here."""

from dagcelery.client.calls import aruns, asubmit, forget, invoke, runs, submit
from dagcelery.client.clients import Client, Run, attach, default_client, set_default
from dagcelery.client.locations import OutputFile, PartitionedOutput
from dagcelery.client.nodes import found_at
from dagcelery.client.outputs import ReturnDeserializedOutputs, StoreSerializedOutputsInPath, invoke_with_locations
from dagcelery.client.submissions import new_run
from dagcelery.client.targets import Node, dag_of, plan_of
from dagcelery.client.watching import RunSummary

__all__ = [
    "Client",
    "Node",
    "OutputFile",
    "PartitionedOutput",
    "ReturnDeserializedOutputs",
    "Run",
    "RunSummary",
    "StoreSerializedOutputsInPath",
    "aruns",
    "asubmit",
    "attach",
    "dag_of",
    "default_client",
    "forget",
    "found_at",
    "invoke",
    "invoke_with_locations",
    "new_run",
    "plan_of",
    "runs",
    "set_default",
    "submit",
]
