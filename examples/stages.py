"""Collect stages in a pipeline, and say which come after which.

Notice that stages do not pass values to each other as functions do: a `RedisStage` writes them under a name, for the
stages of the same run. Calling a function twice makes two stages. `pipeline.start(num_cores=2)` uses two processes on
this machine, and `pipeline.visualize()` draws the pipeline.
"""

from __future__ import annotations

from dagcelery import Pipeline, RedisStage, stage


@stage
def announce(text: str) -> None:
    """Print; stages may take literals."""
    print(text)


class Power(RedisStage):
    """A stage with a state, set by its constructor."""

    def __init__(self, exponent: int) -> None:
        super().__init__()
        self.exponent = exponent

    def run(self) -> None:
        """Keep a value for later stages."""
        self.write(f"power {self.exponent}", 2**self.exponent)


class Largest(RedisStage):
    """A stage that reads the values of others."""

    def run(self) -> None:
        """Compare."""
        print("the largest is", max(self.read(f"power {exponent}") for exponent in (3, 4, 5)))


def build() -> Pipeline:
    """Return a new pipeline; pipelines share nothing."""
    first = announce("started")
    powers = [Power(exponent).after(first) for exponent in (3, 4, 5)]
    largest = Largest().after(*powers)
    made = Pipeline("powers")
    made.add_stages([first, *powers, largest, announce("done").after(largest)])
    return made


pipeline = build()

if __name__ == "__main__":
    pipeline.visualize()
    pipeline.start()
