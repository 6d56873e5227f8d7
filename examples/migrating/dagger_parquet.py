"""Give each key of a py-dagger task's result a format of its own: `pip install 'dagcelery[arrow]' pandas`.

Notice that you need not write `AsParquet` yourself any more. Yours would work as well: a serializer is still an object
with `extension`, `serialize(value, writer)` and `deserialize(reader)`.
"""

from __future__ import annotations

import pandas as pd

from dagcelery import AsParquet
from dagcelery.compat.dagger.dsl import DAG, Serialize, build, task
from dagcelery.compat.dagger.runtime.local import invoke


@task(serializer=Serialize(training=AsParquet(), testing=AsParquet()))
def split_training_test_datasets(rows: int) -> dict[str, pd.DataFrame]:
    """Return two tables."""
    df = pd.DataFrame({"x": range(rows), "y": [2.5 * x for x in range(rows)]})
    return {"training": df.iloc[: rows // 2], "testing": df.iloc[rows // 2 :].reset_index(drop=True)}


@task
def slope(training: pd.DataFrame) -> float:
    """Learn."""
    return float((training["x"] * training["y"]).sum() / (training["x"] ** 2).sum())


@task
def error(testing: pd.DataFrame, slope: float) -> float:
    """Return the error."""
    return float((testing["y"] - slope * testing["x"]).abs().max())


@DAG
def learn(rows: int) -> dict[str, float]:
    """Return two outputs, which `invoke` calls key_slope and key_error."""
    datasets = split_training_test_datasets(rows)
    found = slope(datasets["training"])
    return {"slope": found, "error": error(datasets["testing"], found)}


dag = build(learn)

if __name__ == "__main__":
    print(invoke(dag, {"rows": 10}))
