"""What workers refuse is told by the status and the doctor; a sweep by hand sends a message for all that is ready."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dagcelery.client import Client
from dagcelery.doctor import CheckContext, Severity, run_checks
from dagcelery.doctor.checks import check_refusals
from dagcelery.local import Server
from dagcelery.payload.signing import Keyring
from dagcelery.settings import Settings
from dagcelery.store.protocol import Store
from dagcelery.store.records import ClaimRequest
from dagcelery.worker.heartbeat import Looked, sweep_all, sweep_once

from .vocabulary import square

LACKS = "lacks module 'm' (ModuleNotFoundError: No module named 'm')"
OTHER = Keyring(["another key so long"]).ids
ONE = "the only worker of queue celery"


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of a broker that takes everything and a store where tests are the workers."""
    made = Client(Settings(broker_url="memory://", store_url=server.url, signing_key="a key of sixteen letters"))
    yield made
    made.store.close()  # type: ignore[attr-defined]


def refused(store: Store, run_id: str, number: int, why: str, *, is_claimed: bool = True) -> None:
    """A worker refuses the run's only piece, or the run."""
    owner = f"boot-{number}:1"
    claim = store.machine.claim(run_id, ClaimRequest("celery", owner, owner)).claim if is_claimed else None
    store.machine.refuse(run_id, "celery", owner, [], why, claim)


@pytest.mark.parametrize(
    ("slots", "strangers", "whys", "told"),
    [
        ([2], 0, [LACKS], f"{ONE} {LACKS}"),
        ([1, 1], 0, [LACKS, LACKS], f"all 2 workers of queue celery {LACKS.replace('lacks', 'lack')}"),
        (
            [1, 1, 1],
            0,
            [LACKS, LACKS, "has other code"],
            f"all 3 workers of queue celery refuse it: 2 {LACKS.replace('lacks', 'lack')}; 1 has other code",
        ),
        ([1, 3], 0, [LACKS], f"ready for one of 3 processes of queue celery; another worker {LACKS}"),
        ([1], 1, [LACKS], "all 2 workers of queue celery refuse it: 1 has another signing key"),
        ([1], 0, [], "ready for the only process of queue celery"),
    ],
)
def test_a_node_says_what_the_workers_of_its_queue_lack(
    client: Client, slots: list[int], strangers: int, whys: list[str], told: str
) -> None:
    ours = client.app_context.keyring.ids
    for number, processes in enumerate(slots):
        client.store.fleet.heartbeat(f"boot-{number}", ["celery"], processes, [], ours)
    for number in range(strangers):
        client.store.fleet.heartbeat(f"strange-{number}", ["celery"], 1, [], OTHER)
    run = client.submit(square, {"x": 2})
    for number, why in enumerate(whys):
        refused(client.store, run.id, number, why)
    assert run.status().nodes[0].why.startswith(told)


def test_a_run_says_that_a_worker_cannot_read_it_once_and_no_more_when_that_worker_has_gone(client: Client) -> None:
    client.store.fleet.heartbeat("boot-0", ["celery"], 1)
    run = client.submit(square, {"x": 2})
    refused(client.store, run.id, 0, "reads plans of version 1", is_claimed=False)
    assert run.status().nodes[0].why == f"{ONE} reads plans of version 1"
    client.store.fleet.retire("boot-0")
    assert run.status().nodes[0].why == "no worker listens to queue celery"


def test_the_doctor_says_which_workers_lack_what_runs_need(client: Client) -> None:
    client.store.fleet.heartbeat("boot-0", ["celery"], 1)
    run = client.submit(square, {"x": 2})
    refused(client.store, run.id, 0, LACKS)
    for others in (0, 1):
        for number in range(others):
            client.store.fleet.heartbeat(f"boot-{number + 1}", ["celery"], 1)
        context = CheckContext(client.app_context)
        (found,) = run_checks(context, [check_refusals])
        context.close()
        told = f"1 of {1 + others} workers of the queue 'celery' {LACKS}, so work is left undone of 1 unfinished run"
        assert f"{told}, such as {run.id}" in str(found)
        assert found.severity is (Severity.WARNING if others else Severity.SERIOUS)


def test_a_sweep_by_hand_looks_at_everything_each_time(client: Client) -> None:
    client.store.fleet.heartbeat("boot-0", ["celery"], 1)
    for _ in range(3):
        client.submit(square, {"x": 2})
    for _ in range(2):
        assert sweep_all(client.app_context) == Looked(runs=3, wake_ups=3)


def test_a_sweep_sends_what_was_refused_to_as_many_processes_as_are_free(client: Client) -> None:
    client.store.fleet.heartbeat("boot-0", ["celery"], 2, ["an hour"])
    client.store.fleet.heartbeat("boot-1", ["celery"], 1, ["an hour"])
    runs = [client.submit(square, {"x": 2}) for _ in range(3)]
    assert sweep_once(client.app_context, ["all"]).wake_ups == 3
    for run in runs:
        refused(client.store, run.id, 1, LACKS)
    assert sweep_once(client.app_context, ["all"]) == Looked(runs=3, wake_ups=1)
