"""Read workflows from a YAML file, and run one of them.

Notice that the project itself does not import dagcelery: steps are plain functions, and the file says how they depend
on each other. `dagcelery config check conf/config.yml`, in this folder, checks the file without a program.
"""

from __future__ import annotations

from pathlib import Path

from dagcelery import errors, invoke
from dagcelery.frontends.yaml import load

HERE = Path(__file__).parent

if __name__ == "__main__":
    training, inference = load(HERE / "conf" / "config.yml", root=HERE)
    print(inference.schedule, invoke(inference))
    try:
        invoke(training)
    except errors.NodeFailed as error:
        print(error)
