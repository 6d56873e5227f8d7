"""Argo in a few hundred lines: it executes a manifest, with files as artifacts and containers as local processes.

What it does not know it refuses: every reference must be in scope, every input be given, every name be valid. A
missing optional artifact is an empty folder, as Kubernetes makes one where it mounts what is not there.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Run = Callable[[Sequence[str]], int]
"""Runs a command line, and returns its exit code."""

REFERENCE = re.compile(r"\{\{(.*?)\}\}")

NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")

TASK_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")

VALUE_NAME = re.compile(r"[-a-zA-Z0-9_]+")

STORAGE = {"s3", "gcs", "oss"}


class Invalid(Exception):
    """A manifest that Argo would refuse."""


class Failed(Exception):
    """A container that failed, after all of its retries."""


def resolved(value: Any, scope: Mapping[str, str]) -> Any:
    """Return a part of a manifest with its references replaced. Raises Invalid for one that is out of scope."""
    if isinstance(value, dict):
        return {key: resolved(part, scope) for key, part in value.items()}
    if isinstance(value, list):
        return [resolved(part, scope) for part in value]
    if not isinstance(value, str):
        return value

    def known(match: re.Match[str]) -> str:
        if match[1] not in scope:
            raise Invalid(f"{match[0]} is not in scope, among {sorted(scope)}")
        return scope[match[1]]

    return REFERENCE.sub(known, value)


def by_name(parts: Any) -> dict[str, Any]:
    """Return named parts by name, each of them once."""
    found = {part["name"]: part for part in parts or []}
    if len(found) != len(parts or []):
        raise Invalid(f"a name is given twice: {[part['name'] for part in parts]}")
    return found


# -- before it runs -------------------------------------------------------------------------------
def check(spec: Mapping[str, Any]) -> None:
    """Check what Argo checks when a workflow is submitted: names, arguments, and the scope of each reference."""
    templates = by_name(spec["templates"])
    if spec["entrypoint"] not in templates:
        raise Invalid("there is no entrypoint")
    given = [f"workflow.parameters.{name}" for name in by_name(spec.get("arguments", {}).get("parameters"))]
    for name, template in templates.items():
        if not NAME.fullmatch(name):
            raise Invalid(f"{name!r} is not a name")
        outer = {"workflow.uid", *given, *_inputs_in_scope(template)}
        if "dag" in template:
            _check_dag(template, templates, outer)
        else:
            _check_container(template, outer)


def _inputs_in_scope(template: Mapping[str, Any]) -> Iterator[str]:
    for kind, parts in template.get("inputs", {}).items():
        for name in by_name(parts):
            if not VALUE_NAME.fullmatch(name):
                raise Invalid(f"{name!r} is not a name")
            yield f"inputs.{kind}.{name}"


def _check_container(template: Mapping[str, Any], scope: set[str]) -> None:
    files = {"inputs": template.get("inputs", {}), "outputs": template.get("outputs", {})}
    paths = {f"{side}.artifacts.{name}.path" for side in files for name in by_name(files[side].get("artifacts"))}
    retries = {"retries"} if "retryStrategy" in template else set()
    _check_references({key: template[key] for key in template if key != "inputs"}, scope | paths | retries)
    for artifact in files["inputs"].get("artifacts", []) + files["outputs"].get("artifacts", []):
        if not artifact["path"].startswith("/"):
            raise Invalid(f"{artifact} has no path")


def _check_dag(template: Mapping[str, Any], templates: Mapping[str, Any], scope: set[str]) -> None:
    tasks = by_name(template["dag"]["tasks"])
    for name, task in tasks.items():
        if not TASK_NAME.fullmatch(name):
            raise Invalid(f"{name!r} is not a name")
        made = {
            f"tasks.{other}.outputs.parameters.{parameter}"
            for other in _ancestors(name, tasks, ())
            for parameter in by_name(templates[tasks[other]["template"]].get("outputs", {}).get("parameters"))
        }
        _check_references(task, scope | made | ({"item"} if "withParam" in task else set()))
        _check_arguments(task, templates[task["template"]])
    last = {
        f"tasks.{name}.outputs.parameters.{parameter}"
        for name, task in tasks.items()
        for parameter in by_name(templates[task["template"]].get("outputs", {}).get("parameters"))
    }
    _check_references(template.get("outputs", {}), scope | last)


def _ancestors(name: str, tasks: Mapping[str, Any], below: tuple[str, ...]) -> set[str]:
    if name in below:
        raise Invalid(f"{name} depends on itself")
    needs = tasks[name].get("dependencies", [])
    if len({*needs}) != len(needs):
        raise Invalid(f"{name} depends on a task twice: {needs}")
    return {*needs}.union(*(_ancestors(need, tasks, (*below, name)) for need in needs))


def _check_references(part: Any, scope: set[str]) -> None:
    resolved(part, dict.fromkeys(scope, ""))


def _check_arguments(task: Mapping[str, Any], template: Mapping[str, Any]) -> None:
    for kind in ("parameters", "artifacts"):
        given = by_name(task.get("arguments", {}).get(kind))
        taken = by_name(template.get("inputs", {}).get(kind))
        missing = [name for name, each in taken.items() if name not in given and "value" not in each]
        if missing or given.keys() - taken.keys():
            raise Invalid(f"{kind} of {task['name']}: missing {missing}, unknown {given.keys() - taken.keys()}")


# -- as it runs -----------------------------------------------------------------------------------
@dataclass
class Argo:
    """A cluster with an artifact repository in a folder; `pods` counts how often each template was run."""

    folder: Path
    run: Run
    uid: str = "5f6c"
    pods: dict[str, int] = field(default_factory=dict)

    def submit(self, spec: Mapping[str, Any]) -> dict[str, Path]:
        """Execute a workflow. Return where the artifacts are that its entrypoint gives back."""
        check(spec)
        self.templates = by_name(spec["templates"])
        self.scope = {"workflow.uid": self.uid}
        for name, parameter in by_name(spec.get("arguments", {}).get("parameters")).items():
            self.scope[f"workflow.parameters.{name}"] = str(parameter["value"])
        entry = self.templates[spec["entrypoint"]]
        parameters = {name: each["value"] for name, each in by_name(entry["inputs"]["parameters"]).items()}
        artifacts = by_name(entry["inputs"].get("artifacts"))
        scope = self._inner(entry, resolved(parameters, self.scope), artifacts)
        self._dag(entry, scope, resolved(artifacts, scope))
        outputs = by_name(resolved(entry.get("outputs", {}), scope).get("artifacts"))
        return {name: self.folder / _key(each) for name, each in outputs.items()}

    def _inner(
        self, template: Mapping[str, Any], parameters: Mapping[str, str], artifacts: Mapping[str, Any]
    ) -> dict[str, str]:
        """Return what references mean in a template, artifacts as their own names."""
        scope = dict(self.scope)
        for name in by_name(template.get("inputs", {}).get("parameters")):
            scope[f"inputs.parameters.{name}"] = parameters[name]
        return scope | {f"inputs.artifacts.{name}": f"input {name}" for name in artifacts}

    def _execute(self, task: Mapping[str, Any], artifacts: Mapping[str, Any]) -> dict[str, str]:
        """Execute the template of a resolved task; `artifacts` are those of the template around it."""
        template, given = self.templates[task["template"]], task.get("arguments", {})
        parameters = {name: each["value"] for name, each in by_name(given.get("parameters")).items()}
        own = {
            name: artifacts[each["from"].removeprefix("input ")] if "from" in each else each
            for name, each in by_name(given.get("artifacts")).items()
        }
        scope = self._inner(template, parameters, own)
        if "dag" in template:
            return self._dag(template, scope, own)
        return self._container(template, scope, own)

    def _dag(self, template: Mapping[str, Any], scope: Mapping[str, str], artifacts: Mapping[str, Any]) -> Any:
        todo, made = by_name(template["dag"]["tasks"]), dict(scope)
        while todo:
            name = next(name for name, task in todo.items() if not {*task.get("dependencies", ())} & todo.keys())
            task = todo.pop(name)
            for parameter, value in self._expanded(task, made, artifacts).items():
                made[f"tasks.{name}.outputs.parameters.{parameter}"] = value
        outputs = by_name(template.get("outputs", {}).get("parameters"))
        return {name: resolved(each["valueFrom"]["parameter"], made) for name, each in outputs.items()}

    def _expanded(self, task: Mapping[str, Any], scope: Mapping[str, str], artifacts: Mapping[str, Any]) -> Any:
        if "withParam" in task:
            for item in json.loads(resolved(task["withParam"], scope)):
                self._execute(resolved(task, {**scope, "item": str(item)}), artifacts)
            return {}
        task = resolved(task, scope)
        left, equals, right = task.get("when", "a == a").partition(" == ")
        if not equals or left not in ("true", "false", "a"):
            raise Invalid(f"condition {task['when']!r}")
        return self._execute(task, artifacts) if left == right else {}

    # -- containers -------------------------------------------------------------------------------
    def _container(self, template: Mapping[str, Any], scope: Mapping[str, str], artifacts: Mapping[str, Any]) -> Any:
        strategy = template.get("retryStrategy", {"limit": "0"})
        for retries in range(int(strategy["limit"]) + 1):
            pod = self.folder / "pods" / f"{template['name']}-{sum(self.pods.values())}"
            self.pods[template["name"]] = self.pods.get(template["name"], 0) + 1
            here = self._mounted(template, {**scope, "retries": str(retries)}, artifacts, pod)
            container = here["container"]
            code = self.run([*container.get("command", ()), *container["args"]])
            if code == 0:
                return self._saved(here)
            if strategy.get("expression") and code in (1, 2):  # lastRetry.exitCode != "1" && ... != "2"
                break
        raise Failed(f"{template['name']} ended with {code}: {container['args']}")

    def _mounted(
        self, template: Mapping[str, Any], scope: dict[str, str], artifacts: Mapping[str, Any], pod: Path
    ) -> Any:
        """Return the template with its paths in a pod's folder, into which its inputs have been loaded."""
        text = json.dumps(template).replace('"/tmp/', f'"{pod}/').replace("=/tmp/", f"={pod}/")
        here = json.loads(text)
        for side in ("inputs", "outputs"):
            (pod / side).mkdir(parents=True)
            for name, artifact in by_name(here.get(side, {}).get("artifacts")).items():
                scope[f"{side}.artifacts.{name}.path"] = artifact["path"]
        for name, artifact in by_name(here.get("inputs", {}).get("artifacts")).items():
            self._load(artifacts[name], Path(artifact["path"]), is_optional=artifact.get("optional", False))
        return resolved({key: here[key] for key in here if key != "inputs"}, scope)

    def _load(self, artifact: Mapping[str, Any], path: Path, *, is_optional: bool) -> None:
        source = self.folder / _key(artifact) if "raw" not in artifact else None
        if source is None:
            path.write_text(artifact["raw"]["data"])
        elif source.is_dir():
            shutil.copytree(source, path)
        elif source.exists():
            shutil.copyfile(source, path)
        elif is_optional:
            path.mkdir()
        else:
            raise Failed(f"artifact {_key(artifact)} is not there")

    def _saved(self, template: Mapping[str, Any]) -> dict[str, str]:
        """Store the outputs of a pod, and return its output parameters."""
        outputs = template.get("outputs", {})
        for artifact in outputs.get("artifacts", []):
            source, target = Path(artifact["path"]), self.folder / _key(artifact)
            if target.exists():
                raise Failed(f"{_key(artifact)} is written twice")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
        return {each["name"]: Path(each["valueFrom"]["path"]).read_text() for each in outputs.get("parameters", [])}


def _key(artifact: Mapping[str, Any]) -> str:
    (kind,) = STORAGE & artifact.keys()
    return str(artifact[kind]["key"])
