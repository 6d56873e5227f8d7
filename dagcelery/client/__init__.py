"""Submit a DAG and hold a Run; or invoke it right here."""

from dagcelery.client.files import OutputFile, PartitionedOutput
from dagcelery.client.lifecycle import Submittable, dag_of, new_run, plan_of
from dagcelery.client.local_runs import ReturnDeserializedOutputs, StoreSerializedOutputsInPath, invoke
from dagcelery.client.located import invoke_with_locations
from dagcelery.client.run import (
    Client,
    Run,
    RunSummary,
    aruns,
    asubmit,
    attach,
    default_client,
    forget,
    runs,
    set_default,
    submit,
)
from dagcelery.client.standalone import found_at

__all__ = [
    "Client",
    "OutputFile",
    "PartitionedOutput",
    "ReturnDeserializedOutputs",
    "Run",
    "RunSummary",
    "StoreSerializedOutputsInPath",
    "Submittable",
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
