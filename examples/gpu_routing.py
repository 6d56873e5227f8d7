"""Send tasks to the machines that can run them: a tainted task waits for a worker that tolerates its taint.

Notice that the DAG's body does not mention queues. The run goes from ordinary workers to a GPU worker and back, and
since it is a straight line, it is sent as a Celery chain. Start the second worker with
`celery -A dagcelery worker -Q gpu -c 1`.
"""

from __future__ import annotations

from dagcelery import dag, task
from dagcelery.local import cluster


@task
def load(path: str) -> list[float]:
    """Run on any worker."""
    return [float(len(path)), 2.0]


@task(taint="gpu")
def embed(numbers: list[float]) -> list[float]:
    """Run only on workers that consume the queue `gpu`."""
    return [2 * number for number in numbers]


@task
def save(numbers: list[float]) -> str:
    """Run on any worker again."""
    return f"saved {numbers}"


@dag
def pipeline(path: str) -> str:
    """Go from CPU to GPU and back."""
    return save(embed(load(path)))


def main() -> None:
    """Run it on one ordinary worker, and one that serves only the GPU queue."""
    with cluster(workers=1) as local:
        local.start_worker(queues=["gpu"])
        run = pipeline.submit(path="a.txt")
        print(run.result(timeout=60))
        for node in run.status().nodes:
            print(f"  {node.name} on queue {node.queue}")


if __name__ == "__main__":
    main()
