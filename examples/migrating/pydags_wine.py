"""Run pydags' pipeline of three stages that pass data by name; only the imports are new, and the data is made here.

Notice that `redis_instance=` is optional: without it, values are kept with the run, in memory for `start()`, and runs
never read each other's. With a client, they stand in that Redis, under their names, also for later runs.
"""

from __future__ import annotations

import random
import sys
from statistics import fmean
from typing import Any

import redis

from dagcelery.compat.pydags.pipeline import Pipeline
from dagcelery.compat.pydags.stage import RedisStage

Row = list[float]


class DataIngestor(RedisStage):
    """Makes data of bottles: three kinds of wine, with measurements of each."""

    @staticmethod
    def make_data() -> tuple[list[Row], list[int]]:
        """Return features and targets."""
        chance = random.Random(7)
        targets = [bottle % 3 for bottle in range(90)]
        features = [[chance.gauss(12 + kind, 0.2), chance.gauss(3 - kind, 0.2)] for kind in targets]
        return features, targets

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Write under two names."""
        features, targets = self.make_data()
        self.write("features", features)
        self.write("targets", targets)


class DataPreprocessor(RedisStage):
    """Scales each column to 0..1, and sets a fifth apart for the test."""

    @staticmethod
    def normalize(features: list[Row]) -> list[Row]:
        """Return the features scaled."""
        columns = list(zip(*features, strict=True))
        spans = [(min(column), max(column) - min(column)) for column in columns]
        return [[(x - low) / span for x, (low, span) in zip(row, spans, strict=True)] for row in features]

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Read the data of the stage before, and write for the one after."""
        features = self.normalize(self.read("features"))
        targets = self.read("targets")
        at = len(features) // 5
        self.write(
            "preprocessed_data", {"xte": features[:at], "yte": targets[:at], "xtr": features[at:], "ytr": targets[at:]}
        )


class ModelTrainer(RedisStage):
    """Learns the centre of each kind."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model: dict[int, Row] = {}

    def train_model(self, xtr: list[Row], ytr: list[int]) -> None:
        """Find the centres."""
        for kind in set(ytr):
            rows = [row for row, target in zip(xtr, ytr, strict=True) if target == kind]
            self.model[kind] = [fmean(column) for column in zip(*rows, strict=True)]

    def guess(self, row: Row) -> int:
        """Return the kind whose centre is nearest."""
        return min(self.model, key=lambda kind: sum((a - b) ** 2 for a, b in zip(row, self.model[kind], strict=True)))

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Train, then test."""
        data = self.read("preprocessed_data")
        self.train_model(data["xtr"], data["ytr"])
        right = [self.guess(row) == target for row, target in zip(data["xte"], data["yte"], strict=True)]
        print("Accuracy:", fmean(right))


def build_pipeline(redis_instance: redis.Redis | None = None) -> Pipeline:
    """Put three stages after each other."""
    data_ingestor = DataIngestor(redis_instance=redis_instance)
    data_preprocessor = DataPreprocessor(redis_instance=redis_instance).after(data_ingestor)
    model_trainer = ModelTrainer(redis_instance=redis_instance).after(data_preprocessor)

    pipeline = Pipeline()
    pipeline.add_stages([data_ingestor, data_preprocessor, model_trainer])
    return pipeline


if __name__ == "__main__":
    # The address of a Redis, if there is one: redis://localhost:6379/0
    p = build_pipeline(redis.Redis.from_url(sys.argv[1]) if sys.argv[1:] else None)
    p.visualize()
    p.start()
