"""What stands between the adapters and their server, and sees each call of a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from dagcelery.store.protocol import Call, Store, StoreServer
from dagcelery.store.run_adapters import assemble

Around = Callable[..., Any]
"""Called with what calls the script, its verb, the key, the request and the payloads; answers what the script does."""


class Between:
    """A server whose scripts are called by `around`, or not; everything else is the server's own."""

    def __init__(self, server: StoreServer, around: Around) -> None:
        self._server = server
        self._around = around

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def run(self, verb: str, key: str, request: Mapping[str, Any], *payloads: bytes) -> Any:
        call = partial(self._server.run, verb, key, request, *payloads)
        return self._around(call, verb, key, request, *payloads)

    def run_together(self, calls: Sequence[Call]) -> list[Any]:
        return [self.run(*call) for call in calls]


def between(store: Store, around: Around) -> Store:
    """The same store, whose scripts are called by `around`."""
    server: Any = Between(store.server, around)
    return assemble(server, store.fleet.cache)
