"""How a store is put together over a server; apart, since each server's module ends in one."""

from __future__ import annotations

from dagcelery.store.fleet import FleetAdapter
from dagcelery.store.protocol import ResultCache, Store, StoreServer
from dagcelery.store.reader import ReaderAdapter
from dagcelery.store.run_machine import MachineAdapter


def assemble(server: StoreServer, cache: ResultCache) -> Store:
    """Return the store over a server, with a place for cached results."""
    return Store(server, MachineAdapter(server), ReaderAdapter(server), FleetAdapter(server, cache))
