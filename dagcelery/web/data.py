"""What the page asks for, as JSON-able data, read through the client. Everything here may block: it runs in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from dagcelery import collector
from dagcelery.bounded import put
from dagcelery.client import Client, Run, answers
from dagcelery.client.history import history
from dagcelery.client.inspection import density
from dagcelery.client.listing import Wanted, page
from dagcelery.client.run import summary as run_summary
from dagcelery.client.status import RunStatus, news, run_status
from dagcelery.errors import DagceleryError, RunNotFound

_LIVE_ROWS: Final = 20
"""Rows of a page of the list of which progress is counted: runs that are not over."""
_PROGRESS_SECONDS: Final = 3.0
_KEPT_SECONDS: Final = 3600.0
_SHARE: Final = 20
"""How many times as long as it took to count a run its numbers are shown in lists."""
_KEPT_ROWS: Final = 2_000

Json = dict[str, Any]


class Data:
    """Answers for one client's runs. What lists say of runs is kept for a while: many pages ask for the same."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rows: dict[tuple[str, int], tuple[float, Json]] = {}
        self._lock = threading.Lock()

    def run(self, run_id: str) -> Run[Any]:
        """Return the handle of a run."""
        return Run(run_id, client=self._client)

    # -- lists ------------------------------------------------------------------------------------
    def runs(self, dag: str, wanted: Wanted, before: str, limit: int) -> Json:
        """A page of the list of runs, newest first."""
        records, following = page(self._client.store, dag, wanted, limit, before)
        return {"runs": self._list(records), "more": bool(following), "before": following or None, "now": time.time()}

    def dag(self, name: str) -> Json:
        """The history of a DAG."""
        found = history(self._client.control, name)
        return {
            "name": name,
            "schedule": found.schedule,
            "runs": self._list(found.records),
            "success": {"done": found.done, "over": found.over},
            "slowest": [{"node": node, "seconds": seconds} for node, seconds in found.slowest],
            "graph": found.graph.to_dict() if found.graph else None,
        }

    def _list(self, records: Any) -> list[Json]:
        live = 0
        rows = []
        for record in records:
            live += not record.is_over
            row = run_summary(record, self.run(record.id)).to_dict()
            rows.append(row | self._about(record, is_counted=record.is_over or live <= _LIVE_ROWS))
        return rows

    def _about(self, record: Any, *, is_counted: bool) -> Json:
        """What else a row says: how far the run is, or what became of it."""
        key, now = (record.id, record.epoch), time.monotonic()
        until, known = self._rows.get(key, (0.0, None))
        if known is not None and now < until and known["over"] == record.is_over:
            return {name: known[name] for name in ("progress", "news")}
        about: Json = {"progress": None, "news": "", "over": record.is_over}
        is_final = record.is_over
        try:
            if record.is_over:
                about["news"] = news(self._client.control, record)
            elif is_counted:
                status = run_status(self._client.control, record.id)
                about |= {"progress": _progress(status), "news": status.news}
        except DagceleryError as error:  # it has expired, or no key here has signed it
            about["news"], is_final = str(error), False
        took = time.monotonic() - now
        lasts = _KEPT_SECONDS if is_final else max(_PROGRESS_SECONDS, _SHARE * took)
        with self._lock:
            put(self._rows, key, (now + took + lasts, about), _KEPT_ROWS)
        return {name: about[name] for name in ("progress", "news")}

    # -- one run ----------------------------------------------------------------------------------
    def whole(self, run_id: str) -> Json:
        """All of a run that its page shows at first."""
        with collector.paused():
            told = answers.whole(self._client.control, run_id)
        return told | {"now": time.time(), "links": self.links(run_id)}

    def node(self, run_id: str, address: str, first: int, limit: int, state: str | None) -> Json:
        """A node or an item, with some of its items."""
        return answers.node(self._client.control, run_id, address, first, limit, state)

    def report(self, run_id: str) -> str:
        """The page of a run as one file."""
        return answers.report(self._client.control, run_id, self.links(run_id))

    def trace(self, run_id: str) -> Json:
        """A run as a trace."""
        return self.run(run_id).trace()

    def density(self, run_id: str, address: str, buckets: int) -> Json:
        """When the items of a node started and ended."""
        return density(self._client.control, run_id, address, buckets).to_dict()

    # -- actions ----------------------------------------------------------------------------------
    def preview(self, run_id: str, action: str, address: str) -> Json:
        """What an action would do."""
        return self.run(run_id).preview(action, address).to_dict()  # type: ignore[arg-type]

    def act(self, run_id: str, action: str, address: str, *, allow_code_change: bool) -> Json:
        """Do it, and return the state of the run then."""
        run = self.run(run_id)
        match action:
            case "cancel":
                run.cancel("cancelled on the page")
            case "resume":
                run.resume(allow_code_change=allow_code_change)
            case "retry":
                run.retry_from(address, allow_code_change=allow_code_change)
            case "delete":
                run.delete()
                return {"state": "deleted"}
        return {"state": str(run.state)}

    def is_over(self, run_id: str) -> bool:
        """Whether a run has ended. Raises RunNotFound."""
        return self.run(run_id).state.is_end

    @staticmethod
    def now() -> float:
        """The time by this process's clock, against which a browser tells how long something takes."""
        return time.time()

    # -- links ------------------------------------------------------------------------------------
    def links(self, run_id: str = "") -> Json:
        """Where else a run is seen; without one the templates, with {run} and {node}."""
        settings = self._client.settings
        # Flower's page takes no search from its address, but a name, and looks for that: what follows it is a search.
        query = "name={run}%20OR%20kwargs:run%3D{run}"
        flower = f"{settings.flower_url.rstrip('/')}/tasks?{query}" if settings.flower_url else None
        templates = {"flower": flower, "trace": settings.trace_link or None, "log": settings.log_link or None}
        if not run_id:
            return templates
        filled = {"{run}": quote(run_id, safe=""), "{node}": ""}
        return {name: link and _filled(link, filled) for name, link in templates.items()}


def _filled(template: str, places: Mapping[str, str]) -> str:
    for place, text in places.items():
        template = template.replace(place, text)
    return template


def _progress(status: RunStatus) -> Json:
    """Count pieces; a node of which it is not known how many it will have counts as one."""
    total = sum(1 if node.total is None else node.total for node in status.nodes)
    return {"done": sum(node.done + node.skipped for node in status.nodes), "total": total}


def check_run_id(run_id: str) -> str:
    """Return a run's id, or raise RunNotFound: nothing else is asked of the store."""
    if len(run_id) != 32 or not set(run_id) <= set("0123456789abcdef"):
        raise RunNotFound(run_id[:100])
    return run_id
