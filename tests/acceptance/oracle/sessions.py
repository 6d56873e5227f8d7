"""A program, and what happens to its globals between one run of it and the next."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import assume

from dagcelery import errors

from .exact import told
from .plain import ISOLATED, REAL, SHARED, Tools

FILE = "<program>"
Way = Callable[[Any], Callable[..., Any]]
REFUSALS = (errors.InvalidDag, errors.SerializationError)
REFUSED_IN_TASKS = [f"dagcelery.errors.{name}" for name in ("InvalidDag", "InvalidDagType", "SerializationError")]


@dataclass(frozen=True)
class Session:
    """A module with a DAG or a task called `main`; statements that change the module; calls, one after each of these.

    `calls` are arguments as source text. With `may_refuse` the program says something that cannot be a DAG, or that
    cannot be carried. With `is_written` its source can be found, as that of a file.
    """

    serializer: str
    text: str
    changes: tuple[str, ...]
    calls: tuple[str, ...]
    may_refuse: bool = False
    is_written: bool = True

    def __repr__(self) -> str:
        told = [self.text, *(f"main({call})  # {change or 'as it is'}" for change, call in self.steps)]
        return "\n".join([*told, f"{self.serializer}, may be refused: {self.may_refuse}, written: {self.is_written}"])

    @property
    def steps(self) -> list[tuple[str, str]]:
        """What is changed, and what `main` is called with then."""
        return list(zip(("", *self.changes), self.calls, strict=True))

    def check(self, *ways: Way) -> None:
        """Assert that after each change all ways to run `main` give what plain Python gives, and so does calling it."""
        found, called, shared, isolated = (self._module(tools) for tools in (REAL, REAL, SHARED, ISOLATED))
        for change, call in self.steps:
            for module in (found, called, shared, isolated):
                exec(change, module)
            place = f"after {change!r}, main({call})"
            try:
                expected = self._answer(shared, _itself, call)
            except (TypeError, ValueError):  # such as for a list that is looked up in a dict: then nothing is right
                assume(not self.may_refuse)
                raise
            assert self._answer(called, _itself, call) == expected, place
            right = self._answer(isolated, _itself, call)
            for way in ways:
                answer = self._answer_or_refusal(found, way, call)
                assert answer == right or (answer is None and self.may_refuse), f"{place}: {answer}"

    def check_late(self, submit: Callable[..., Callable[[], Any]]) -> None:
        """Assert that a run gives what was right when it was submitted, though all is changed before it is executed.

        `submit` takes `main` and its arguments, and returns what executes the run and returns its result.
        """
        found, isolated = self._module(REAL), self._module(ISOLATED)
        wait: Callable[[], Any] | None = None
        right = ""
        for change, call in [*self.steps, ("", self.calls[0])]:
            for module in (found, isolated):
                exec(change, module)
            assert wait is None or self._told(wait()) == right, f"before {change!r}"
            right = self._answer(isolated, _itself, call)
            given = eval(f"[{call}]", found)
            wait = submit(found["main"], *given)
            given[-1].append("late")

    def _module(self, tools: Tools) -> dict[str, Any]:
        module = tools(self.serializer)
        if self.is_written:
            linecache.cache[FILE] = len(self.text), None, self.text.splitlines(keepends=True), FILE
        else:
            linecache.cache.pop(FILE, None)
        exec(compile(self.text, FILE, "exec"), module)
        return module

    def _answer_or_refusal(self, module: dict[str, Any], way: Way, call: str) -> str | None:
        try:
            return self._answer(module, way, call)
        except REFUSALS as refusal:
            if not self.may_refuse or not refusal.culprit:
                raise
        except errors.NodeFailed as failure:
            if not self.may_refuse or failure.type_name not in REFUSED_IN_TASKS:
                raise
        return None

    def _answer(self, module: dict[str, Any], way: Way, call: str) -> str:
        return self._told(eval(f"_run({call})", {**module, "_run": way(module["main"])}))

    def _told(self, value: Any) -> str:
        # JSON makes lists of tuples; nothing else may change.
        return told(value) if self.serializer == "AsPickle()" else told(value).replace("tuple[", "list[")


def _itself(main: Callable[..., Any]) -> Callable[..., Any]:
    return main


def _invoked(main: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: main.invoke(*args, **kwargs)


def _submitted(main: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: main.submit(*args, **kwargs).result(60)


INVOKED: Way = _invoked
SUBMITTED: Way = _submitted
