"""What a plan means, without stores, messages and bytes: the shortest program that carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dagcelery.planner.plan import Expr, Path, Plan, Step, level


def run(plan: Plan, **params: Any) -> Any:
    """Return what `plan` gives back for these parameters."""
    top = Scope(plan, 0, {})
    for param in plan.bodies[0].params:
        if param.name not in params:
            assert param.default is not None, param.name
            params[param.name] = top.value(param.default)
    top.values.update({f"${name}": value for name, value in params.items()})
    outputs = top.run()
    returns = plan.bodies[0].returns
    if returns is not None:
        return top.value(returns)
    return outputs["return_value"] if list(outputs) == ["return_value"] else outputs


@dataclass
class Scope:
    """One execution of a body."""

    plan: Plan
    body: int
    values: dict[str, Any]
    parent: Scope | None = None
    results: dict[str, Any] = field(default_factory=dict)

    def run(self) -> Mapping[str, Any]:
        body = self.plan.bodies[self.body]
        for index, step in enumerate(body.steps):
            if step.over is None:
                results = [self.call(step, -1)]
            else:
                results = [self.call(step, item) for item in range(len(self.read(step.over)))]
            for position, output in enumerate(step.outputs):
                parts = [follow(value, output.path) for value in self.outputs_of(step, position, results)]
                single = parts if step.over is not None else parts[0]
                self.values[f"{index}.{position}"] = list(single) if output.split else single
        return {name: self.value(expr) for name, expr, _ in body.outputs}

    def call(self, step: Step, item: int) -> Any:
        arguments = {name: self.value(expr, item) for name, expr in step.arguments}
        if step.kind == "gather":
            return arguments.get("value")
        if step.kind == "dag":
            parameters = {f"${name}": value for name, value in arguments.items()}
            return Scope(self.plan, step.target, parameters, self).run()
        func = self.plan.functions[step.target].live
        assert func is not None
        return func(**arguments)

    def outputs_of(self, step: Step, position: int, results: list[Any]) -> list[Any]:
        if step.kind != "dag":
            return results
        name = self.plan.bodies[step.target].outputs[position][0]
        assert name == step.outputs[position].name
        return [outputs[name] for outputs in results]

    def read(self, token: str) -> Any:
        scope, (levels, name) = self, level(token)
        for _ in range(levels):
            assert scope.parent is not None
            scope = scope.parent
        if name.startswith("$"):
            param = next(p for p in self.plan.bodies[scope.body].params if p.name == name[1:])
            assert param.whole or param.split
        return scope.values[name]

    def value(self, expr: Expr, item: int = -1) -> Any:
        tag = expr[0]
        if tag in ("lit", "live"):
            return expr[1]
        if tag == "ref":
            return self.read(expr[1])
        if tag == "each":
            return list(self.read(expr[1]))[item]
        if tag == "part":
            return follow(self.value(expr[1], item), expr[2])
        if tag == "dict":
            return {self.value(key, item): self.value(value, item) for key, value in expr[1]}
        return {"list": list, "tuple": tuple, "set": set}[tag](self.elements(expr[1], item))

    def elements(self, exprs: tuple[Expr, ...], item: int) -> list[Any]:
        elements: list[Any] = []
        for expr in exprs:
            if expr[0] == "splice":
                elements += [self.value(expr[1], at) for at in range(len(self.read(expr[2])))]
            else:
                elements.append(self.value(expr, item))
        return elements


def follow(value: Any, path: Path) -> Any:
    for kind, name in path:
        value = value[name] if kind == "key" else getattr(value, str(name))
    return value
