"""In DAGs they are named in annotations, for a task, for each key of what it returns, or for a whole DAG."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest

from dagcelery import AsArrow, AsAvro, AsCSV, AsDill, AsMessagePack, AsParquet, dag, invoke, submit, task
from dagcelery.errors import NodeFailed, SerializationError
from dagcelery.local import Cluster
from unit.engine.worlds import World

pytest.importorskip("pyarrow", reason="pip install 'dagcelery[arrow]'")
pytest.importorskip("fastavro", reason="pip install 'dagcelery[avro]'")
pytest.importorskip("msgpack", reason="pip install 'dagcelery[msgpack]'")
pytest.importorskip("dill", reason="pip install 'dagcelery[dill]'")

Row = dict[str, Any]
FIELDS = [{"name": "n", "type": "long"}, {"name": "name", "type": "string"}]
SERIALIZERS = [
    AsArrow(),
    AsAvro({"type": "record", "name": "Row", "fields": FIELDS}),
    AsParquet(),
    AsMessagePack(),
    AsDill(),
    AsCSV(columns={"n": int, "name": str}),
]


@task
def count(rows: list[Row]) -> int:
    return len(rows)


def rows_of(n: int) -> list[Row]:
    return [{"n": k, "name": f"row {k}"} for k in range(n)]


def tabled(serializer: Any) -> Any:
    """A DAG that makes tables, maps over them, and gives all of it back."""

    @task(serializer=serializer)
    def made(n: int) -> list[Row]:
        return rows_of(n)

    def twice(rows: Any) -> Any:
        return [{**row, "n": 2 * row["n"]} for row in rows]

    twice.__annotations__ = dict.fromkeys(("rows", "return"), Annotated[list[Row], serializer])
    doubled = task(twice)

    @dag
    def all_of_it(n: int) -> Any:
        whole = doubled(made(n))
        return {"whole": whole, "count": count(whole), "counts": [count(made(k)) for k in [0, 1, n]]}

    return all_of_it


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=repr)
def test_a_dag_hands_tables_on(serializer: Any) -> None:
    whole = [{"n": 2 * k, "name": f"row {k}"} for k in range(5)]
    assert invoke(tabled(serializer), {"n": 5}) == {"whole": whole, "count": 5, "counts": [0, 1, 5]}


def test_workers_hand_tables_on(cluster: Cluster) -> None:
    runs = [submit(tabled(serializer), {"n": 5}) for serializer in SERIALIZERS]
    whole = [{"n": 2 * k, "name": f"row {k}"} for k in range(5)]
    for run in runs:
        assert run.result(timeout=30) == {"whole": whole, "count": 5, "counts": [0, 1, 5]}


def test_frames_travel_as_their_annotations_say() -> None:
    pd = pytest.importorskip("pandas", reason="pip install pandas")

    @task
    def grown(frame: Annotated[Any, AsParquet()]) -> Annotated[Any, AsParquet()]:
        frame["n"] += 1
        return frame

    @task
    def summed(frame: Annotated[Any, AsParquet()]) -> int:
        return int(frame["n"].sum())

    @dag
    def pipeline(frame: Annotated[Any, AsParquet()]) -> int:
        return summed(grown(grown(frame)))

    given = pd.DataFrame({"n": [1, 2], "kind": pd.Categorical(["a", "b"])})
    assert invoke(pipeline, {"frame": given}) == 7
    assert given["n"].tolist() == [1, 2]


def test_a_result_that_would_change_fails_its_node_and_names_the_cell() -> None:
    @task(serializer=AsCSV())
    def made() -> list[Row]:
        return [{"n": "0"}, {"n": 1}]

    with pytest.raises(
        NodeFailed, match=r"output 'return_value' of node 'made' at \[1\]\['n'\]: is of type int"
    ) as told:
        invoke(made)
    assert isinstance(told.value.__cause__, SerializationError)


def test_unsigned_runs_hand_on_what_runs_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    world = World(key=None, imports=(__name__,))
    assert world.run(unsigned, n=3) == 3


@task(serializer=AsArrow())
def arrows(n: int) -> list[Row]:
    return rows_of(n)


@task
def packed(rows: list[Row]) -> Annotated[list[Row], AsMessagePack()]:
    return rows


@task
def parquet(rows: Annotated[list[Row], AsMessagePack()]) -> Annotated[list[Row], AsParquet()]:
    return rows


@task
def text(rows: list[Row]) -> Annotated[list[Row], AsCSV()]:
    return [{name: str(value) for name, value in row.items()} for row in rows]


@dag
def unsigned(n: int) -> int:
    return count(text(parquet(packed(arrows(n)))))
