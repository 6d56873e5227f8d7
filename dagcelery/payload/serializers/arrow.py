"""Tables as files of Arrow's own format, also called Feather: what is in memory is in the file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from dagcelery.payload.serializers import tables
from dagcelery.payload.serializers.refusals import reading, writing


@dataclass(frozen=True, slots=True)
class AsArrow:
    """Serialize tables as Arrow IPC files: pandas DataFrames, pyarrow Tables and lists of dicts.

    Each comes back as what it was, and what would come back changed is refused. `compression` is "lz4", "zstd" or
    None. It needs the extra ``dagcelery[arrow]``, and pandas for DataFrames.
    """

    compression: str | None = None

    kind: ClassVar[str] = "arrow"

    @property
    def extension(self) -> str:
        """The extension of files that hold such bytes."""
        return "arrow"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        """Write a table, some thousand rows at a time; raises SerializationError naming what is no table's cell."""
        with writing("Arrow", tables.REMEDY, tables.NEEDS):
            from pyarrow import ipc

            schema, batches = tables.to_batches(value)
            with ipc.new_file(writer, schema, options=ipc.IpcWriteOptions(compression=self.compression)) as file:
                for batch in batches:
                    file.write_batch(batch)

    def deserialize(self, reader: BinaryIO) -> Any:
        """Read what `serialize` wrote, or any such file as a Table; raises DeserializationError for anything else."""
        with reading("Arrow", tables.NEEDS):
            import pyarrow
            from pyarrow import ipc

            # What lies in memory already is not copied once more.
            source: Any = reader
            if isinstance(reader, io.BytesIO) and reader.tell() == 0:
                source = pyarrow.py_buffer(reader.getvalue())
            file = ipc.open_file(source)
            batches = (file.get_batch(number) for number in range(file.num_record_batches))
            return tables.from_batches(file.schema, batches)
