"""How parts of a run are cleared, to be executed again, and how garbage is collected: payloads that no step reads.

Both look at the run in portions, find out what has to go, and remove it with many small scripts, each of which may be
the last one. While a run is being cleared nothing of it commits, so what is read between two scripts stays true. The
order matters: claims go first, so that nothing touches what goes next, and the names of scopes last, because what
belongs to them is found by those.

Garbage is looked for instead of counting readers in every commit: commits cost nothing more, and a worker that dies
leaves nothing to be repaired. What may go once may go for ever, unless the run is cleared, and then the scripts refuse.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from dagcelery.store import wire
from dagcelery.store.keys import key
from dagcelery.store.protocol import StoreServer
from dagcelery.store.records import HOOK, ROOT, START, SUCCESSORS, PieceId, Scope, StepEntry

ARRIVALS = 250
"""Items of a fan-out that are told of at once."""
_PORTION = 100
_STEPS_A_SCRIPT = 20
"""Each costs up to fifty fields."""
_LONGEST_PAUSE_SECONDS = 2.0


def clear(server: StoreServer, run_id: str, steps: Sequence[int]) -> bool:
    """Do what `RunMachine.clear` promises. Of two that clear a run at once, one does it again."""
    pause = 0.05
    while True:
        try:
            return _Clearing(server, run_id).clear(steps)
        except _Overtaken:
            time.sleep(random.random() * pause)
            pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)


class _Overtaken(Exception):
    """Another process has begun to clear the run."""


class _Clearing:
    """One pass over one run, from the beginning to the end."""

    def __init__(self, server: StoreServer, run_id: str) -> None:
        self._server = server
        self._run_id = run_id
        self._token = uuid.uuid4().hex
        self._number = 0
        self._survey = _Survey(server.client, run_id)

    def clear(self, steps: Sequence[int]) -> bool:
        epoch = self._server.client.hget(key(self._run_id), "epoch")
        wanted = self._act("begin", steps=list(steps), epoch=int(epoch or 0)).get("steps")
        if wanted is None:
            return False
        survey = self._survey
        complete, freed = survey.complete()
        cleared = _dependents(wanted, survey.body(0), complete, freed)
        scopes = _scopes_below(survey.scopes(), cleared)
        self._remove(cleared, set(scopes.values()), scopes)
        for step in sorted(complete.keys() - cleared):
            self._tell(step, cleared, complete[step])
        self._act("finish")
        return True

    def _act(self, act: str, **about: Any) -> dict[str, Any]:
        self._number += 1
        request = {"token": self._token, "number": self._number, "act": act} | about
        answer: dict[str, Any] = json.loads(self._server.run("clear", key(self._run_id), request)[0])
        if answer.get("overtaken"):
            raise _Overtaken
        return answer

    def _portions(self, act: str, name: str, items: Iterable[Any], size: int = _PORTION) -> None:
        for portion in wire.portions(items, size):
            self._act(act, **{name: portion})

    # -- removing ---------------------------------------------------------------------------------
    def _remove(self, steps: set[int], bodies: set[int], scopes: Mapping[str, int]) -> None:
        def covers(name: str) -> bool:
            scope, step, _ = PieceId.parse(name)
            return scope in scopes or (scope == ROOT and step in steps)

        self._remove_claims(covers)
        retries = [member for member in self._survey.members("d") if member.startswith("r/")]
        due = [member for member in retries if covers(member[2:])]
        self._portions("due", "members", due)
        failed = {piece for piece, _ in self._survey.fields("f") if "@" not in piece and covers(piece)}
        self._portions("failures", "pieces", sorted(failed))
        places = [(ROOT, 0, step) for step in sorted(steps)]
        places += [(scope, body, step) for scope, body in scopes.items() for step in self._survey.body(body)]
        self._portions("steps", "places", places, _STEPS_A_SCRIPT)
        self._portions("keys", "names", self._keys(steps, scopes))
        self._portions("counters", "fields", self._counters(steps, bodies))
        self._portions("scopes", "ids", scopes)

    def _remove_claims(self, covers: Callable[[str], bool]) -> None:
        claims = {piece: wire.claim_record(text) for piece, text in self._survey.fields("c") if piece}
        lost = [piece for piece in claims if covers(piece) or PieceId.parse(piece).step == HOOK]
        self._portions("claims", "pieces", [(piece, str(claims[piece].body)) for piece in lost])
        for piece, claim in claims.items():
            while claim.cursor and piece not in lost and self._act("tell_on", piece=piece).get("more"):
                pass

    def _keys(self, steps: set[int], scopes: Mapping[str, int]) -> Iterator[str]:
        """Keys below the run's that hold what the steps, and the scopes below them, made."""
        for name, kind, scope, step in self._survey.names():
            if (scope == ROOT and step in steps) or (scope in scopes and kind in "obxqailm"):
                yield name

    def _counters(self, steps: set[int], bodies: set[int]) -> Iterator[str]:
        for name, _ in self._survey.fields("n"):
            body, _, step = name.partition(":")[0].partition(".")
            if body and (int(body) in bodies or (body == "0" and step and int(step) in steps)):
                yield name

    # -- telling ----------------------------------------------------------------------------------
    def _tell(self, step: int, among: set[int], items: int) -> None:
        """Tell some of a complete step's successors again that it is complete."""
        entry = self._survey.body(0)[step]
        for successor in entry.item_successors:
            if successor in among:
                for lo in range(0, max(1, items), ARRIVALS):
                    self._act("items", step=successor, lo=lo, hi=min(items, lo + ARRIVALS))
        self._portions("arrive", "steps", [s for s in entry.successors if s in among])


# -- garbage ----------------------------------------------------------------------------------------
def collect_garbage(server: StoreServer, run_id: str) -> None:
    """Do what `RunMachine.collect_garbage` promises."""
    survey = _Survey(server.client, run_id)
    generation = int(server.client.hget(key(run_id), "generation") or 0)
    entries = survey.body(0)
    if START not in entries or not entries[START].keeps_outputs_only:
        return
    complete, freed = survey.complete()
    unread_steps = _unread(entries, complete)

    def remove(steps: list[int], names: list[str]) -> bool:
        request = {"generation": generation, "steps": steps, "names": names}
        return not json.loads(server.run("collect_garbage", key(run_id), request)[0])["stale"]

    for portion in wire.portions(sorted(unread_steps - freed), _STEPS_A_SCRIPT):
        if not remove(portion, []):
            return
    for names in wire.portions(_garbage_keys(server.client, run_id, survey, unread_steps), _PORTION):
        if not remove([], names):
            return


def _garbage_keys(client: Any, run_id: str, survey: _Survey, steps: set[int]) -> Iterator[str]:
    """The keys of these steps of the root scope, and of scopes that are closed or skipped."""
    for portion in wire.portions(survey.names(), 500):
        scopes = sorted({scope for _, kind, scope, _ in portion if kind in "obx" and scope != ROOT})
        asked = client.pipeline(transaction=False)
        for scope in scopes:
            asked.hmget(key(run_id, "s", scope), "closed", "skipped")
        closed = {scope for scope, ends in zip(scopes, asked.execute(), strict=True) if any(ends)}
        for name, kind, scope, step in portion:
            if (scope == ROOT and step in steps) or (scope in closed and kind in "obx"):
                yield name


# -- what depends on what -----------------------------------------------------------------------------
def _dependents(
    steps: Iterable[int],
    entries: Mapping[int, StepEntry],
    complete: Container[int],
    freed: Container[int],
) -> set[int]:
    """Steps of a body, all that waits for them, and each incomplete fan-out that one of these follows item by item.

    Which items of it have arrived is not remembered, so it cannot be kept without what follows it. What one of them
    reads and was freed has to be made again as well.
    """
    followed = defaultdict(list)
    for step, entry in entries.items():
        for follower in entry.item_successors:
            followed[follower].append(step)
    cleared, waiting = set[int](), list(steps)
    while waiting:
        step = waiting.pop()
        if step not in cleared:
            cleared.add(step)
            waiting += [*entries[step].successors, *entries[step].item_successors]
            waiting += [other for other in followed[step] if other not in complete]
            waiting += [other for other in entries[step].reads if other in freed]
    return cleared


def _scopes_below(opened: Iterable[Scope], steps: Container[int]) -> dict[str, int]:
    """Return the scopes that these steps of the root scope opened, and those within, each with its body."""
    below = defaultdict(list)
    for scope in opened:
        below[scope.parent].append(scope)
    waiting = [scope for scope in below[ROOT] if scope.step in steps and scope.id != ROOT]
    inside = dict[str, int]()
    while waiting:
        scope = waiting.pop()
        inside[scope.id] = scope.body
        waiting += below[scope.id]
    return inside


def _unread(entries: Mapping[int, StepEntry], complete: Container[int]) -> set[int]:
    """Complete steps of the root scope whose outputs the run does not return, and whose readers are complete too."""
    wanted = {source for step, entry in entries.items() if step not in complete for source in entry.reads}
    return {
        step
        for step, entry in entries.items()
        if step >= 0 and not entry.is_returned and step not in wanted and step in complete
    }


# -- what a run consists of ---------------------------------------------------------------------------
class _Survey:
    """A look at one run. It is not a snapshot: its user has to see to it that what it relies on stays true."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._bodies: dict[int, dict[int, StepEntry]] = {}

    def body(self, body: int) -> dict[int, StepEntry]:
        """The topology of a body by step, START and CLOSE among them."""
        if body not in self._bodies:
            self._bodies[body] = wire.topology_of(dict(self.fields("g", body)))
        return self._bodies[body]

    def fields(self, *parts: object) -> Iterator[tuple[str, bytes]]:
        """The fields of one of the run's hashes."""
        for name, data in self._client.hscan_iter(key(self._run_id, *parts), count=500):
            yield name.decode(), data

    def members(self, *parts: object) -> Iterator[str]:
        """The members of one of the run's sorted sets."""
        for name, _ in self._client.zscan_iter(key(self._run_id, *parts), count=500):
            yield name.decode()

    def complete(self) -> tuple[dict[int, int], set[int]]:
        """The steps of the root scope that are complete, and how many items they have; those that were freed."""
        state, entries = dict(self.fields("s", ROOT)), self.body(0)
        items_of = {step: 0 for step in entries if state.get(str(step), b"").startswith(b"d|")}
        for step, entry in entries.items():
            if entry.over:
                items, done = state.get(f"{step}:n"), state.get(f"{step}:d")
                if items is not None and done is not None and int(done) >= int(items):
                    items_of[step] = int(items)
        freed = {step for step in entries if f"{step}:x" in state}
        is_one_portion = len(entries[START].successors) <= SUCCESSORS
        return items_of | {START: 0} if is_one_portion else items_of, freed

    def scopes(self) -> Iterator[Scope]:
        """The scopes that were opened."""
        for name, record in self.fields("sc"):
            yield wire.scope(name, record)

    def names(self) -> Iterator[tuple[str, str, str, int | None]]:
        """The run's keys below its own: name, kind, scope, and the step that made it, as far as they tell."""
        for found in self._client.sscan_iter(key(self._run_id, "k"), count=500):
            name = found.decode()
            kind, _, rest = name.partition(":")
            scope, _, token = rest.partition(":")
            step = token.partition(".")[0]
            yield name, kind, scope, int(step) if kind in "bx" and step.isdigit() else None
