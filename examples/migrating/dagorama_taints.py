"""Restrict a method to workers with a GPU; only the imports are new.

Notice that the run waits, and `resolve` returns None, until a worker starts that tolerates the taint. On other machines
that is `dagcelery worker --toleration GPU`, or `celery -A dagcelery worker -Q GPU`.
"""

from __future__ import annotations

from dagcelery.compat.dagorama.decorators import dagorama
from dagcelery.compat.dagorama.definition import DAGDefinition, resolve
from dagcelery.compat.dagorama.runner import execute_worker
from dagcelery.compat.dagorama_broker.launch import launch_broker


class Inference(DAGDefinition):
    """One method for any machine, and one for some."""

    @dagorama().syncfn
    def entrypoint(self, prompt: str) -> str:
        """Branch on values, which exist when this is executed."""
        return self.generate(prompt) if prompt else ""

    @dagorama(taint_name="GPU").syncfn
    def generate(self, prompt: str) -> str:
        """Run where there is a GPU."""
        return f"{prompt}?"


def main() -> None:
    """Run workers one after the other."""
    with launch_broker():
        instance, promise = Inference()("is it done")

        execute_worker(infinite_loop=False)
        print("without a toleration:", resolve(instance, promise))

        execute_worker(queue_tolerations=["GPU"], infinite_loop=False)
        print("with a toleration:", resolve(instance, promise))


if __name__ == "__main__":
    main()
