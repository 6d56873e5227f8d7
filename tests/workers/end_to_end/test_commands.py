"""What `celery control` changes of a worker is announced with its next beat: the queues, and how many processes."""

from __future__ import annotations

from pathlib import Path

import hardships

from dagcelery.local import Cluster

from .hard import SECONDS, eventually


def test_queues_and_processes_are_announced_as_they_are_now(tmp_path: Path, hard: Cluster) -> None:
    def word() -> tuple[str, list[str], int]:
        words = hard.client.store.fleet.workers().items()
        return next((name, word["queues"], word["slots"]) for name, word in words if "solo" in word["queues"])

    control, name = hard.client.app_context.app.control, word()[0].partition("~")[0]
    control.add_consumer("further", destination=[name])
    control.pool_grow(2, destination=[name])
    eventually(lambda: word()[1:] == (["solo", "further"], 3))
    run = hardships.tell.options(queue="further").submit(folder=str(tmp_path), x=1, word="told")
    assert run.result(SECONDS) == 1
    eventually(lambda: (control.inspect([name]).active() or {}).get(name) == [])  # a busy process is not taken away
    control.cancel_consumer("further", destination=[name])
    control.pool_shrink(2, destination=[name])
    eventually(lambda: word()[1:] == (["solo"], 1))
