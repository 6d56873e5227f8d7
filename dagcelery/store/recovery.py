"""How a run in memory goes on after deaths, pauses, waits and its own end: what sweep and resume do."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from typing import Any

from dagcelery.store.base import HOOK, RETURNS_A_DEATH, ROOT, Grant, Lost
from dagcelery.store.ledger import Claim, Due, Ledger
from dagcelery.store.wire import MESSAGE_CHARACTERS


# -- what is due -------------------------------------------------------------------------------
def come_due(ledger: Ledger) -> None:
    """Make ready what was put off until now, and condemn what nobody has begun in time."""
    now = time.time()
    for due in sorted(due for due in ledger.due if due.at <= now):
        ledger.due.remove(due)
        if due.kind == "retry":
            _retry_now(ledger, due)
        elif due.kind == "parked":
            _unpark(ledger, due.scope, due.step)
        else:
            _check_start(ledger, due.scope, due.step)


def _retry_now(ledger: Ledger, due: Due) -> None:
    body = ledger.scopes[due.scope].body
    ledger.counts[body, due.step]["w"] -= 1
    if due.lo >= 0:
        ledger.steps[due.scope, due.step].ranges.append((due.lo, due.hi, due.attempts))
    ledger.make_ready(due.scope, due.step)
    ledger.tell(due.scope, due.step)


def park(ledger: Ledger, scope: str, step: int, seconds: float) -> None:
    """Take a step from its queue's list until it is woken, or for `seconds`."""
    waiting = ledger.ready[ledger.entry(scope, step)["q"]]
    at = ledger.position(waiting, f"{scope}/{step}")
    if at is not None:
        del waiting[at]
    ledger.due = [due for due in ledger.due if (due.kind, due.scope, due.step) != ("parked", scope, step)]
    ledger.due.append(Due(time.time() + seconds, "parked", scope, step))


def wake(ledger: Ledger, scope: str, step: int) -> None:
    """Make a parked step ready before its time."""
    for due in [due for due in ledger.due if (due.kind, due.scope, due.step) == ("parked", scope, step)]:
        ledger.due.remove(due)
        _unpark(ledger, scope, step)


def _unpark(ledger: Ledger, scope: str, step: int) -> None:
    if ledger.steps[scope, step].ranges or not ledger.entry(scope, step)["x"]:
        ledger.make_ready(scope, step)
        ledger.tell(scope, step)


def _check_start(ledger: Ledger, scope: str, step: int) -> None:
    state, member, entry = ledger.steps[scope, step], f"{scope}/{step}", ledger.entry(scope, step)
    since, now = ledger.since, time.time()
    if state.attempts or state.claimed:
        return
    if ledger.held or now < since + entry["sw"]:  # nobody could, while it was held or over
        ledger.due.append(Due((now if ledger.held else since) + entry["sw"], "start", scope, step))
    elif ledger.position(ledger.ready[entry["q"]], member) is not None:
        ledger.condemned[member] = "start_within"


def end_if_quiet(ledger: Ledger) -> None:
    """End a run that outlives failures when nothing can be done any more."""
    retries = any(due.kind != "start" for due in ledger.due)
    if ledger.standing and not ledger.is_over and not ledger.claims and not retries and not any(ledger.ready.values()):
        ledger.end("failed", ledger.failed)


# -- what was lost -----------------------------------------------------------------------------
def is_lost(claim: Claim, lost: Lost, wait_seconds: float) -> tuple[bool, bool]:
    """Whether nobody works on a claim any more, and whether its owner may have died of it."""
    boot, process = claim.owner.split(":")[0], ":".join(claim.owner.split(":")[:2])
    if process in lost.dead or boot in lost.dead:
        return True, True
    has_left = process in lost.left or boot in lost.left
    if has_left or lost.alive is None:
        return has_left, False
    if boot not in lost.alive:
        return time.time() - claim.started > wait_seconds, False
    at, messages = lost.alive[boot]
    if messages is None:
        return False, False
    is_over = claim.message[:MESSAGE_CHARACTERS] not in {name[:MESSAGE_CHARACTERS] for name in messages}
    return is_over and claim.started < at - 1, False


def give_back(ledger: Ledger, place: tuple[str, int, int], lost: Lost, deaths: int, *, died: bool) -> None:
    """Make a lost claim's piece ready; a range in two halves: a fatal item is soon alone."""
    scope, step, lo = place
    claim = ledger.claims.pop(place)
    size, state, entry = claim.hi - lo if lo >= 0 else 1, ledger.steps[scope, step], ledger.entry(scope, step)
    ledger.counts[ledger.scopes[scope].body, step]["r"] -= size
    name = f"{scope}/{step}/{lo}" if lo >= 0 else f"{scope}/{step}"
    if lo >= 0:
        state.claimed -= size
    if died and lost.limited and entry.get("tl"):
        if _is_tried_again(ledger, place, claim, name):
            return
        ledger.condemned[name] = "timeout"
    elif size < 2:
        _count_loss(ledger, name, claim.owner, deaths, died=died)
    parts = [(-1, -1)] if lo < 0 else halves(lo, claim.hi)
    state.lost |= dict.fromkeys(parts, claim.owner)
    if lo >= 0:
        state.ranges.extend((a, b, claim.attempt) for a, b in parts)
    ledger.make_ready(scope, step)


def _count_loss(ledger: Ledger, name: str, owner: str, deaths: int, *, died: bool) -> None:
    if died:
        ledger.deaths[name].append(owner)
        if len(ledger.deaths[name]) >= deaths:
            ledger.condemned[name] = "died"
    else:
        ledger.returns[name] += 1
        if ledger.returns[name] >= deaths * RETURNS_A_DEATH:
            ledger.condemned[name] = "returned"


def wait_before_next(policy: Mapping[str, Any], tries: int) -> float:
    """Return the seconds before the next attempt; varied, if the policy says so, lest what failed together comes back
    together.
    """
    try:
        seconds = float(min(policy["c"], policy["b"] * policy["f"] ** (tries - 1))) if policy["b"] else 0.0
    except OverflowError:
        seconds = float(policy["c"])
    return seconds * random.uniform(0.5, 1.0) if policy.get("j") else seconds


def _is_tried_again(ledger: Ledger, place: tuple[str, int, int], claim: Claim, name: str) -> bool:
    scope, step, lo = place
    policy = ledger.entry(scope, step).get("r")
    if not policy or not policy["h"]:
        return False
    ledger.tries[name] += 1
    if ledger.tries[name] >= policy["m"]:
        return False
    seconds = wait_before_next(policy, ledger.tries[name])
    body = ledger.scopes[scope].body
    ledger.due.append(Due(time.time() + seconds, "retry", scope, step, lo, claim.hi, claim.attempt))
    ledger.counts[body, step]["w"] += 1
    took = time.time() - claim.started
    ledger.write("retried", name, body, lo + 1, claim.attempt, claim.started, took)
    return True


def is_claimable(ledger: Ledger, name: str) -> bool:
    """Whether a condemned piece waits for somebody to let it fail."""
    scope, step = name.split("/")[:2]
    waiting = ledger.ready[ledger.entry(scope, int(step))["q"]]
    return ledger.position(waiting, f"{scope}/{step}") is not None


def forgive(ledger: Ledger, grant: Grant, owner: str) -> None:
    """Who speaks lives: a pause that was taken for a death does not count as one."""
    owners = ledger.deaths.get(grant.piece, [])
    if owner in owners:
        owners.remove(owner)


def retake(ledger: Ledger, grant: Grant, owner: str) -> bool:
    """Let a sleeper that was taken for dead commit, if nobody has claimed its piece again."""
    scope, step = grant.scope.id, grant.step
    if scope not in ledger.scopes:  # it was taken back
        return False
    state = ledger.steps[scope, step]
    waiting = ledger.ready[ledger.entry(scope, step)["q"]]
    at = ledger.position(waiting, f"{scope}/{step}")
    if (scope, step, grant.lo) in ledger.claims or at is None:
        return False
    if grant.lo < 0:
        if state.attempts != grant.attempt or state.lost.get((-1, -1)) != owner:
            return False
    else:
        parts = [(lo, hi, grant.attempt) for lo, hi in halves(grant.lo, grant.hi)]
        if not all(part in state.ranges and state.lost.get(part[:2]) == owner for part in parts):
            return False
        for part in parts:
            state.ranges.remove(part)
        state.claimed += grant.hi - grant.lo
    if not state.ranges:
        del waiting[at]
    ledger.counts[grant.scope.body, step]["r"] += 1 if grant.lo < 0 else grant.hi - grant.lo
    ledger.condemned.pop(grant.piece, None)
    return True


def halves(lo: int, hi: int) -> list[tuple[int, int]]:
    """Cut a range in two, unless it is a single item."""
    middle = math.ceil((lo + hi) / 2)
    return [(lo, middle), (middle, hi)] if hi - lo > 1 else [(lo, hi)]


def due_hints(ledger: Ledger, wait_seconds: float, *, is_fresh: bool) -> list[str]:
    """Name queues with ready work; one that was named lately is named again later and later.

    Of a run that is over nothing is called but its hook.
    """
    hints, now = [], time.time()
    queues = {ledger.hook: ledger.ready[ledger.hook]} if ledger.is_over else ledger.ready
    for queue, waiting in queues.items():
        due, last = ledger.sweeps.get(queue, (0.0, 0.0))
        if not waiting:
            ledger.sweeps.pop(queue, None)
        elif now >= due or is_fresh:
            wait = wait_seconds if is_fresh or not last else min(600.0, last * 2)
            ledger.sweeps[queue] = (now + wait, wait)
            hints.append(queue)
    return hints


# -- a new epoch -------------------------------------------------------------------------------
def resume(ledger: Ledger, deadline_seconds: float | None) -> None:
    """Make ready what failed, with a fresh budget of tries, and let the run go on."""
    for name, attempt in sorted(ledger.standing.items(), key=lambda found: (found[1], found[0])):
        _back(ledger, name, attempt)
    for kept in (ledger.standing, ledger.tries, ledger.deaths, ledger.returns, ledger.condemned, ledger.sweeps):
        kept.clear()
    _forget_hook(ledger)
    ledger.since = now = time.time()
    ledger.span = (ledger.span if deadline_seconds is None else deadline_seconds) or None
    ledger.deadline = None if ledger.span is None else now + ledger.span
    ledger.state, ledger.ended, ledger.failed, ledger.reason, ledger.hook = "running", 0.0, "", "", ""
    ledger.started = ledger.started or now
    if ledger.held == "key":  # its submitter went away; whoever resumes it lets it start
        ledger.held = ""
    ledger.epoch += 1
    ledger.write("resumed", "", 0, -1, 0, time.time(), 0.0)
    if not ledger.left[ROOT]:
        ledger.end("done")


def _forget_hook(ledger: Ledger) -> None:
    """What is called at the last end, and who calls it, is no matter of the next end."""
    waiting = ledger.ready[ledger.hook] if ledger.hook else []
    at = ledger.position(waiting, f"{ROOT}/{HOOK}")
    if at is not None:
        del waiting[at]
    ledger.claims.pop((ROOT, HOOK, -1), None)
    ledger.steps[ROOT, HOOK].lost.clear()


def _back(ledger: Ledger, name: str, attempt: int) -> None:
    scope, step, *lo = name.split("/")
    place = scope, int(step)
    state = ledger.steps[place]
    if lo:
        first, some = int(lo[0]), state.items > 0
        state.ranges.append((first, first + some, attempt))
        state.claimed -= some
        state.skipped -= ledger.entry(*place).get("ms") is not None
    ledger.make_ready(*place)
    ledger.counts[ledger.scopes[scope].body, int(step)]["f"] -= 1
    ledger.failures[f"{name}@{attempt}"] = ledger.failures.pop(name)
