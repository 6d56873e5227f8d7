"""Runs by the clock: DAGs with a schedule become entries of Celery's beat, which submits each once a tick.

A tick is a time that a schedule names. Its run has a key made of the DAG's name and that time, so that several beats,
or one that dies while it submits, start one run.
"""

from dagcelery.schedule.clock import Clock
from dagcelery.schedule.found import Scheduled, of_app, of_files

__all__ = ["Clock", "Scheduled", "of_app", "of_files"]
