"""Addresses of people are read here: ``one_file[117]/read`` names a place in a run, whatever its nodes are called."""

from __future__ import annotations

import re

from dagcelery.engine.run_view import RunView
from dagcelery.errors import InvalidParameters
from dagcelery.planner.plan import Step
from dagcelery.store.records import ROOT, Scope, Spot, scope_id
from dagcelery.text import nearest, shown

_ITEMS = re.compile(r"\[([^\[\]]*)\]")
_NUMBERS = re.compile(r"(\d{1,18})(?::(\d{1,18}))?", re.ASCII)


def address_of(view: RunView, scope: Scope, step: int, lo: int, hi: int) -> str:
    """Return the address of a piece, or of items of a fan-out: ``read[3:9]``."""
    address = view.address(scope, step, lo)
    return f"{address.removesuffix(']')}:{hi}]" if lo >= 0 and hi > lo + 1 else address


class NotThere(InvalidParameters):
    """A place that is in the plan, but not in the run: a branch that was not taken, or one that was not begun yet."""


class BranchNotTaken(NotThere):
    """A place in a branch that was not taken."""


def find_place(view: RunView, address: str) -> Spot:
    """Find what an address names as status, events and errors show it: a node, one item of a fan-out, or several.

    Raises InvalidParameters.
    """
    if not isinstance(address, str):
        raise InvalidParameters(f"node {shown(address)}", "is not a str", "give the address of a node or of an item")
    search = _Search(view, address)
    while (spot := search.next()) is None:
        pass
    return spot


class _Search:
    """Follows an address from the root of a run inwards; `_path` has been followed, `_rest` not yet."""

    def __init__(self, view: RunView, address: str) -> None:
        self._view = view
        self._address = address
        self._path, self._rest = "", address
        self._scope = ROOT

    def next(self) -> Spot | None:
        """Follow the address by one node; return the place if it ends there."""
        number, step = self._node()
        name, is_fan_out = step.name, step.over is not None and "branch" not in step.options
        rest = self._rest[len(name) :]
        items = _ITEMS.match(rest)
        rest = rest[items.end() :] if items else rest
        if rest[:1] not in ("", "/") or (items and not is_fan_out):
            raise self._refused(f"'{self._path}{name}' has no such items", f"name '{self._path}{name}'")
        if not rest:
            if "branch" in step.options and self._total(number) == 0:
                raise self._not_there(self._path + name, number, step)
            return Spot(self._scope, number, *(self._items(number, step, items[1]) if items else ()))
        self._enter(number, step, items[1] if items else None, rest[1:])
        return None

    def _refused(
        self, problem: str, remedy: str, kind: type[InvalidParameters] = InvalidParameters
    ) -> InvalidParameters:
        return kind(f"node {shown(self._address)} of '{self._view.program.plan.name}'", problem, remedy)

    def _node(self) -> tuple[int, Step]:
        steps = self._view.body(self._scope).steps
        candidates = [(len(s.name), at) for at, s in enumerate(steps) if self._rest.startswith(s.name)]
        candidates = [(size, at) for size, at in candidates if self._rest[size : size + 1] in ("", "[", "/")]
        if candidates:
            number = max(candidates)[1]
            return number, steps[number]
        near = nearest(self._rest.partition("[")[0], [step.name for step in steps])
        where = f", '{self._path[:-1]}' has no such node" if self._path else ""
        raise self._refused(f"does not exist{where}", near or "give an address as status() shows it, or events do")

    # -- items ------------------------------------------------------------------------------------
    def _items(self, number: int, step: Step, text: str) -> tuple[int, int]:
        """Read which items are meant: ``3``, or ``3:5`` as an event has it that stands for several."""
        name = self._path + step.name
        numbers = _NUMBERS.fullmatch(text)
        if numbers is None:
            what = f"'{name}'" if text in ("*", "", ":") else f"one of its items, such as '{name}[0]'"
            raise self._refused(f"[{text}] names no items, which are counted from 0", f"name {what}")
        lo, hi = int(numbers[1]), int(numbers[2] or int(numbers[1]) + 1)
        total = self._total(number)
        if total < 0:
            problem = f"it is not known yet how many items '{name}' has"
            raise self._refused(problem, f"name '{name}', or resume the run, which begins it", NotThere)
        if not lo < hi <= total:
            has = f"0 to {total - 1:,}" if total > 1 else "0 only" if total else "none"
            raise self._refused(f"'{name}' has no such items", f"its items are {has}")
        return lo, hi

    def _total(self, number: int) -> int:
        """How many items a step has; -1 if that is not known yet."""
        within = self._view.store.reader.within(self._view.run_id, {self._scope: [number]}).get(self._scope, {})
        return within[number].total if number in within else -1

    def _enter(self, number: int, step: Step, text: str | None, rest: str) -> None:
        """Go on in the scope of one item, of a branch, or of the graph that a piece made."""
        name, index = self._path + step.name, -1
        is_branch = "branch" in step.options
        if step.kind != "dag" and "dynamic" not in step.options:
            raise self._refused(f"'{name}' has no nodes within", f"name '{name}'")
        if is_branch:
            index = 0
        elif step.over is not None:
            if text is None or not text.isdecimal():
                remedy = f"name one item, such as '{name}[0]/{rest}', or all of '{name}'"
                raise self._refused(f"'{name}' has a node '{rest}' in each item", remedy)
            index, _ = self._items(number, step, text)
        inner = scope_id(self._view.run_id, self._scope, number, index)
        if self._view.store.reader.scope(self._view.run_id, inner) is None:
            raise self._not_there(name if index < 0 or is_branch else f"{name}[{index}]", number, step)
        self._path, self._rest, self._scope = f"{name if index < 0 or is_branch else f'{name}[{index}]'}/", rest, inner

    def _not_there(self, name: str, number: int, step: Step) -> InvalidParameters:
        if "branch" in step.options and self._total(number) == 0:
            remedy = "name the node that its condition depends on"
            return self._refused(f"the branch '{name}' was not taken", remedy, BranchNotTaken)
        if step.kind == "dag":
            remedy = f"name '{name}', or resume the run, which enters it"
            return self._refused(f"'{name}' was not entered yet", remedy, NotThere)
        return self._refused(f"'{name}' has made no graph", f"name '{name}', to execute it again", NotThere)
