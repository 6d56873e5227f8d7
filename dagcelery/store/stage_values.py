"""Where values are kept that the stages of a run hand to each other by name: beside the run, or in files.

What is kept was sealed by its giver; a place knows bytes only. Names are hashed, so that they may be any text.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from dagcelery.errors import RunNotFound
from dagcelery.store.keys import key, stage_value_key
from dagcelery.store.protocol import Store, StoreServer


class StageValues(Protocol):
    """Keeps bytes by run and name; the last ones put count."""

    def put(self, run_id: str, name: str, data: bytes) -> None:
        """Keep bytes under a name, and drop those that it had."""

    def get(self, run_id: str, name: str) -> bytes | None:
        """Return the bytes of that name; None if there are none."""

    def drop(self, run_id: str, name: str) -> None:
        """Delete the bytes of that name, if there are any."""

    def delete_all(self, run_id: str) -> None:
        """Delete what would otherwise stay when a run is over."""


def beside(store: Store) -> StageValues:
    """Return the place beside a store's own runs; the values of a run live as long as the run."""
    return ValuesOfRuns(store.server)


def delete_with(store: Store, values: StageValues, run_id: str) -> None:
    """Delete the values of a run when a store in this process, which its runs do not outlive, comes to its end."""
    if store.server.is_in_process:
        weakref.finalize(store, values.delete_all, run_id)


class ValuesOfRuns:
    """Keeps bytes among the keys of a run, which share its hash tag, its registry and its time to live."""

    def __init__(self, server: StoreServer) -> None:
        self._server = server

    def put(self, run_id: str, name: str, data: bytes) -> None:
        at, client = stage_value_key(name), self._server.client
        ttl = client.hget(key(run_id), "ttl")
        if ttl is None:
            raise RunNotFound(run_id)
        # The registry is what deletes them, and what gives them more time.
        writes = client.pipeline().sadd(key(run_id, "k"), at).expire(key(run_id, "k"), int(ttl))
        writes.set(key(run_id, at), data, ex=int(ttl)).execute()

    def get(self, run_id: str, name: str) -> bytes | None:
        return cast("bytes | None", self._server.client.get(key(run_id, stage_value_key(name))))

    def drop(self, run_id: str, name: str) -> None:
        self._server.client.unlink(key(run_id, stage_value_key(name)))

    def delete_all(self, run_id: str) -> None:
        """The run's own keys are deleted with it."""


@dataclass(frozen=True, slots=True)
class ValuesInFolder:
    """Keeps bytes in files: a folder for each run, a file for each name; a file is whole or not there."""

    folder: str

    def put(self, run_id: str, name: str, data: bytes) -> None:
        path = self._path(run_id, name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, written = tempfile.mkstemp(dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.replace(written, path)
        except BaseException:
            os.unlink(written)
            raise

    def get(self, run_id: str, name: str) -> bytes | None:
        try:
            return self._path(run_id, name).read_bytes()
        except FileNotFoundError:
            return None

    def drop(self, run_id: str, name: str) -> None:
        self._path(run_id, name).unlink(missing_ok=True)

    def delete_all(self, run_id: str) -> None:
        shutil.rmtree(self._path(run_id, "").parent, ignore_errors=True)

    def _path(self, run_id: str, name: str) -> Path:
        return Path(
            self.folder, hashlib.sha256(run_id.encode()).hexdigest()[:32], stage_value_key(name).partition(":")[2]
        )
