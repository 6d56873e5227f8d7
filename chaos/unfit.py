"""Workers beside the others that lack what runs need: one the signing key, one the code of some functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from chaos.graphs import LACKS
from dagcelery.local import Cluster
from dagcelery.local.cluster import WorkerOptions
from dagcelery.testing.faults import FaultyCluster

UNFIT: Final = ({"DAGCELERY_SIGNING_KEY": "of another installation"}, {LACKS: "mix elsewhere weigh growth"})


@contextmanager
def unfit_workers(faulty: FaultyCluster) -> Iterator[None]:
    """Run them on all queues for the time of the block; nothing is done to them but what is done to the server."""
    local = faulty.local
    options = [WorkerOptions(environment={**local.environment, **each}, log_level="ERROR") for each in UNFIT]
    clusters = [Cluster(local.server, local.queues, each) for each in options]
    with ExitStack() as stopping:
        for each in clusters:
            stopping.callback(each.stop_workers)
        with ExitStack() as booting:
            for each in clusters:
                booting.enter_context(each.starting_worker(1))
        yield
