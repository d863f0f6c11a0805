"""Read the row groups and column chunks from a Parquet footer without pyarrow's metadata objects.

See `seqembed.data.parquet.thrift` for the reason. The field numbers are those of parquet.thrift in the Parquet format's
repository.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.errors import BadFileError
from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.thrift import STRUCT, CutShort, Malformed, Struct, ThriftReader

_TAIL_BYTES = 1 << 16  # most footers fit
_ROW_GROUPS = 4
_COLUMNS, _GROUP_ROWS = 1, 3
_COLUMN_METADATA, _COLUMN_ENCRYPTION = 3, 8
_ENCODINGS, _CODEC, _NUM_VALUES, _BYTES, _PACKED_BYTES, _FIRST_DATA_PAGE, _DICTIONARY_PAGE = 2, 4, 5, 6, 7, 9, 11
_NEEDED = (_ENCODINGS, _CODEC, _NUM_VALUES, _BYTES, _PACKED_BYTES, _FIRST_DATA_PAGE, _DICTIONARY_PAGE)
_DELTA_BYTE_ARRAY = 7


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """The location and size of one leaf column's pages in a row group.

    Attributes:
        num_values: Number of values, including nulls and empty lists.
        start: First byte of the first page, which may be a dictionary page.
        end: First byte after the last page.
        codec: Compression codec, by number in parquet.thrift; 0 is uncompressed.
        unpacked: Uncompressed bytes of all pages.
        has_dictionary: Whether the first page is a dictionary page.
        has_prefixes: Whether text may be stored as differences from the previous text, far shorter than the text
            itself.
    """

    num_values: int
    start: int
    end: int
    codec: int = 0
    unpacked: int = 0
    has_dictionary: bool = False
    has_prefixes: bool = False


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows that are stored together.

    Attributes:
        num_rows: Number of rows.
        chunks: Column chunks of the requested leaf columns, by index in the schema.
    """

    num_rows: int
    chunks: Mapping[int, ColumnChunk]


class _Encrypted(Exception):
    """The pages of a column are encrypted."""


def read_row_groups(
    file: InputFile, source: pa.NativeFile, parquet: pq.ParquetFile, columns: Collection[int]
) -> tuple[RowGroup, ...]:
    """Return the row groups of a file, with the metadata of some columns.

    Args:
        file: For messages.
        source: The open file.
        parquet: The same file, as Parquet.
        columns: Indices of the leaf columns to read.

    Raises:
        BadFileError: The footer is damaged, or a column is encrypted.
    """
    size = source.size()
    try:
        groups, num_columns = _parse(_footer(source, size), columns, parquet)
    except _Encrypted as error:
        raise BadFileError(f"{file.name}: column '{error}' is encrypted. Decrypt the file first.") from None
    except (CutShort, Malformed, KeyError, TypeError, AttributeError) as error:
        raise BadFileError(f"{file.name}: damaged Parquet footer. Write the file again.") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BadFileError(f"{file.name}: cannot be read ({str(error).splitlines()[0]}).") from error
    num_rows = sum(group.num_rows for group in groups)
    is_inconsistent = num_columns - {len(parquet.schema)} or num_rows != parquet.metadata.num_rows
    if len(groups) != parquet.num_row_groups or is_inconsistent:
        raise BadFileError(f"{file.name}: the Parquet footer contradicts itself. Write the file again.")
    for index, group in enumerate(groups):
        for column, chunk in group.chunks.items():
            lies_within = 0 < chunk.start <= chunk.end <= size or chunk.num_values == 0
            if not lies_within or chunk.num_values < 0 or group.num_rows < 0:
                raise BadFileError(
                    f"{file.name}: row group {index}, column '{parquet.schema.column(column).path}': the footer points "
                    "beyond the end of the file, or has negative counts. Is the file complete? Write it again."
                )
    return groups


def _footer(source: pa.NativeFile, size: int) -> bytes:
    """Return the footer, usually with a single read."""
    start = max(0, size - _TAIL_BYTES)
    tail: bytes = source.read_at(size - start, start)
    length = int.from_bytes(tail[-8:-4], "little")
    return tail[-8 - length : -8] if length + 8 <= len(tail) else source.read_at(length, size - 8 - length)


def _parse(footer: bytes, wanted: Collection[int], parquet: pq.ParquetFile) -> tuple[tuple[RowGroup, ...], set[int]]:
    """Return the row groups, and the set of their numbers of columns, which has one element in a valid file."""
    reader, groups, num_columns, found = ThriftReader(footer), [], set(), False
    for number, kind in reader.fields():
        if number != _ROW_GROUPS:
            reader.skip(kind)
            continue
        found = True
        for _ in reader.elements(kind):
            group, num_chunks = _row_group(reader, wanted, parquet)
            groups.append(group)
            num_columns.add(num_chunks)
    if not found:
        raise Malformed
    return tuple(groups), num_columns


def _row_group(reader: ThriftReader, wanted: Collection[int], parquet: pq.ParquetFile) -> tuple[RowGroup, int]:
    """Return the next row group and its number of columns."""
    chunks, num_chunks, num_rows = {}, 0, None
    for number, kind in reader.fields():
        if number == _GROUP_ROWS:
            num_rows = reader.value(kind)
        elif number == _COLUMNS:
            for index in reader.elements(kind):
                num_chunks = index + 1
                if index in wanted:
                    column = _column(reader)
                    if _COLUMN_ENCRYPTION in column:
                        raise _Encrypted(parquet.schema.column(index).path)
                    chunks[index] = _chunk(column[_COLUMN_METADATA])
                else:
                    reader.skip_struct()
        else:
            reader.skip(kind)
    return RowGroup(_number(num_rows), chunks), num_chunks


def _column(reader: ThriftReader) -> Struct:
    """Return the needed fields of the next column chunk."""
    column: Struct = {}
    for number, kind in reader.fields():
        if number != _COLUMN_METADATA:
            column[number] = None
            reader.skip(kind)
            continue
        if kind != STRUCT:
            raise Malformed
        metadata = column[number] = {}
        for inner, inner_kind in reader.fields():
            if inner in _NEEDED:
                metadata[inner] = reader.value(inner_kind)
            else:
                reader.skip(inner_kind)
            if inner >= max(_NEEDED):  # what follows is statistics, which are most of a footer
                reader.skip_struct(rising=True)
                break
    return column


def _chunk(metadata: Struct) -> ColumnChunk:
    start = _number(metadata[_FIRST_DATA_PAGE])
    dictionary = metadata.get(_DICTIONARY_PAGE)
    has_dictionary = isinstance(dictionary, int) and 0 < dictionary < start
    if has_dictionary:
        start = _number(dictionary)
    end = start + _number(metadata[_PACKED_BYTES])
    num_values, codec = _number(metadata[_NUM_VALUES]), _number(metadata[_CODEC])
    encodings = metadata.get(_ENCODINGS)
    has_prefixes = isinstance(encodings, list) and _DELTA_BYTE_ARRAY in encodings
    return ColumnChunk(num_values, start, end, codec, _number(metadata[_BYTES]), has_dictionary, has_prefixes)


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise Malformed
    return value
