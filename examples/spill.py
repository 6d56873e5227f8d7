"""Keep large values in files outside the store: workers and clients name the same folder.

Notice that the DAG does not mention it. With DAGCELERY_SPILL_URL set, a value of more than DAGCELERY_SPILL_BYTES goes
into a file below that URL, and the store keeps a signed reference. `run.delete()` removes the files with the run. It
needs `pip install 'dagcelery[spill]'`, and for s3:// and others the packages that fsspec needs.
"""

from __future__ import annotations

from dagcelery import Run, dag, task


@task
def scan(page: int) -> str:
    """Make something large."""
    return f"page {page} " * 50_000


@task
def words(text: str) -> int:
    """Count the words of a page."""
    return len(text.split())


@dag
def archive(pages: list[int]) -> list[int]:
    """Scan pages and count their words."""
    return [words(scan(page)) for page in pages]


if __name__ == "__main__":
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from dagcelery.local import cluster

    with TemporaryDirectory() as folder:
        place = {"DAGCELERY_SPILL_URL": f"file://{folder}", "DAGCELERY_SPILL_BYTES": "100000"}
        with cluster(workers=2, environment=place):
            run: Run[list[int]] = archive.submit(pages=[1, 2, 3])
            print("words:", run.result(timeout=60))
            print("files:", sum(path.is_file() for path in Path(folder).rglob("*")))
            run.delete()
            print("files after run.delete():", sum(path.is_file() for path in Path(folder).rglob("*")))
