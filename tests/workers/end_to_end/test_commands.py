"""What `celery control` changes of a worker is announced with its next beat: the queues, and how many processes."""

from __future__ import annotations

from pathlib import Path

import hardships

from dagcelery.local import Cluster

from .hard import SECONDS, eventually


def test_queues_and_processes_are_announced_as_they_are_now(tmp_path: Path, hard: Cluster) -> None:
    def word() -> tuple[str, list[str], int]:
        words = hard.client.store.fleet.workers().items()
        return next((name, word["queues"], word["slots"]) for name, word in words if "scaled" in word["queues"])

    worker = hard.start_worker(1, queues=["scaled"])
    try:
        control, name = hard.client.app_context.app.control, word()[0].partition("~")[0]
        control.add_consumer("further", destination=[name])
        control.pool_grow(2, destination=[name])
        eventually(lambda: word()[1:] == (["scaled", "further"], 3))
        run = hardships.tell.options(queue="further").submit(folder=str(tmp_path), x=1, word="told")
        assert run.result(SECONDS) == 1
        eventually(lambda: (control.inspect([name]).active() or {}).get(name) == [])  # busy ones are not taken away
        control.cancel_consumer("further", destination=[name])
        control.pool_shrink(2, destination=[name])
        # Celery lets processes go in their own time, and beside RabbitMQ one may stay.
        eventually(lambda: word()[1] == ["scaled"] and word()[2] < 3)
    finally:
        worker.stop()
