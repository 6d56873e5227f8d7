"""A master that dies in mid-run: its replica takes over, the run goes on by itself, and no piece is charged with it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import hardships
import pytest
from hardships import traces

from dagcelery import Run
from dagcelery.client import set_default
from dagcelery.local import Cluster, cluster
from dagcelery.store.keys import Keys

from .hard import eventually
from .several_servers import Nodes, Sentinels, nodes, sentinels, store_client
from .surroundings import CHOSEN

KINDS: dict[str, Callable[[], Any]] = {"sentinel": sentinels, "cluster": partial(nodes, 3)}
SECONDS, ITEMS = 90.0, 300

pytestmark = pytest.mark.skipif(
    CHOSEN not in KINDS, reason="only with DAGCELERY_TEST_SURROUNDINGS=sentinel or cluster, see make test-matrix"
)

Site = tuple[Cluster, Sentinels | Nodes]


@contextmanager
def site(*, is_broker: bool = False) -> Iterator[Site]:
    """Servers with replicas, and two workers whose settings are the usual ones."""
    with KINDS[CHOSEN]() as servers:
        addresses = {"DAGCELERY_STORE_URL": servers.url} | ({"DAGCELERY_BROKER_URL": servers.url} if is_broker else {})
        with cluster(workers=0, environment=addresses, log_level="INFO") as local:
            replaced = set_default(local.client)
            local.start_worker(2)
            local.start_worker(2)
            yield local, servers
            set_default(replaced)


def pause(folder: Path, since: float) -> float:
    """How long nothing began after a moment, at most."""
    moments = sorted(moment for each in traces(folder) if (moment := float(each.split()[1])) > since)
    return max(later - earlier for earlier, later in zip([since, *moments], moments, strict=False))


def charged(servers: Sentinels | Nodes, run: Run[Any]) -> list[str]:
    """Deaths and tries that pieces were charged with."""
    with store_client(servers.url) as client:
        counted = client.hgetall(Keys().run(run.id, "y"))
    return [name.decode() for name in counted if not name.endswith(b":g")]


def report(capsys: pytest.CaptureFixture[str], what: str, folder: Path, died: float) -> None:
    """Print how long the pause was, and how many pieces were executed again."""
    done = [each.split()[0] for each in traces(folder)]
    seconds, again = pause(folder, died), len(done) - len(set(done))
    with capsys.disabled():
        print(f"\n{CHOSEN}, {what}: went on after {seconds:.1f} s, {again} of {ITEMS} pieces done twice")


@pytest.mark.parametrize("is_broker", [False, True] if CHOSEN == "sentinel" else [False])
def test_a_run_goes_on_at_the_new_master(tmp_path: Path, capsys: pytest.CaptureFixture[str], is_broker: bool) -> None:
    with site(is_broker=is_broker) as (local, servers):
        run = hardships.stamped_items.submit(folder=str(tmp_path), n=ITEMS)
        seen: list[Any] = []
        watching = threading.Thread(target=lambda: seen.extend(run.events()), daemon=True)
        watching.start()
        eventually(lambda: len(traces(tmp_path)) > ITEMS // 5)
        died = time.time()
        servers.kill_master(Keys().run(run.id))
        assert run.result(SECONDS) == list(range(ITEMS))
        report(capsys, "store and broker" if is_broker else "store", tmp_path, died)
        assert charged(servers, run) == []
        assert list(run.errors()) == []
        watching.join(SECONDS)
        assert seen[-1].kind == "ended"
        assert asyncio.run(run.aresult(SECONDS)) == list(range(ITEMS))
        assert local.client.runs()[0].run == run


def test_what_was_acknowledged_and_not_replicated_is_done_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with site() as (_, servers):
        run = hardships.stamped_items.submit(folder=str(tmp_path), n=ITEMS)
        eventually(lambda: len(traces(tmp_path)) > ITEMS // 10)
        servers.part(Keys().run(run.id))
        eventually(lambda: len(traces(tmp_path)) > ITEMS // 3)
        died = time.time()
        servers.kill_master(Keys().run(run.id))
        assert run.result(SECONDS) == list(range(ITEMS))
        report(capsys, "with writes that were not replicated", tmp_path, died)
        assert charged(servers, run) == []
        assert list(run.errors()) == []
