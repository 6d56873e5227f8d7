"""Choose how values become bytes: JSON by default, pickle, or your own serializer.

Notice that a serializer is any object with `extension`, `serialize` and `deserialize`, and that it may be named where a
value is made (`@task(serializer=...)`, for each key if you like) or in a type annotation.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO

from dagcelery import AsPickle, Serialize, dag, task


@dataclass(frozen=True)
class AsCSV:
    """Carries lists of rows of text as comma-separated values."""

    extension: str = "csv"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write the rows."""
        text = io.StringIO()
        csv.writer(text).writerows(value)
        writer.write(text.getvalue().encode())

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read the rows."""
        return list(csv.reader(io.StringIO(reader.read().decode())))


Table = Annotated[list[list[str]], AsCSV()]


@task(serializer=Serialize(table=AsCSV(), words=AsPickle()))
def read(text: str) -> dict[str, Any]:
    """Return two values, each in its own bytes; JSON would refuse the Counter."""
    rows = [line.split() for line in text.splitlines()]
    return {"table": rows, "words": Counter(word for row in rows for word in row)}


@task
def transposed(table: Table) -> Table:
    """Swap rows and columns; the annotation names the serializer of the result."""
    return [list(column) for column in zip(*table, strict=True)]


@task
def commonest(words: Counter[str]) -> str:
    """Use a pickled value."""
    return words.most_common(1)[0][0]


@dag
def study(text: str) -> tuple[Table, str]:
    """Use CSV for one value, pickle for another, JSON for the rest."""
    found = read(text)
    return transposed(found["table"]), commonest(found["words"])


@task
def letters(word: str) -> set[str]:
    """Return a set, which JSON refuses, since it would become a list."""
    return set(word)


@dag(serializer=AsPickle())
def alphabet(word: str) -> set[str]:
    """Use pickle as the default of a whole DAG."""
    return letters(word)


if __name__ == "__main__":
    print(study.invoke(text="a b\nc a"))
    print(sorted(alphabet.invoke(word="banana")))
