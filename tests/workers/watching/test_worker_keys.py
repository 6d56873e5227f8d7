"""Workers say which signing keys they hold, so a run that waits for one of another key says so, and the doctor too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from dagcelery.client import Client
from dagcelery.doctor import CheckContext, run_checks
from dagcelery.doctor.checks import check_queues, check_worker_keys
from dagcelery.local import Cluster, Server
from dagcelery.payload.signing import Keyring, key_of
from dagcelery.settings import Settings

from .vocabulary import square

OURS, OTHER, THIRD = "a key of sixteen letters", "another key so long", "a third key as long as"
ID = {key: Keyring([key]).ids[0] for key in (OURS, OTHER, THIRD)}
NO_WORKER = "no worker listens to queue celery"


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of a broker that takes everything and a store where tests announce workers."""
    made = Client(Settings(broker_url="memory://", store_url=server.url, signing_key=OURS))
    yield made
    made.store.close()  # type: ignore[attr-defined]


def of_key(client: Client, key: str) -> Client:
    """Another process, with this key."""
    return Client(replace(client.settings, signing_key=key))


def why(client: Client, *workers: tuple[str, int, list[str] | None]) -> str:
    """What a run waits for where workers of these queues, processes and keys live."""
    for number, (queues, slots, keys) in enumerate(workers):
        client.store.fleet.heartbeat(f"boot-{number}", queues.split(), slots, [], keys)
    run = client.submit(square, {"x": 2})
    return run.status().nodes[0].why


ONE = "the only worker of queue celery"


@pytest.mark.parametrize(
    ("workers", "told"),
    [
        ([], NO_WORKER),
        ([("celery", 1, [ID[OURS]])], "ready for the only process of queue celery"),
        ([("celery", 1, [ID[OTHER], ID[OURS]])], "ready for the only process of queue celery"),
        ([("celery", 1, None)], "ready for the only process of queue celery"),
        (
            [("celery gpu", 4, [ID[OTHER]])],
            f"{ONE} has another signing key (id {ID[OTHER]}) than this run (id {ID[OURS]})",
        ),
        (
            [("celery", 4, [ID[OTHER], ID[THIRD]])],
            f"{ONE} has another signing key (id {ID[OTHER]}+{ID[THIRD]}) than this run (id {ID[OURS]})",
        ),
        ([("celery", 1, [])], f"{ONE} has no signing key, and this run has one (id {ID[OURS]})"),
        (
            [("celery", 2, [ID[OTHER]]), ("celery", 2, [ID[OTHER]])],
            f"all 2 workers of queue celery have another signing key (id {ID[OTHER]}) than this run (id {ID[OURS]})",
        ),
        (
            [("celery", 2, [ID[OURS]]), ("celery", 2, [ID[OTHER]])],
            "ready for one of 2 processes of queue celery; another worker has another signing key "
            f"(id {ID[OTHER]}) than this run (id {ID[OURS]})",
        ),
        ([("gpu", 1, [ID[OTHER]])], NO_WORKER),
    ],
)
def test_a_run_says_that_the_workers_of_its_queue_have_another_key(
    client: Client, workers: list[tuple[str, int, list[str] | None]], told: str
) -> None:
    assert why(client, *workers) == told


def test_a_run_that_nobody_signed_says_that_workers_have_a_key(client: Client) -> None:
    unsigned = Client(replace(client.settings, signing_key="", imports=(square.fn.__module__,)))
    assert why(unsigned, ("celery", 1, [ID[OTHER]])) == f"{ONE} has a signing key, and this run has none"
    unsigned.store.fleet.heartbeat("boot-0", ["celery"], 1, [], [])
    assert why(unsigned) == "ready for the only process of queue celery"


def test_of_a_run_the_key_counts_that_signed_it_whichever_the_process_signs_with_now(client: Client) -> None:
    run = client.submit(square, {"x": 2})
    client.store.fleet.heartbeat("boot-0", ["celery"], 1, [], [ID[OURS]])
    rotated = of_key(client, f"{OTHER},{OURS}")
    assert type(run)(run.id, client=rotated).status().nodes[0].why == "ready for the only process of queue celery"
    assert ID[OURS] in why(rotated)  # the worker lacks the key that is new


def findings(client: Client) -> list[str]:
    context = CheckContext(client.app_context)
    found = [str(each) for each in run_checks(context, [check_worker_keys, check_queues])]
    context.close()
    return found


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ([OURS], [OURS], ""),
        ([OURS, OTHER], [OTHER, OURS], ""),
        ([OURS], [OTHER], f"have another signing key (id {ID[OTHER]}) than this process (id {ID[OURS]})"),
        ([OURS], [], f"no signing key, and this process has one (id {ID[OURS]})"),
        ([OTHER, OURS], [OURS], f"have another signing key (id {ID[OURS]}) than this process (id {ID[OTHER]})"),
    ],
)
def test_the_doctor_finds_workers_that_cannot_read_what_this_process_signs(
    client: Client, ours: list[str], theirs: list[str], told: str
) -> None:
    here = of_key(client, ",".join(ours))
    for number in range(2):
        here.store.fleet.heartbeat(f"boot-{number}", ["celery"], 1, [], [ID[key] for key in theirs])
    found = findings(here)
    assert [told in each for each in found if "2 of 2 workers of the queue 'celery'" in each] == [True] * bool(told)


def test_the_doctor_says_how_many_workers_of_which_queue_are_wrong_and_asks_none_of_an_older_version(
    client: Client,
) -> None:
    client.store.fleet.heartbeat("boot-0", ["celery", "gpu"], 1, [], [ID[OURS]])
    client.store.fleet.heartbeat("boot-1", ["gpu"], 1, [], [ID[OTHER]])
    client.store.fleet.heartbeat("boot-2", ["gpu"], 1, [])
    (told,) = findings(client)
    assert told.startswith(f"1 of 2 workers of the queue 'gpu' has another signing key (id {ID[OTHER]})")


def test_the_doctor_goes_on_where_a_run_was_signed_with_a_key_that_it_lacks(client: Client) -> None:
    run = client.submit(square, {"x": 2})
    (unread, empty) = findings(of_key(client, OTHER))
    assert unread.startswith(f"1 unfinished runs, such as {run.id}, were signed with a key that is not here")
    assert "no worker is alive" in empty


def test_the_id_of_a_key_says_nothing_of_the_key_and_stands_in_what_it_seals() -> None:
    assert key_of(Keyring([OURS]).seal(b"here", b"body")) == ID[OURS]
    assert key_of(Keyring().seal(b"here", b"body")) == ""
    assert Keyring([OURS, OTHER]).ids == (ID[OURS], ID[OTHER])
    assert not any(part in ID[OURS] for part in OURS.split())


def test_a_worker_announces_the_ids_of_its_keys_as_it_starts(cluster: Cluster) -> None:
    words = list(cluster.client.store.fleet.workers().values())
    assert words
    assert {tuple(word["keys"]) for word in words} == {cluster.client.app_context.keyring.ids}
    assert cluster.signing_key not in str(words)
