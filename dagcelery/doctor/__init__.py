"""Looks for what is wrong with an installation before runs do: servers, settings and workers, one function a check.

Each finding comes with its remedy. ``dagcelery doctor`` prints them, and is fit for a health probe; workers say what is
serious when they start.
"""

from dagcelery.doctor.examination import CHECKS, examine, tell
from dagcelery.doctor.findings import Finding, Severity
from dagcelery.doctor.patient import Patient

__all__ = ["CHECKS", "Finding", "Patient", "Severity", "examine", "tell"]
