"""Plans that pieces make while a run goes on: read where they are first needed, and fitted into the run's program."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dagcelery.errors import BadSignature
from dagcelery.payload import addresses, values
from dagcelery.payload.signing import Keyring
from dagcelery.planner.plan import Plan
from dagcelery.runtime.program import Program
from dagcelery.store.protocol import Store

_NUMBERS = 64
"""Bodies that are given numbers at once."""
_PLANS = 5_000
"""Plans that one process keeps of one run."""


class ChildPlans:
    """The program of a run, which grows. A plan is signed for its scope, so nobody can give a scope another plan."""

    def __init__(
        self, store: Store, keyring: Keyring, program: Program, run_id: str, *, is_alone: bool = False
    ) -> None:
        self.store = store
        self.keyring = keyring
        self.program = program
        self.run_id = run_id
        self.is_alone = is_alone
        self.sealed_by = ""
        """The id of the key that sealed the run's plan; none, if none did."""
        self._planned = program
        self._owners: dict[int, str] = {}
        self._lock = threading.Lock()
        self._next = self._free = self._visits = 0

    def is_planned(self, body: int) -> bool:
        """Whether a body belongs to the plan that was submitted."""
        return body < len(self._planned.plan.bodies)

    def scope_of(self, body: int) -> str | None:
        """The scope whose plan begins with a body; None if none begins there."""
        owner = self._owners.get(body)
        if owner is None and not self.program.knows(body):
            return self._read(body)
        if owner is None:
            with self._lock:  # another thread may be about to say whose it is
                return self._owners.get(body)
        return owner

    def forget(self) -> None:
        """Forget plans that were made while the run goes on."""
        self.program, self._owners = self._planned, {}

    def scopes_of(self, bodies: Sequence[int]) -> Iterator[tuple[int, str]]:
        """The scopes whose plans begin with one of these bodies, with that body; their plans are at hand then."""
        unknown = [body for body in bodies if not self.program.knows(body)]
        found = dict(zip(unknown, self.store.reader.child_plans(self.run_id, unknown), strict=True))
        for body in bodies:
            made = found.get(body)
            scope = self._owners.get(body) if made is None else self._take_in(body, *made)
            if scope is not None:
                yield body, scope

    def _read(self, body: int) -> str | None:
        found = self.store.reader.child_plans(self.run_id, [body])[0]
        return None if found is None else self._take_in(body, *found)

    def _take_in(self, body: int, scope: str, sealed: bytes) -> str:
        _, text = values.open_bytes(self.keyring, addresses.scope(self.run_id, scope), sealed)
        self.link(scope, body, Plan.decode(text))
        return scope

    def link(self, scope: str, first: int, plan: Plan) -> None:
        """Take in the plan of a scope, its bodies numbered from `first` on. BadSignature if others have those."""
        with self._lock:
            if self._owners.get(first) == scope:
                return
            if any(map(self.program.knows, range(first, first + len(plan.bodies)))):
                raise BadSignature(f"scope {scope} of run {self.run_id}", "its plan is numbered like another")
            if self.program is self._planned:
                self.program = self._planned.own_copy()
            self.program.link(first, plan)
            self._owners[first] = scope

    def number(self, bodies: int) -> int:
        """Numbers for the bodies of a plan that a piece made, fetched some at a time; answers the first one."""
        with self._lock:
            if self._free < bodies:
                self._free = max(bodies, _NUMBERS)
                self._next = self.store.machine.number(self.run_id, self._free)
            self._next, self._free = self._next + bodies, self._free - bodies
            return self._next - bodies

    @contextmanager
    def visited(self) -> Iterator[None]:
        """Be used by one more visit; when there was none, plans that are not needed now may be forgotten."""
        with self._lock:
            if not self._visits and len(self._owners) > _PLANS and not self.is_alone:
                self.forget()
            self._visits += 1
        try:
            yield
        finally:
            with self._lock:
                self._visits -= 1
