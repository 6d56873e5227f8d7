"""Looking for what was left undone: in a run whose worker lost a child, or in all of them, again and again or once."""

from __future__ import annotations

from collections.abc import Sequence

from dagcelery.errors import SpillUnavailable, StoreUnavailable
from dagcelery.runtime.binding import Binding
from dagcelery.runtime.engine import Engine
from dagcelery.runtime.telling import quiet_logger
from dagcelery.store.records import TERMINAL, Lost, Swept

log = quiet_logger(__name__)

_MOST_RUNS = 1000
_FORGOTTEN_SECONDS = 3600.0
_FILES_SECONDS = 3600.0
"""A run's files may be there this long before the run itself is: a submitter writes large parameters first."""


def look_after(binding: Binding, run_id: str, lost: Lost) -> Swept:
    """Sweep one run: give back what was lost, bring workers to ready work, and let fail what is poisoned."""
    settings, sender = binding.settings, binding.sender
    swept = binding.store.machine.sweep(run_id, lost, settings.dead_seconds, settings.max_deaths)
    for queue in swept.wake_ups:
        sender.visit(run_id, queue, 1)
    for queue, step in swept.poisoned:
        binding.engine.poison(run_id, queue, step)
    if swept.run in TERMINAL:
        binding.engine.ended(run_id, (), swept.run, swept.lasted)
    if swept.held == "limit":
        binding.engine.try_start(run_id)
    if swept.released:
        about = {"action": "swept", "run": run_id, "released": swept.released}
        pieces = "1 piece" if swept.released == 1 else f"{swept.released} pieces"
        # Nobody here can tell a crash from a time limit, or from a process that a cancelled run ended.
        given_back = "run %s: %s given back, because the process or the worker that ran it has ended"
        log.warning(given_back, run_id, pieces, extra=about)
    return swept


def sweep_once(binding: Binding, left: Sequence[str] = ()) -> int:
    """Look at the runs that are due, or at all if a worker has `left`; one that cannot be swept stops no other.

    Answers how many there were.
    """
    store, settings = binding.store, binding.settings
    workers = store.fleet.workers()
    for boot, word in workers.items():
        if word["age"] > _FORGOTTEN_SECONDS:
            store.fleet.retire(boot)
    dead = [boot for boot, word in workers.items() if word["age"] >= settings.dead_seconds]
    alive = {boot: (word["at"], word.get("messages")) for boot, word in workers.items() if boot not in dead}
    lost = Lost(dead, left, alive)
    runs = store.fleet.due(_MOST_RUNS, 0.0 if left else settings.alive_seconds)
    for run_id in runs:
        try:
            look_after(binding, run_id, lost)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("run %s could not be swept", run_id, extra={"action": "sweep_failed", "run": run_id})
    sweep_files(binding.engine)
    return len(runs)


def sweep_files(engine: Engine, wait_seconds: float = _FILES_SECONDS) -> None:
    """Remove the files of runs that are gone: deleted while somebody still wrote, or expired with their keys.

    Who dies in between has removed some of them, and the next one removes the rest.
    """
    if engine.spill is None:
        return
    for run_id in engine.store.fleet.spilled(_MOST_RUNS, wait_seconds):
        if engine.store.reader.record(run_id) is None:
            try:
                engine.spill.remove(run_id)
            except SpillUnavailable as error:
                log.warning("run %s: %s", run_id, error, extra={"action": "sweep_failed", "run": run_id})
            else:
                engine.store.fleet.unspilled(run_id)
