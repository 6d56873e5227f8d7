"""How a store is put together over a server; apart, since each server's module ends in one."""

from __future__ import annotations

from dagcelery.store.fleet import FleetAdapter
from dagcelery.store.machine import MachineAdapter
from dagcelery.store.protocol import ResultCache, Server, Store
from dagcelery.store.reader import ReaderAdapter


def assemble(server: Server, cache: ResultCache) -> Store:
    """Return the store over a server, with a place for cached results."""
    return Store(server, MachineAdapter(server), ReaderAdapter(server), FleetAdapter(server, cache))
