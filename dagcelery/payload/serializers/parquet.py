"""Tables as Parquet files: compressed by column, and read by nearly everything that reads tables."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final

from dagcelery.payload.serializers import tables
from dagcelery.payload.serializers.refusals import reading, writing

if TYPE_CHECKING:
    import pyarrow

_BATCHES_A_GROUP: Final = 8


@dataclass(frozen=True, slots=True)
class AsParquet:
    """Serialize tables as Parquet: pandas DataFrames, pyarrow Tables and lists of dicts.

    Each comes back as what it was, and what would come back changed is refused: columns of seconds, for example, which
    Parquet has as milliseconds. `compression` is "snappy", "zstd", "gzip", "brotli", "lz4" or None. It needs the extra
    ``dagcelery[arrow]``, and pandas for DataFrames.
    """

    compression: str | None = "snappy"

    kind: ClassVar[str] = "parquet"

    @property
    def extension(self) -> str:
        """The extension of files that hold such bytes."""
        return "parquet"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write a table, a group of rows at a time; raises SerializationError naming what is no table's cell."""
        with writing("Parquet", tables.REMEDY, tables.NEEDS):
            import pyarrow
            from pyarrow import parquet

            schema, batches = tables.to_batches(value)
            _refuse_changes(schema, len(value))
            with parquet.ParquetWriter(writer, schema, compression=self.compression or "none") as file:
                while group := list(islice(batches, _BATCHES_A_GROUP)):
                    file.write_table(pyarrow.Table.from_batches(group, schema))

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote, or any such file as a Table; raises DeserializationError for anything else."""
        with reading("Parquet", tables.NEEDS):
            from pyarrow import parquet

            file = parquet.ParquetFile(reader)
            return tables.from_batches(file.schema_arrow, file.iter_batches(_BATCHES_A_GROUP * tables.BATCH_ROWS))


def _refuse_changes(schema: pyarrow.Schema, rows: int) -> None:
    """Write no rows at all, to see what the schema comes back as."""
    from pyarrow import parquet

    trial = io.BytesIO()
    parquet.write_table(schema.empty_table(), trial, compression="none")
    trial.seek(0)
    tables.refuse_other(schema, parquet.read_schema(trial), "Parquet", "cast the column, or use AsArrow()")
    if not rows:
        # Categories are in the pages of rows.
        tables.refuse_categories(schema, "has categories and no rows, and Parquet forgets them", "use AsArrow()")
