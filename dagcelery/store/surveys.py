"""What a run on Redis consists of, read in portions: topology, what is complete, scopes, the names of keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from dagcelery.store.base import ROOT, START


class Survey:
    """A look at one run. It is no snapshot: what must stay true while one looks, its user has to see to."""

    def __init__(self, client: Any, key: Callable[..., str]) -> None:
        self._client = client
        self._key = key
        self._bodies: dict[int, dict[int, dict[str, Any]]] = {}

    def body(self, body: int) -> dict[int, dict[str, Any]]:
        """The topology of a body by step, START and CLOSE among them."""
        if body not in self._bodies:
            texts = dict(self.fields("g", body))
            entries = {int(name): json.loads(text) for name, text in texts.items() if name.lstrip("-").isdigit()}
            for step, entry in entries.items():
                portions = range(entry.get("more", 0) + 1) if "s" not in entry else ()
                entry.setdefault("s", [s for number in portions for s in json.loads(texts[f"{step}:{number}"])])
                entry.setdefault("se", [])
            self._bodies[body] = entries
        return self._bodies[body]

    def fields(self, *parts: object) -> Iterator[tuple[str, bytes]]:
        """The fields of one of the run's hashes."""
        for name, data in self._client.hscan_iter(self._key(*parts), count=500):
            yield name.decode(), data

    def members(self, *parts: object) -> Iterator[str]:
        """The members of one of the run's sorted sets."""
        for name, _ in self._client.zscan_iter(self._key(*parts), count=500):
            yield name.decode()

    def complete(self) -> tuple[dict[int, int], set[int]]:
        """The steps of the root scope that are complete, and how many items they have; those that were freed."""
        state, entries = dict(self.fields("s", ROOT)), self.body(0)
        found = {step: 0 for step in entries if state.get(str(step), b"").startswith(b"d|")}
        for step, entry in entries.items():
            if entry["x"]:
                items, done = state.get(f"{step}:n"), state.get(f"{step}:d")
                if items is not None and done is not None and int(done) >= int(items):
                    found[step] = int(items)
        freed = {step for step in entries if f"{step}:x" in state}
        return found if "more" in entries[START] else found | {START: 0}, freed

    def scopes(self) -> Iterator[tuple[str, str, int, int]]:
        """The scopes that were opened: name, parent, step there, body."""
        for name, record in self.fields("sc"):
            parent, step, _, body, *_ = record.decode().split("/")
            yield name, parent, int(step), int(body)

    def names(self) -> Iterator[tuple[str, str, str, int | None]]:
        """The run's keys below its own: name, kind, scope, and the step that made it, as far as they tell."""
        for found in self._client.sscan_iter(self._key("k"), count=500):
            name = found.decode()
            kind, _, rest = name.partition(":")
            scope, _, token = rest.partition(":")
            step = token.partition(".")[0]
            yield name, kind, scope, int(step) if kind in "bx" and step.isdigit() else None
