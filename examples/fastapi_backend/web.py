"""Runs behind a web interface: submit with an idempotency key, inspect, watch, fetch the result, cancel.

Notice that handlers do not block the event loop, and that waiting for a result or for events takes no thread. A client
that repeats a request with the same key gets the same run. A browser's `EventSource` that lost its connection continues
after the last event that it has seen, with any process of this app: it sends `Last-Event-ID`. This app has no state
outside the store, so there may be many processes of it, and each may be restarted.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field

from dagcelery import Run, aruns, asubmit, errors
from fastapi_backend.estimates import estimate

log = logging.getLogger(__name__)
app = FastAPI(title="Estimates of pi")

ANSWERS: dict[type[errors.DagceleryError], int] = {
    errors.ResultTimeout: 202,
    errors.RunNotFound: 404,
    errors.KeyReused: 409,
    errors.RunCancelled: 410,
    errors.RunTimedOut: 410,
    errors.LimitExceeded: 413,
    errors.InvalidParameters: 422,
    errors.NodeFailed: 500,
    errors.StoreUnavailable: 503,
    errors.BrokerUnavailable: 503,
}
"""The status code for an error; subclasses that are not listed get that of their base."""


class Wanted(BaseModel):
    """The parameters of an estimate. They are checked here, since dagcelery does not check annotations."""

    model_config = ConfigDict(extra="forbid")
    parts: int = Field(default=10, ge=1, le=10_000)
    throws: int = Field(default=1_000, ge=1, le=10_000_000)


@app.exception_handler(errors.DagceleryError)
async def answer(request: Request, error: errors.DagceleryError) -> JSONResponse:
    """Tell clients about mistakes in their requests; errors on this side only go into the log."""
    status = next((ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS), 500)
    told = {"error": type(error).__name__}
    if status < 500:
        told["detail"] = str(error)
    else:
        log.error("%s %s: %s", request.method, request.url.path, error)
    return JSONResponse(told, status, {"Retry-After": "1"} if status in (202, 503) else None)


@app.get("/health")
async def health() -> dict[str, bool]:
    """Return whether this process reaches the store; 503 if it does not."""
    await aruns(limit=1)
    return {"well": True}


@app.post("/estimates", status_code=202)
async def submit(
    wanted: Wanted, response: Response, idempotency_key: Annotated[str, Header(min_length=1, max_length=200)]
) -> dict[str, str]:
    """Start an estimate. With the same key again, return the same run; 409 if the parameters differ."""
    run = await asubmit(estimate, wanted.model_dump(), key=idempotency_key, deadline=3600)
    response.headers["Location"] = f"/runs/{run.id}"
    return {"id": run.id}


@app.get("/runs/{run_id}")
async def status(run_id: str) -> dict[str, Any]:
    """Return the progress of the run and of each node, and why a node waits."""
    return (await Run[float](run_id).astatus()).to_dict()


@app.get("/runs/{run_id}/result")
async def result(run_id: str, wait: Annotated[float, Query(ge=0, le=30)] = 0) -> dict[str, float]:
    """Return the result; wait for it up to `wait` seconds, then answer 202."""
    return {"result": await Run[float](run_id).aresult(timeout=wait)}


@app.post("/runs/{run_id}/cancel")
async def cancel(run_id: str) -> dict[str, str]:
    """Cancel the run; one that is over does not change."""
    return {"state": await Run[float](run_id).acancel("by a client")}


async def watched(
    run_id: str, last_event_id: Annotated[str, Header(pattern=r"^([0-9]{1,19}-[0-9]{1,19})?$")] = ""
) -> tuple[Run[float], str]:
    """Find a run before its stream begins, while there can still be another answer.

    A browser reconnects whenever a stream ends; 204 stops it once it has seen the end.
    """
    run: Run[float] = Run(run_id)
    if (await run.await_(timeout=0)).is_end:
        async with aclosing(run.aevents(last_event_id, follow=False)) as events:
            if await anext(events, None) is None:
                raise HTTPException(204)
    return run, last_event_id


@app.get("/runs/{run_id}/events", response_class=EventSourceResponse)
async def events(found: Annotated[tuple[Run[float], str], Depends(watched)]) -> AsyncIterator[ServerSentEvent]:
    """Send events until the run is over, as server-sent events."""
    run, after = found
    async with aclosing(run.aevents(after)) as told:
        async for event in told:
            yield ServerSentEvent(data=event.to_dict(), event=event.kind, id=event.position)
