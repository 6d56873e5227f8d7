"""A team's module: tasks that make spans of their own, and a tracer provider that writes each span to a file."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from dagcelery import Retry, current, dag, task

SPANS = Path(os.environ.get("SPANS", os.devnull))


class Lines(SpanExporter):
    """Writes each span as one line, which no other process can come in between of."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        lines = "".join(f"{span.to_json(indent=None)}\n" for span in spans)
        file = os.open(SPANS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, lines.encode())
        os.close(file)
        return SpanExportResult.SUCCESS


@worker_process_init.connect(weak=False)
def begin(**_: object) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Lines()))
    trace.set_tracer_provider(provider)


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def fetch(x: int) -> int:
    with trace.get_tracer("http").start_as_current_span("GET"):
        return x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def fetched(n: int) -> int:
    return total([fetch(x) for x in numbers(n)])


@dag
def pair(x: int) -> int:
    return fetch(fetch(x))


@dag
def pairs(n: int) -> int:
    return total([pair(x=x) for x in numbers(n)])


@task(retry=Retry(3, wait=0))
def moody(x: int) -> int:
    if current().attempt < 3:
        raise ValueError(f"not yet {x}")
    return x


@task
def deadly(x: int) -> int:
    if current().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


@task
def fragile(x: int) -> int:
    if not SPANS.with_suffix(".mended").exists():
        raise ValueError("broken")
    return x


@dag
def hardy(x: int) -> int:
    return fetch(fragile(x))


@task
def endless(x: int) -> int:
    while not SPANS.with_suffix(".over").exists():
        time.sleep(0.02)
    return x
