"""Run dagorama's example; only the imports are new.

Notice that each decorated method that a decorated method calls becomes a task of its own, and that the four slow ones
are executed in parallel. `launch_workers(4)` starts one Celery worker with four processes, and `launch_broker` a server
for the length of the block; if DAGCELERY_BROKER_URL and DAGCELERY_STORE_URL are set, it does nothing.
"""

from __future__ import annotations

from collections import Counter
from time import sleep, time

from dagcelery.compat.dagorama.decorators import dagorama
from dagcelery.compat.dagorama.definition import DAGDefinition, resolve
from dagcelery.compat.dagorama.runner import launch_workers
from dagcelery.compat.dagorama_broker.launch import launch_broker


class MyTask(DAGDefinition):
    """Four pieces of work, and a summary."""

    @dagorama().syncfn
    def entrypoint(self) -> Counter[int]:
        """Start the work; the calls return promises."""
        results = [self.perform_work(i) for i in range(4)]

        return self.rollup_statuses(results)

    @dagorama().syncfn
    def perform_work(self, identifier: int) -> int:
        """Take a while."""
        sleep(2)
        return identifier // 2

    @dagorama().syncfn
    def rollup_statuses(self, responses: list[int]) -> Counter[int]:
        """Count."""
        return Counter(responses)


def main() -> None:
    """Run it on four processes."""
    with launch_broker():
        start = time()
        task_definition = MyTask()
        instance, promise = task_definition()

        with launch_workers(4, exit_on_completion=True) as workers:
            # Wait for each to quit
            for worker in workers:
                worker.join()
        response = resolve(instance, promise)
        end = time()

    print(f"Response: {response} in {round(end - start, 2)}s")
    assert response == Counter({0: 2, 1: 2})


if __name__ == "__main__":
    main()
