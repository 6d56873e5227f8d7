"""Manifests are held against Argo's schema, executed by an Argo whose containers are command lines, and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hera.workflows import models

from dagcelery import DAG, ReturnDeserializedOutputs, Task, invoke
from dagcelery.cli import dag as command_line
from dagcelery.client.files import read
from dagcelery.client.lifecycle import dag_of, split_static
from dagcelery.client.local_runs import LocalRun
from dagcelery.export.argo import manifests
from dagcelery.planner.compile import as_dag
from dagcelery.settings import Settings

from .interpreter import Argo

IMAGE = "registry/image:1"


def unknown(written: Any, understood: Any, place: str) -> Iterator[str]:
    """Yield the keys that the models do not know, and values that they take for others."""
    if isinstance(written, dict):
        for key, value in written.items():
            yield from unknown(value, (understood or {}).get(key), f"{place}.{key}")
    elif isinstance(written, list):
        for at, value in enumerate(written):
            yield from unknown(value, understood[at] if understood else None, f"{place}[{at}]")
    elif written != understood:
        yield f"{place}: {written!r} is {understood!r}"


def check_schema(manifest: dict[str, Any]) -> None:
    """Check that a manifest has the keys and values that Argo knows, and no others."""
    model = getattr(models, manifest["kind"]).model_validate(manifest)
    understood = model.model_dump(by_alias=True, exclude_none=True, mode="json")
    assert not [*unknown(manifest, understood, manifest["kind"])]


def in_process(words: Sequence[str]) -> int:
    """Run a container's command line, and return its exit code."""
    assert words[0] == "dagcelery"
    try:
        command_line(list(words[1:]), prog_name="dagcelery")
    except SystemExit as end:
        return int(end.code or 0)
    raise AssertionError("a command line ends with an exit")


def values(files: Mapping[str, Path], node: Any, params: Mapping[str, object]) -> dict[str, Any]:
    """Return the outputs that a workflow has written, by name."""
    model = dag_of(split_static(node, params)[0])
    run = LocalRun(as_dag(model) if isinstance(model, Task) else model, Settings())
    names = list(model.outputs or run.plan.bodies[0].outputs[0][:1])
    found = zip(names, files.values(), strict=True)  # whose names are Argo's
    return {name: read(run.codec_of_output(name), file, name) for name, file in found}


def executed(node: Any, target: str, params: Mapping[str, object], argo: Argo, **options: Any) -> dict[str, Any]:
    """Export a DAG, execute its manifest, and return its outputs by name."""
    manifest = manifests(node, image=IMAGE, target=target, params=params, **options)[-1]
    check_schema(manifest)
    spec = manifest["spec"].get("workflowSpec", manifest["spec"])
    return values(argo.submit(spec), node, params)


def invoked(node: Any, params: Mapping[str, object]) -> dict[str, Any]:
    """Return what `invoke` gives for a DAG, by name."""
    found: dict[str, Any] = invoke(node, params, ReturnDeserializedOutputs())
    return found


def target_of(node: Any) -> str:
    """Return the name of a DAG in the module of graphs."""
    return f"unit.export.argo.graphs:{node.name if isinstance(node, DAG) else node.__name__}"
