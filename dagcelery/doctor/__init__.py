"""Looks for what is wrong with an installation before runs do: servers, settings and workers, one function a check.

Each finding comes with its remedy. ``dagcelery doctor`` prints them, and is fit for a health probe; workers say what is
serious when they start.
"""

from dagcelery.doctor.checks import CHECKS, examine, tell
from dagcelery.doctor.context import Finding, Patient, Severity

__all__ = ["CHECKS", "Finding", "Patient", "Severity", "examine", "tell"]
