"""What the rows of a data file are in its table: other names, columns that the file lacks, rows that were deleted.

A file that is stored as its table means it is read as it is. Any other is copied, in bounded memory, to a temporary
Parquet file with the table's columns and rows, so that every reader sees plain Parquet.
"""

import hashlib
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.errors import BadFileError
from seqembed.data.files.inputs import InputFile, TableVersion
from seqembed.data.lake.copies import copied

_FIELD_ID = b"PARQUET:field_id"
_DROPPED = "\0"  # begins the new name of a column that is no longer in the table; no column is called so


@dataclass(frozen=True)
class TableView:
    """How a data file of a table is to be read.

    Attributes:
        table: The version of the table.
        columns: The table's columns, in order, with their types.
        constants: Values of columns that are the same in all rows of the file, as in partitions; not taken from it.
        fallback: Values of columns where the file lacks them; others are null.
        physical: Name in the file of each column, and of each field of structs by path (``events.at``): where it is
            another one, or of all where names are mapped.
        is_mapped: Whether `physical` lists all columns and fields: what else a file holds was dropped from the table,
            even if a column of now has its name.
        names: Name of each column and field by its id in the file; None finds them by name.
        stored: Columns that every file must hold, since a table may keep their values elsewhere.
        renamed: Id of each column and field, by path, whose name was another one before, or that of another column.
        keep: Packed bits of the rows that are not deleted, compressed; None keeps all. Rows beyond the bits are kept.
        num_deleted: Number of deleted rows.
        read: Columns that a job reads; None if it may read all.
    """

    table: TableVersion
    columns: pa.Schema
    constants: Mapping[str, pa.Scalar] = field(default_factory=dict)
    fallback: Mapping[str, pa.Scalar] = field(default_factory=dict)
    physical: Mapping[str, str] = field(default_factory=dict)
    is_mapped: bool = False
    names: Mapping[int, str] | None = None
    stored: frozenset[str] = frozenset()
    renamed: Mapping[str, int] = field(default_factory=dict)
    keep: bytes | None = None
    num_deleted: int = 0
    read: frozenset[str] | None = None

    @cached_property
    def token(self) -> bytes:
        """What distinguishes this view from others of the same file, for fingerprints.

        Columns that the file lacks are left out, so that a column added to the table changes no part; so are those that
        are not read, so that a rename of one of them changes none either.
        """
        constants = sorted((name, str(value)) for name, value in self.constants.items() if self._reads(name))
        others = ((path, name) for path, name in self.physical.items() if name != path.rpartition(".")[2])
        physical = sorted((path, name) for path, name in others if self._reads(path))
        renamed = sorted((path, number) for path, number in self.renamed.items() if self._reads_of(path))
        content = [constants, physical, renamed, self.num_deleted]
        if not any(content) and self.keep is None:
            return b""
        return hashlib.sha256(repr(content).encode() + (self.keep or b"")).digest()

    def _reads(self, path: str) -> bool:
        """Return whether a column, or a field of one (``events.at``), is read."""
        return self.read is None or any(path == name or path.startswith(f"{name}.") for name in self.read)

    def _reads_of(self, path: str) -> bool:
        """Return whether anything of the column is read that a path begins with."""
        column = path.partition(".")[0]
        return self.read is None or any(name.partition(".")[0] == column for name in self.read)

    def reading(self, columns: Collection[str]) -> Self:
        """Return the view for a job that reads only these columns."""
        return replace(self, read=frozenset(columns))

    def shape(self, file: InputFile, stored: pa.Schema, num_rows: int) -> tuple[pa.Schema, int]:
        """Return the columns and the number of rows in the table, of a file with these.

        Raises:
            BadFileError: The file does not say which columns of the table it holds.
        """
        rows = _FileRows(self, file.name, stored)
        return (stored if rows.are_stored else rows.schema), num_rows - self.num_deleted

    def source(self, file: InputFile, stored: pa.Schema, opened: pa.NativeFile) -> pa.NativeFile:
        """Return a file to read through: the stored one if it is as the table means it, or a copy that is.

        Args:
            file: The data file.
            stored: Its columns.
            opened: The file, open.

        Raises:
            BadFileError: It is damaged, or does not say which columns of the table it holds.
            HostError: There is no temporary disk space.
        """
        rows = _FileRows(self, file.name, stored)
        if rows.are_stored and self.keep is None:
            return opened
        return copied(file, (file.location, self.token, str(rows.schema)), opened, rows)

    @cached_property
    def kept_bits(self) -> NDArray[np.uint8]:
        """Packed bits of the rows that are not deleted, uint8 (bytes)."""
        return np.frombuffer(b"" if self.keep is None else zlib.decompress(self.keep), np.uint8)


def packed(keep: NDArray[np.bool_]) -> bytes:
    """Return which rows are kept, bool (rows), for `TableView.keep`; bits beyond the last row say that it is kept."""
    padded = np.concatenate([keep, np.ones(-len(keep) % 8, dtype=bool)])
    return zlib.compress(np.packbits(padded, bitorder="little").tobytes())


class _FileRows:
    """The rows of one file as they are in its table.

    Attributes:
        schema: Their columns; those in the file have the file's types, such as large text.
        needed: Columns of the file to read.
    """

    def __init__(self, view: TableView, name: str, stored: pa.Schema) -> None:
        self._view, self._stored = view, stored
        self._renames: dict[tuple[str, ...], str] = {}
        logical = {path: other for other, path in _paths(view.physical)}
        for each in stored:
            self._find_names(each, (), "", logical, name)
        renamed = [(each.name, self._renamed(each, ())) for each in stored]
        present = {new.name: (old, new) for old, new in renamed if new.name not in view.constants}
        self.schema = pa.schema([_typed(each, present.get(each.name)) for each in view.columns])
        absent = next((each for each in view.stored if each in view.columns.names and each not in present), None)
        if absent is not None:
            raise BadFileError(
                f"{name}: the file lacks column '{absent}', whose value only {view.table} knows. Rewrite the file with "
                "the program that keeps the table, or write plain Parquet."
            )
        self.needed = [old for old, new in present.values() if new.name in self.schema.names]

    @property
    def are_stored(self) -> bool:
        """Whether the file has just these columns, deleted rows aside."""
        return not self._view.constants and _shape(self._stored) == _shape(self._view.columns) and not self._renames

    def rows(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        """Return the rows of a batch of the file, with the position of its first row, as they are in the table."""
        renamed = _as_type(batch, pa.schema([self._renamed(each, ()) for each in batch.schema]))
        table = pa.RecordBatch.from_arrays([self._column(renamed, each) for each in self.schema], schema=self.schema)
        return table if self._view.keep is None else table.filter(pa.array(self._kept(first_row, batch.num_rows)))

    def _column(self, batch: pa.RecordBatch, wanted: pa.Field) -> pa.Array:
        view = self._view
        if wanted.name in view.constants:
            return pa.repeat(view.constants[wanted.name], batch.num_rows)
        if wanted.name in batch.schema.names:
            column = batch.column(wanted.name)
            return column if column.type == wanted.type else column.cast(wanted.type)
        if wanted.name in view.fallback:
            return pa.repeat(view.fallback[wanted.name], batch.num_rows)
        return pa.nulls(batch.num_rows, wanted.type)

    def _kept(self, first_row: int, num_rows: int) -> NDArray[np.bool_]:
        first_byte, before = divmod(first_row, 8)
        some = self._view.kept_bits[first_byte : (first_row + num_rows + 7) // 8]
        bits = np.unpackbits(some, bitorder="little")[before : before + num_rows].astype(bool)
        return np.concatenate([bits, np.ones(num_rows - len(bits), dtype=bool)])

    def _find_names(
        self, stored: pa.Field, above: tuple[str, ...], parent: str, logical: Mapping[tuple[str, str], str], file: str
    ) -> None:
        """Record the name in the table of a column or field, and of those inside it, where it is another one."""
        unlisted = f"{_DROPPED}{stored.name}" if self._view.is_mapped else stored.name
        name = logical.get((parent, stored.name), unlisted)
        if self._view.names is not None:
            number = (stored.metadata or {}).get(_FIELD_ID)
            if number is None:
                raise BadFileError(
                    f"{file}: column '{stored.name}' has no field id, so its name in {self._view.table} is not known. "
                    "Rewrite the file with the program that keeps the table, or write plain Parquet."
                )
            name = self._view.names.get(int(number), f"{_DROPPED}{stored.name}")
        path = (*above, stored.name)
        if name != stored.name:
            self._renames[path] = name
        inside = _step(stored.type)
        if pa.types.is_struct(inside):
            for each in _fields(inside):
                self._find_names(each, path, f"{parent}.{name}" if parent else name, logical, file)

    def _renamed(self, stored: pa.Field, above: tuple[str, ...]) -> pa.Field:
        path = (*above, stored.name)
        kind = self._renamed_type(stored.type, path)
        return pa.field(self._renames.get(path, stored.name), kind, stored.nullable)

    def _renamed_type(self, kind: pa.DataType, path: tuple[str, ...]) -> pa.DataType:
        types = pa.types
        if types.is_struct(kind):
            return pa.struct([self._renamed(each, path) for each in _fields(kind)])
        if types.is_list(kind) or types.is_large_list(kind):
            items = pa.field(
                kind.value_field.name, self._renamed_type(kind.value_type, path), kind.value_field.nullable
            )
            return pa.list_(items) if types.is_list(kind) else pa.large_list(items)
        return kind


def _typed(wanted: pa.Field, found: tuple[str, pa.Field] | None) -> pa.Field:
    """Return a column with the type that the file has, or the table's if the fields of structs differ."""
    is_alike = found is not None and _names_inside(found[1].type) == _names_inside(wanted.type)
    return found[1] if found is not None and is_alike else wanted.remove_metadata()


def _paths(physical: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the logical name of each stored one, with the path of its parent and the stored name."""
    for path, stored in physical.items():
        parent, _, name = path.rpartition(".")
        yield name, (parent, stored)


def _fields(kind: pa.DataType) -> list[pa.Field]:
    return [kind.field(index) for index in range(kind.num_fields)]


def _step(kind: pa.DataType) -> pa.DataType:
    """Return the type of the items of lists, or the type itself."""
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return kind


def _names_inside(kind: pa.DataType) -> Any:
    kind = _step(kind)
    return {each.name: _names_inside(each.type) for each in _fields(kind)} if pa.types.is_struct(kind) else None


def _shape(schema: pa.Schema) -> dict[str, Any]:
    return {each.name: _names_inside(each.type) for each in schema}


@dataclass(frozen=True, slots=True)
class _Retyped:
    """A batch under the names of another schema, without a copy, by the Arrow PyCapsule interface."""

    batch: pa.RecordBatch
    schema: pa.Schema

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """Return the schema with other names, and the same data."""
        _, data = self.batch.__arrow_c_array__()
        return self.schema.__arrow_c_schema__(), data


def _as_type(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch under other names of its columns and fields."""
    return pa.record_batch(_Retyped(batch, schema))
