"""Checks of an installation before runs suffer from it: servers, settings and workers, each finding with its remedy.

``dagcelery doctor`` prints the findings, and is fit for a health probe; a starting worker logs the serious ones.
"""

from dagcelery.doctor.checks import CHECKS, log_serious, run_checks
from dagcelery.doctor.context import CheckContext, Finding, Severity

__all__ = ["CHECKS", "CheckContext", "Finding", "Severity", "log_serious", "run_checks"]
