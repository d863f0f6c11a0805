"""Temporary copies of data files, with the columns and rows that their table means.

A copy has no name from the moment it is complete: the disk is free again when this process ends, killed or not. The
newest copies are kept, since detection, checks and reading open a file one after the other.
"""

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.errors import HostError
from seqembed.data.files.inputs import InputFile, first_line
from seqembed.data.host import raise_host_fault

_MAX_COPIES = 4
_DECODE_VALUES = 1 << 20
_MAX_ROWS = 1 << 16
_lock = threading.Lock()
_copies: OrderedDict[Hashable, int] = OrderedDict()  # descriptors


class Rows(Protocol):
    """Turns rows of a file into rows of its table.

    Attributes:
        schema: The columns of the table.
        needed: Columns of the file to read.
    """

    schema: pa.Schema
    needed: list[str]

    def rows(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        """Return the rows of a batch as they are in the table."""


def copied(file: InputFile, key: Hashable, opened: pa.NativeFile, rows: Rows) -> pa.NativeFile:
    """Return a copy of a file, open for reading.

    Args:
        file: The file.
        key: Equal for equal copies.
        opened: The file, open.
        rows: What the copy holds.

    Raises:
        BadFileError: The file is damaged.
        HostError: The copy cannot be written.
    """
    with _lock:
        if key in _copies:
            _copies.move_to_end(key)
            return pa.OSFile(f"/dev/fd/{_copies[key]}", "r")
    try:
        descriptor = _write(replace(file, view=None), opened, rows)
    except OSError as error:
        raise_host_fault(error)
        raise HostError(
            f"{file.name}: no copy with the columns and rows of its table could be written to {tempfile.gettempdir()} "
            f"({first_line(error)}). Set TMPDIR to a directory with more space."
        ) from error
    with _lock:
        if key in _copies:  # another thread was quicker
            os.close(descriptor)
        else:
            _copies[key] = descriptor
        source = pa.OSFile(f"/dev/fd/{_copies[key]}", "r")
        while len(_copies) > _MAX_COPIES:
            os.close(_copies.popitem(last=False)[1])
    return source


def _write(file: InputFile, opened: pa.NativeFile, rows: Rows) -> int:
    """Write the copy; return the descriptor of a file without a name."""
    from seqembed.data.parquet.reader import decoded  # here: it reads copies

    parquet = file.open(source=opened)
    schema, first_row = rows.schema, 0
    columns = rows.needed or parquet.schema_arrow.names[:1]  # at least one, whose rows are counted
    with tempfile.TemporaryDirectory(prefix="seqembed-") as directory:
        path = os.path.join(directory, "copy.parquet")
        # Dictionaries of numbers would take most of the time.
        how = {"compression": "lz4", "use_dictionary": _texts(schema), "write_statistics": False}
        with pq.ParquetWriter(path, schema, **how) as writer:
            for batch in decoded(file, parquet, columns, num_values=_DECODE_VALUES, max_rows=_MAX_ROWS):
                # A row group per batch bounds the memory of the writer.
                writer.write_table(pa.Table.from_batches([rows.rows(batch, first_row)]))
                first_row += batch.num_rows
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _texts(schema: pa.Schema) -> list[str] | bool:
    """Return the paths of leaf columns of text and bytes, which are read as dictionaries; False if there are none."""
    written = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), written)
    stored = pq.ParquetFile(written.getvalue()).schema
    leaves = [stored.column(index) for index in range(len(stored))]
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"] or False
