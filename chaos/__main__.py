"""Prove it: ``python -m chaos --runs N --seed S``. The exit code says whether it was proven."""

from __future__ import annotations

import argparse
import random
import sys
import time

from rich.console import Console
from rich.table import Table

from chaos.harness import Report, prove
from chaos.recovery import Recovery, recoveries
from chaos.storm import kinds
from chaos.trials import Trial

TOLD_EVERY = 25
ALL_KINDS_FROM = 100
"""So many runs take long enough for each kind of fault to happen."""


def main() -> None:
    """Run, print the tables, and exit with 0 only if nothing was violated although everything happened."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="how many runs to make")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="what decides runs and faults")
    parser.add_argument("--only", type=int, help="make just the run of this number, again and again: --runs times")
    parser.add_argument("--in-flight", type=int, default=12, help="how many runs at once")
    parser.add_argument("--timeout", type=float, default=90.0, help="seconds after which a run counts as hanging")
    parser.add_argument("--without-recoveries", action="store_true", help="leave out the kills at default settings")
    options = parser.parse_args()
    console = Console()
    console.print(f"seed {options.seed}", highlight=False)
    teller = Teller(console)
    report = prove(
        range(options.runs) if options.only is None else [options.only] * options.runs,
        options.seed,
        in_flight=options.in_flight,
        timeout=options.timeout,
        required=kinds() if options.runs >= ALL_KINDS_FROM else (),
        tell=teller.tell,
    )
    kills = [] if options.without_recoveries else recoveries()
    show(console, report, kills)
    sys.exit(0 if report.is_proof and all(kill.is_kept for kill in kills) else 1)


class Teller:
    """Says how far it is, and what went wrong as soon as it has."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._count = 0

    def tell(self, trial: Trial) -> None:
        """Take note of a run that was examined."""
        self._count += 1
        for violation in trial.violations:
            self._console.print(f"run {trial.case.number} ({trial.case.shape}): {violation}", style="red")
        if self._count % TOLD_EVERY == 0:
            seconds = time.monotonic() - self._started
            self._console.print(f"{self._count} runs in {seconds:.0f} s", style="dim", highlight=False)


def show(console: Console, report: Report, kills: list[Recovery]) -> None:
    """Print what happened."""
    faults = Table("fault", "times", title="faults")
    for kind, times in sorted(report.faults.items()):
        faults.add_row(kind, str(times))
    console.print(faults)
    longest = max((trial.standstill_seconds for trial in report.trials), default=0.0)
    summary = Table("what", "figure", title=f"chaos, seed {report.seed}")
    shapes = ", ".join(f"{count} {shape}" for shape, count in report.shapes().most_common())
    rows = {
        "runs": f"{len(report.trials)} ({shapes})",
        "pieces committed": f"{sum(trial.pieces for trial in report.trials):,}",
        "seconds": f"{report.seconds:.0f}",
        "longest recovery: no piece of a run committed for": f"{longest:.1f} s",
        **{f"recovery at default settings: {kill.death} killed": _shown(kill) for kill in kills},
        "faults that never happened": ", ".join(report.missing) or "none",
        "violations": str(len(report.violations)),
    }
    for what, figure in rows.items():
        summary.add_row(what, figure)
    console.print(summary)
    for violation in report.violations:
        console.print(violation, style="red", soft_wrap=True)
    for trial in (trial for trial in report.trials if trial.violations):
        again = f"python -m chaos --seed {report.seed} --only {trial.case.number} --runs 12"
        console.print(f"again: {again}", highlight=False)


def _shown(kill: Recovery) -> str:
    return f"{kill.seconds:.1f} s, promised {kill.promised_seconds:.0f} s"


if __name__ == "__main__":
    main()
