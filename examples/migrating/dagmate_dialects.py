"""Run workflows of dagmate's two dialects; only the import is new.

Notice that `activate` returns the workflows: each can be called, which runs it here, or passed to `submit`. A schedule
is optional, and a mistake in a file is reported with its line. The project itself does not import dagcelery.
"""

from __future__ import annotations

import os
from pathlib import Path

from dagcelery.compat.dagmate import Dagmate

PROJECT = Path(__file__).parent / "dagmate_project"

if __name__ == "__main__":
    os.chdir(PROJECT)

    older = Dagmate(config_file="app/config.yml")
    training = older.activate()["training"]
    print(training.schedule, training())

    newer = Dagmate(config_file="conf/config.yml")
    inference = newer.activate()["inference"]
    print(inference.schedule, inference())

    from dagcelery import submit
    from dagcelery.local import cluster

    with cluster(workers=1):
        print("on workers:", submit(inference).result(timeout=60))
