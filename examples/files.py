"""Write outputs to files, and run one node of a DAG at a time: to inspect it, or to run it elsewhere.

Notice that each file holds the bytes of its output's serializer, as they travel between nodes: JSON here. A list that
is made item by item is a folder with a file for each item, and `partitions.json`, which has their order. A node reads
its inputs from such files. The same from the command line:

    dagcelery invoke examples.files:report --node-name area --input side=sides/1 --output return_value=area
"""

from __future__ import annotations

from dagcelery import StoreSerializedOutputsInPath, dag, invoke, task


@task
def sides(text: str) -> list[int]:
    """Read some lengths."""
    return [int(word) for word in text.split()]


@task
def area(side: int) -> int:
    """Compute the area of one square."""
    return side * side


@task
def largest(areas: list[int]) -> int:
    """Find the largest one."""
    return max(areas)


@dag
def report(text: str) -> dict[str, object]:
    """Find the areas of squares, and the largest."""
    areas = [area(side) for side in sides(text)]
    return {"areas": areas, "largest": largest(areas)}


if __name__ == "__main__":
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from dagcelery.client import invoke_with_locations

    with TemporaryDirectory() as folder:
        made = invoke(report, {"text": "3 5 4"}, outputs=StoreSerializedOutputsInPath(folder))
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                print(path.relative_to(folder), path.read_text())
        again = invoke_with_locations(report, node_name="largest", inputs={"areas": made["key_areas"].filename})
        print("largest, from the files:", again)
