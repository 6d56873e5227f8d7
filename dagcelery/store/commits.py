"""How a piece of a run in memory ends: committed, failed, tried again later, skipped, or opened as scopes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping

from dagcelery.store.base import CELL, CLOSE, HOOK, START, Block, Child, Grant, Outcome, Scope, scope_id
from dagcelery.store.ledger import Due, Ledger
from dagcelery.store.recovery import wait_before_next


def remember(
    ledger: Ledger, scope: str, values: Mapping[str, bytes], lists: Mapping[str, int], blocks: Iterable[Block]
) -> None:
    """Keep what a piece, or a run, brings."""
    ledger.values.update({(scope, token): data for token, data in values.items()})
    ledger.lists.update({(scope, token): items for token, items in lists.items()})
    for block in blocks:
        ledger.blocks[scope, block.token][block.lo // CELL].append(block)


def commit(ledger: Ledger, grant: Grant, outcome: Outcome) -> None:
    """Keep what a piece gave, and tell its successors."""
    scope, step, body = grant.scope.id, grant.step, grant.scope.body
    counts = ledger.counts[body, step]
    counts["r"] -= 1 if grant.lo < 0 else grant.hi - grant.lo
    if step == HOOK:
        ledger.hook = ""
        return
    counts["e"] = time.time()
    counts["c"] += outcome.cached
    home = grant.scope.parent if step == CLOSE else scope
    remember(ledger, home, outcome.values, outcome.lists, outcome.blocks)
    if grant.lo >= 0:
        _commit_items(ledger, grant, outcome)
    elif outcome.failure is None and step == CLOSE:
        _close(ledger, grant, outcome)
    elif outcome.failure is None:
        _done_once(ledger, grant.scope, step, grant.attempt, outcome)


def _done_once(ledger: Ledger, scope: Scope, step: int, attempt: int, outcome: Outcome) -> None:
    counts = ledger.counts[scope.body, step]
    counts["d"] += 1
    counts["e"] = time.time()
    ledger.steps[scope.id, step].complete = True
    if step != START:
        ledger.write("done", f"{scope.id}/{step}", scope.body, -1, attempt, outcome.started, outcome.seconds)
        ledger.step_left(scope.id)
    ledger.announce(scope.id, step)


def _commit_items(ledger: Ledger, grant: Grant, outcome: Outcome) -> None:
    scope, step, failed = grant.scope.id, grant.step, outcome.failure is not None
    ledger.give_back(scope, step, outcome.done + failed, grant.hi, grant.attempt - 1)
    if outcome.done > grant.lo or (grant.hi == grant.lo and not failed):
        _log_items(ledger, grant, outcome)
        ledger.items_done(scope, step, grant.lo, outcome.done)


def _log_items(ledger: Ledger, grant: Grant, outcome: Outcome) -> None:
    body, size = grant.scope.body, outcome.done - grant.lo
    if grant.items > 1000:
        ledger.write("done", grant.piece, body, outcome.done, grant.attempt, outcome.started, outcome.seconds)
        return
    for i in range(grant.lo, outcome.done):
        name = f"{grant.scope.id}/{grant.step}/{i}"
        ledger.write("done", name, body, i + 1, grant.attempt, outcome.started, outcome.seconds / size)


def _close(ledger: Ledger, grant: Grant, outcome: Outcome) -> None:
    scope = grant.scope
    ledger.closed.add(scope.id)
    parent = ledger.scopes[scope.parent]
    body = parent.body
    ledger.counts[body, scope.step]["r"] -= 1
    if scope.index < 0:
        _done_once(ledger, parent, scope.step, grant.attempt, outcome)
        return
    name = f"{scope.parent}/{scope.step}/{scope.index}"
    ledger.write("done", name, body, scope.index + 1, grant.attempt, outcome.started, outcome.seconds)
    ledger.items_done(scope.parent, scope.step, scope.index, scope.index + 1)


def open_scope(ledger: Ledger, grant: Grant, child: Child) -> None:
    """Open the scope of one item of a mapped nested DAG, or of a plan that a piece made, once."""
    parent = grant.scope
    scope = scope_id(ledger.id, parent.id, grant.step, child.index)
    if scope in ledger.scopes:
        return
    body = child.plan.body if child.plan else ledger.entry(parent.id, grant.step)["b"]
    if child.plan:
        ledger.add_bodies(body, child.plan.topology)
        ledger.plans[body] = (scope, child.plan.plan)
        # What closes the scope writes in the parent, as a later attempt than any that the parent has had.
        closing = ledger.steps[scope, CLOSE]
        closing.attempts = max(closing.attempts, grant.attempt)
    ledger.scopes[scope] = Scope(scope, parent.id, grant.step, child.index, body, parent.depth + 1)
    ledger.sequence[scope] = len(ledger.sequence)
    ledger.bodies[body] += 1
    remember(ledger, scope, child.values, child.lists, child.blocks)
    ledger.begin(scope)


def fail(ledger: Ledger, grant: Grant, outcome: Outcome, failure: bytes) -> tuple[str, float | None]:
    """Note that a piece failed; answers what became of it, and in how many seconds it is tried again."""
    if grant.step == HOOK:
        return "committed", None
    name = f"{grant.scope.id}/{grant.step}/{outcome.done}" if grant.lo >= 0 else grant.piece
    ledger.condemned.pop(name, None)
    ledger.steps[grant.scope.id, grant.step].lost.pop((-1, -1), None)  # who has failed takes nothing back
    seconds = _retried(ledger, grant, outcome, name, failure)
    if seconds is not None:
        return "retried", seconds
    ledger.failures[name] = failure
    if _is_tolerated(ledger, grant):
        _skip(ledger, grant, outcome, name)
        return "skipped", None
    _stand(ledger, grant, outcome, name)
    return "committed", None


def _write(ledger: Ledger, kind: str, grant: Grant, outcome: Outcome, name: str) -> None:
    ledger.write(kind, name, grant.scope.body, outcome.done + 1, grant.attempt, outcome.started, outcome.seconds)


def _retried(ledger: Ledger, grant: Grant, outcome: Outcome, name: str, failure: bytes) -> float | None:
    policy = outcome.policy or ledger.entry(grant.scope.id, grant.step).get("r")
    ledger.tries[name] += 1
    if ledger.is_over or not outcome.retryable or not policy or ledger.tries[name] >= policy["m"]:
        return None
    seconds = wait_before_next(policy, ledger.tries[name])
    lo, hi = (-1, -1) if grant.lo < 0 else (outcome.done, min(grant.hi, outcome.done + 1))
    ledger.steps[grant.scope.id, grant.step].claimed -= hi - lo
    ledger.due.append(Due(time.time() + seconds, "retry", grant.scope.id, grant.step, lo, hi, grant.attempt))
    ledger.counts[grant.scope.body, grant.step]["w"] += 1
    ledger.failures[f"{name}@{grant.attempt}"] = failure
    _write(ledger, "retried", grant, outcome, name)
    return seconds


def _is_tolerated(ledger: Ledger, grant: Grant) -> bool:
    least = ledger.entry(grant.scope.id, grant.step).get("ms")
    if least is None or grant.hi <= grant.lo:
        return False
    state = ledger.steps[grant.scope.id, grant.step]
    state.skipped += 1
    return bool(state.skipped <= state.items - math.ceil(least * state.items - 1e-6))


def _skip(ledger: Ledger, grant: Grant, outcome: Outcome, name: str) -> None:
    remember(ledger, grant.scope.id, {}, {}, outcome.markers)
    ledger.counts[grant.scope.body, grant.step]["k"] += 1
    _write(ledger, "skipped", grant, outcome, name)
    ledger.items_done(grant.scope.id, grant.step, outcome.done, outcome.done + 1, 1)


def _stand(ledger: Ledger, grant: Grant, outcome: Outcome, name: str) -> None:
    ledger.standing[name] = grant.attempt
    ledger.counts[grant.scope.body, grant.step]["f"] += 1
    _write(ledger, "failed", grant, outcome, name)
    if ledger.is_over:
        return
    ledger.failed = ledger.failed or name
    if not ledger.outlives:
        ledger.end("failed", name)
