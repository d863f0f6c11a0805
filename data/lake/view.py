"""What the rows of a data file are in its table: other names, columns that the file lacks, rows that were deleted.

A file that is stored as its table means it is read as it is. Any other is copied, in bounded memory, to a temporary
Parquet file with the table's columns and rows, so that every reader sees plain Parquet.
"""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.files.inputs import InputFile, TableVersion
from seqembed.data.lake.copies import copied


@dataclass(frozen=True)
class TableView:
    """How a data file of a table is to be read.

    Attributes:
        table: The version of the table.
        columns: The table's columns, in order, with their types.
        constants: Values of columns that are the same in all rows of the file and not stored in it, as in partitions.
        physical: Name in the file of each column, and of each field of structs by path (``events.at``), where it is
            another one.
        keep: Packed bits of the rows that are not deleted, compressed; None keeps all. Rows beyond the bits are kept.
        num_deleted: Number of deleted rows.
    """

    table: TableVersion
    columns: pa.Schema
    constants: Mapping[str, pa.Scalar] = field(default_factory=dict)
    physical: Mapping[str, str] = field(default_factory=dict)
    keep: bytes | None = None
    num_deleted: int = 0

    @cached_property
    def token(self) -> bytes:
        """What distinguishes this view from others of the same file, for fingerprints.

        Columns that the file lacks are left out, so that a column added to the table changes no part.
        """
        if not self.constants and not self.physical and self.keep is None:
            return b""
        constants = sorted((name, str(value)) for name, value in self.constants.items())
        content = repr((constants, sorted(self.physical.items()), self.num_deleted)).encode()
        return hashlib.sha256(content + (self.keep or b"")).digest()

    def shape(self, stored: pa.Schema, num_rows: int) -> tuple[pa.Schema, int]:
        """Return the columns and the number of rows in the table, of a file with these."""
        return (stored if self._is_stored(stored) else self._logical(stored)), num_rows - self.num_deleted

    def source(self, file: InputFile, stored: pa.Schema, opened: pa.NativeFile) -> pa.NativeFile:
        """Return a file to read through: the stored one if it is as the table means it, or a copy that is.

        Args:
            file: The data file.
            stored: Its columns.
            opened: The file, open.

        Raises:
            BadFileError: It is damaged.
            HostError: There is no temporary disk space.
        """
        if self._is_stored(stored) and self.keep is None:
            return opened
        found = [self._stored_name(name) for name in self.columns.names]
        names = [name for name in found if name in stored.names]
        return copied(file, (file.location, self.token, tuple(self.columns.names)), opened, names, self)

    def schema(self, stored: pa.Schema) -> pa.Schema:
        """Return the table's columns for a file with these columns."""
        return self._logical(stored)

    def rows(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        """Return the rows of a batch of the file as they are in the table.

        Args:
            batch: Stored columns.
            first_row: Position of its first row in the file.
        """
        renamed = _as_type(batch, pa.schema([self._renamed(each, "") for each in batch.schema]))
        schema = self._logical(batch.schema)
        arrays = [
            renamed.column(each.name)
            if each.name in renamed.schema.names
            else pa.repeat(self.constants[each.name], batch.num_rows)
            if each.name in self.constants
            else pa.nulls(batch.num_rows, each.type)
            for each in schema
        ]
        table = pa.RecordBatch.from_arrays(arrays, schema=schema)
        kept = self._kept(first_row, batch.num_rows)
        return table if kept is None else table.filter(pa.array(kept))

    def _kept(self, first_row: int, num_rows: int) -> NDArray[np.bool_] | None:
        if self.keep is None:
            return None
        first_byte, before = divmod(first_row, 8)
        some = self._bits[first_byte : (first_row + num_rows + 7) // 8]
        bits = np.unpackbits(some, bitorder="little")[before : before + num_rows].astype(bool)
        return np.concatenate([bits, np.ones(num_rows - len(bits), dtype=bool)])

    @cached_property
    def _bits(self) -> NDArray[np.uint8]:
        return np.frombuffer(b"" if self.keep is None else zlib.decompress(self.keep), np.uint8)

    def _is_stored(self, stored: pa.Schema) -> bool:
        return not self.constants and not self.physical and set(stored.names) == set(self.columns.names)

    def _logical(self, stored: pa.Schema) -> pa.Schema:
        """Return the table's columns; those in the file have the file's types, such as large text."""
        found = {each.name: each for each in (self._renamed(each, "") for each in stored)}
        return pa.schema([found.get(each.name, each.remove_metadata()) for each in self.columns])

    def _stored_name(self, path: str) -> str:
        return self.physical.get(path, path.rpartition(".")[2])

    @cached_property
    def _logical_names(self) -> dict[tuple[str, str], str]:
        """Return the logical name of each stored one, by the path of its parent."""
        return {(path.rpartition(".")[0], name): path.rpartition(".")[2] for path, name in self.physical.items()}

    def _renamed(self, stored: pa.Field, parent: str) -> pa.Field:
        name = self._logical_names.get((parent, stored.name), stored.name)
        return pa.field(name, self._renamed_type(stored.type, f"{parent}.{name}" if parent else name), stored.nullable)

    def _renamed_type(self, kind: pa.DataType, path: str) -> pa.DataType:
        types = pa.types
        if types.is_struct(kind):
            return pa.struct([self._renamed(kind.field(index), path) for index in range(kind.num_fields)])
        if types.is_list(kind) or types.is_large_list(kind):
            items = kind.value_field.with_type(self._renamed_type(kind.value_type, path))
            return pa.list_(items) if types.is_list(kind) else pa.large_list(items)
        return kind


def packed(keep: NDArray[np.bool_]) -> bytes:
    """Return which rows are kept, bool (rows), for `TableView.keep`; bits beyond the last row say that it is kept."""
    padded = np.concatenate([keep, np.ones(-len(keep) % 8, dtype=bool)])
    return zlib.compress(np.packbits(padded, bitorder="little").tobytes())


@dataclass(frozen=True, slots=True)
class _Retyped:
    """An array of structs under the names of another type, without a copy, by the Arrow PyCapsule interface."""

    batch: pa.RecordBatch
    schema: pa.Schema

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """Return the schema with other names, and the same data."""
        _, data = self.batch.__arrow_c_array__()
        return self.schema.__arrow_c_schema__(), data


def _as_type(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch under other names of its columns and fields."""
    return pa.record_batch(_Retyped(batch, schema))
