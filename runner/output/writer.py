"""Write one part as Parquet, batch by batch."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from seqembed.data.parquet.sizes import row_bytes
from seqembed.runner.output.parts import FOOTER_KEY, PartFooter

# Bytes of embedding per row group, approximately: large enough for readers, small enough to buffer.
_ROW_GROUP_BYTES = 32 << 20
_OTHER_BYTES = 64 << 20  # of text, bytes and lists besides the embedding
# Numbers Arrow encodes at a time; the default of 1,024 is two vectors, and makes writing vectors a third slower.
_WRITE_BATCH_VALUES = 1 << 16
_PLAIN_WIDTH = 64  # assumed numbers per row in a file without vectors
Guard = Callable[[], AbstractContextManager[None]]


class PartWriter:
    """Writes one part batch by batch, in row groups of a useful size.

    Attributes:
        num_rows: Rows written so far.
        num_bytes: Size of the file, after it was closed and read back.
        schema: Columns of the file.
    """

    def __init__(
        self,
        filesystem: fs.FileSystem,
        path: str,
        schema: pa.Schema,
        guard: Guard,
        write_out: Callable[[], None] | None = None,
        vectors: Collection[str] = (),
    ) -> None:
        """Open the file.

        Args:
            filesystem: Filesystem of the file.
            path: Its path on the filesystem.
            schema: Its columns.
            guard: Returns a context manager that converts errors of the filesystem to `OutputError`.
            write_out: Called after each row group.
            vectors: Names of columns with vectors.
        """
        self._guard = guard
        self._write_out = write_out
        self.num_rows = self.num_bytes = 0
        self.schema = schema
        self._vectors = frozenset(vectors)
        widths = [field.type.list_size for field in schema if pa.types.is_fixed_size_list(field.type)]
        self._group_rows = max(1, _ROW_GROUP_BYTES // (4 * max(widths, default=_PLAIN_WIDTH)))
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        plain = [name for name in schema.names if name not in self._vectors]
        uncompressed = {f"{name}.list.element": "none" for name in vectors}
        # Vectors neither compress nor repeat, so they have no dictionary, compression or statistics.
        self._writer: pq.ParquetWriter | None = pq.ParquetWriter(
            path,
            schema,
            filesystem=filesystem,
            use_dictionary=plain,
            compression=uncompressed | dict.fromkeys(_leaves(schema, plain), "zstd"),
            write_statistics=_leaves(schema, plain),
            write_batch_size=_WRITE_BATCH_VALUES,
        )

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; the bytes written do not depend on the division into batches."""
        self.num_rows += batch.num_rows
        sizes = row_bytes([batch.column(name) for name in batch.schema.names if name not in self._vectors])
        ends = None if sizes is None else np.cumsum(sizes)
        first = 0
        while first < batch.num_rows:
            fits = min(self._group_rows - self._pending_rows, batch.num_rows - first)
            if ends is not None:
                before = int(ends[first - 1]) if first else 0
                room = int(np.searchsorted(ends, before + _OTHER_BYTES - self._pending_bytes, side="right")) - first
                fits = min(fits, max(room, 0 if self._pending else 1))
                self._pending_bytes += int(ends[first + fits - 1]) - before if fits else 0
            if fits:
                self._pending.append(batch.slice(first, fits))
                self._pending_rows += fits
                first += fits
            if self._pending_rows == self._group_rows or first < batch.num_rows:
                with self._guard():
                    self._flush()

    def finish(self, footer: PartFooter) -> None:
        """Add the metadata to the file's footer; called once, after the last row."""
        if self._writer is not None:
            self._writer.add_key_value_metadata({FOOTER_KEY.decode(): footer.to_json()})

    def close(self) -> None:
        """Write buffered rows and the Parquet footer."""
        if self._writer is not None:
            with self._guard():
                self._flush()
                self._writer.close()
            self._writer = None

    def abandon(self) -> None:
        """Close the file after an error; does nothing if it is closed."""
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        try:
            writer.close()
        except (OSError, pa.ArrowException):
            return  # the original error is reported instead; the file is temporary and removed by `clean`

    def _flush(self) -> None:
        if self._pending and self._writer is not None:
            self._writer.write_table(pa.Table.from_batches(self._pending, self.schema), self._group_rows)
            if self._write_out is not None:
                self._write_out()
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0


def _leaves(schema: pa.Schema, names: list[str]) -> list[str]:
    """Return the Parquet column paths below `names`."""
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, pa.schema([schema.field(name) for name in names])).close()
    parquet_schema = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [parquet_schema.column(index).path for index in range(len(parquet_schema))]
