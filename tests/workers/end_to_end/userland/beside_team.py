"""A team's app beside which Sentry, OpenTelemetry's instrumentor and JSON logs run, as docs/howto shows them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from celery import Celery, signals
from opentelemetry.sdk.trace import export

from dagcelery import attach

HOWTO = Path(__file__).parents[4] / "docs" / "howto"
PAGES = "".join((HOWTO / f"{name}.md").read_text() for name in ("logs", "sentry", "tracing"))
blocks = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```", PAGES, re.M | re.S))


def follow(name: str) -> dict[str, Any]:
    """Run what the document writes to a file."""
    exec(compile(blocks[name], str(HOWTO), "exec"), names := {"__name__": name})
    return names


class ToFile(export.ConsoleSpanExporter):
    """Writes a line a span."""

    def __init__(self) -> None:
        spans = open(os.environ["SPANS"], "a")  # noqa: SIM115  # as long as the process
        super().__init__(out=spans, formatter=lambda span: span.to_json(indent=None) + "\n")


export.ConsoleSpanExporter = ToFile  # type: ignore[misc]
kept = [follow(name) for name in ("shoplogs", "shopsentry", "shoptraces")]  # Celery's signals hold receivers weakly
if os.environ.get("POOL") == "threads":
    signals.worker_init.connect(kept[-1]["trace_tasks"])

app = Celery("team", broker=os.environ["TEAM_BROKER"], backend=os.environ["TEAM_BACKEND"])
app.conf.update(broker_connection_retry_on_startup=True, include=["beside"])
attach(app)
