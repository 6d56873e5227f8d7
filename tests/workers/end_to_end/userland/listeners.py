"""A user's module that listens to Celery's signals, as tracers and Django do; it writes what it hears to a file."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import signals

_SIGNALS = ("task_prerun", "task_postrun", "task_success", "task_failure")


def _listen(kind: str) -> None:
    def write(sender: Any = None, task_id: str = "", kwargs: Any = None, **more: Any) -> None:
        name = getattr(sender, "name", sender)
        if not name.startswith("dagcelery."):
            told = {"signal": kind, "name": name, "id": task_id, "kwargs": kwargs, "pid": os.getpid()}
            told |= {"state": more.get("state"), "exception": type(more.get("exception")).__name__}
            with open(os.environ["HEARD"], "a") as heard:
                heard.write(json.dumps(told) + "\n")

    getattr(signals, kind).connect(write, weak=False)


for _kind in _SIGNALS:
    _listen(_kind)
