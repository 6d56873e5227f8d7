"""What is too large for one script is written ahead, in portions, under names that are not read before the commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, groupby, starmap
from typing import Any

from dagcelery.store import wire
from dagcelery.store.records import CELL, CHUNK_BYTES, ROOT, Block, ChildPlan, Topology
from dagcelery.store.wire import FEW, STAGED


class Staging:
    """Stages through `run`, which runs a verb on a run. Only before a run is created need its `ttl` be told."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def fields(self, run_id: str, name: str, fields: Iterable[tuple[str, bytes]], ttl: int | None = None) -> None:
        """Write fields of one key."""
        for portion in wire.bounded(fields):
            request = {"key": name, "fields": [field for field, _ in portion], "ttl": ttl}
            self._run("stage", run_id, request, *(data for _, data in portion))

    def plan(self, run_id: str, plan: bytes, ttl: int) -> None:
        """Write the sealed plan, in chunks."""
        self.fields(run_id, "plan", chunks(plan), ttl)

    def topology(self, run_id: str, topology: Topology, ttl: int) -> None:
        """Write how each body's steps hang together."""
        for number, body in enumerate(topology):
            self.fields(run_id, f"g:{number}", wire.topology_fields(body), ttl)

    def child_plan(self, run_id: str, scope: str, made: ChildPlan) -> None:
        """Write a plan that a piece made, under a number of its own: it is read once its scope is opened."""
        parts = [(f"plan:{number}", data) for number, data in chunks(made.plan)]
        about = [("of", f"{scope}/{len(parts)}".encode())]
        for number, body in enumerate(made.topology):
            plan = (*about, *parts) if number == 0 else ()
            self.fields(run_id, f"g:{made.body + number}", chain(wire.topology_fields(body), plan))

    def parameters(self, run_id: str, values: Mapping[str, bytes], ttl: int) -> dict[str, bytes]:
        """Write a new run's values, unless they are small: those are given back."""
        if len(values) <= FEW and sum(map(len, values.values())) <= CHUNK_BYTES:
            return dict(values)

        def field(token: str, data: bytes) -> tuple[str, bytes]:
            if len(data) > CHUNK_BYTES:
                data = self._stage_apart(run_id, f"x:{ROOT}:{token}@0", data, ttl)
            return token, data

        self.fields(run_id, f"o:{ROOT}", starmap(field, values.items()), ttl)
        return {}

    def values(self, run_id: str, scope: str, attempt: int | str, values: Mapping[str, bytes]) -> dict[str, bytes]:
        """Write the values that are too large in chunks; answer what the commit shall store for all."""
        if not values:
            return {}
        small, large = wire.split_by_size(values)
        for token, data in large.items():
            small[token] = self._stage_apart(run_id, f"x:{scope}:{token}@{attempt}", data)
        return small

    def blocks(self, run_id: str, scope: str, attempt: int, blocks: Iterable[Block], ttl: int | None = None) -> None:
        """Write blocks of lists, under the key of the attempt that made them."""

        def field(block: Block) -> tuple[str, bytes]:
            data = block.data
            if len(data) > CHUNK_BYTES:
                data = self._stage_apart(run_id, f"x:{scope}:{block.token}@{block.attempt}:{block.lo}", data, ttl)
            return f"{block.lo}:{block.hi}:{block.attempt}", data

        for (token, cell), group in groupby(blocks, lambda b: (b.token, b.lo // CELL)):
            self.fields(run_id, f"b:{scope}:{token}@{attempt}:{cell}", map(field, group), ttl)

    def _stage_apart(self, run_id: str, name: str, data: bytes, ttl: int | None = None) -> bytes:
        self.fields(run_id, name, chunks(data), ttl)
        return STAGED + name.encode()


def chunks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Cut bytes into numbered fields."""
    for number, at in enumerate(range(0, len(data), CHUNK_BYTES)):
        yield str(number), data[at : at + CHUNK_BYTES]
