"""What the pages of a Parquet file claim, looked at before any of them is decoded.

A run-length encoded page of a hundred bytes can stand for a billion numbers, and a compressed one for gigabytes, and
the footer need not agree with either. So the page headers of the columns to be read are walked first, which costs one
small read a page: what they claim must agree with the footer, and no page may unpack to more than the bounds here.

What is refused: a row group whose rows have on average more than `MAX_VALUES` numbers in the columns to be read, a page
of more than `MAX_VALUES` numbers or `MAX_PAGE_BYTES` bytes, and pages that hold more or fewer numbers than the footer
says. So a row group of no more than `MAX_VALUES` numbers holds no longer row. In a larger one, a single long row among
many short ones is found only when it is decoded.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import BadFileError
from data.footer import ColumnChunk, RowGroup
from data.inputs import InputFile
from data.thrift import CutShort, Malformed, Struct, ThriftReader

MAX_VALUES: Final = 1 << 27  # measured: one row of so many numbers costs 2.4 GB at the peak
MAX_PAGE_BYTES: Final = 12 * MAX_VALUES  # 8 bytes a number and as much again as levels can take
_FIRST_READ_BYTES = 1024  # no less: see `data.inputs`
_MAX_HEADER_BYTES = 1 << 20
_DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = range(4)
# Field numbers of PageHeader in parquet.thrift, and of its three inner headers' first field.
_TYPE, _UNCOMPRESSED, _COMPRESSED, _NUM_VALUES = 1, 2, 3, 1
_INNER = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_V2: 8}


def check_row_group(
    file: InputFile, source: pa.NativeFile, parquet: pq.ParquetFile, place: int, group: RowGroup, columns: Sequence[int]
) -> None:
    """Refuse a row group whose pages claim more than may be decoded at a time, or other than the footer says.

    Args:
        file: For messages.
        source: The open file.
        parquet: The same, as Parquet.
        place: Which row group it is.
        group: The row group.
        columns: Leaf columns that will be read.

    Raises:
        BadFileError: Names the row group, the column, what was found and what is allowed.
    """
    a_row = sum(group.chunks[column].num_values for column in columns) // max(group.num_rows, 1)
    if a_row > MAX_VALUES:
        raise BadFileError(
            f"{file.name}: row group {place} has {a_row:,} values in a row; at most {MAX_VALUES:,} are read. "
            "Split the sequences, or write the file again if they are not that long."
        )
    for column in columns:
        leaf, chunk = parquet.schema.column(column), group.chunks[column]
        where = f"{file.name}: row group {place}, column '{leaf.path}'"
        is_flat = leaf.max_repetition_level == 0
        if chunk.num_values < group.num_rows or (is_flat and chunk.num_values != group.num_rows):
            raise BadFileError(
                f"{where}: {chunk.num_values:,} values for {group.num_rows:,} rows. Write the file again."
            )
        found = _walk(source, chunk, where)
        if found != chunk.num_values:
            raise BadFileError(
                f"{where}: the footer says {chunk.num_values:,} values, the pages say {found:,}. Write the file again."
            )


def _walk(source: pa.NativeFile, chunk: ColumnChunk, where: str) -> int:
    """Return how many values the data pages of a column chunk claim."""
    place, total = chunk.start, 0
    while place < chunk.end and total < chunk.num_values:
        header, length = _header(source, place, chunk.end, where)
        kind, unpacked, packed = (header.get(number) for number in (_TYPE, _UNCOMPRESSED, _COMPRESSED))
        damaged = BadFileError(f"{where}: damaged page header at byte {place:,}. Write the file again.")
        if not (isinstance(kind, int) and isinstance(unpacked, int) and isinstance(packed, int)):
            raise damaged
        inner = header.get(_INNER.get(kind, 0))
        count = inner.get(_NUM_VALUES) if isinstance(inner, dict) else 0
        if packed < 0 or unpacked < 0 or packed > chunk.end - place - length or not isinstance(count, int) or count < 0:
            raise damaged
        if unpacked > MAX_PAGE_BYTES or count > MAX_VALUES:
            raise BadFileError(
                f"{where}: a page of {count:,} values and {unpacked:,} bytes; at most {MAX_VALUES:,} values and "
                f"{MAX_PAGE_BYTES:,} bytes are decoded at a time. Write the file with smaller pages."
            )
        total += count if kind in (_DATA_PAGE, _DATA_PAGE_V2) else 0
        place += length + packed
    return total


def _header(source: pa.NativeFile, place: int, end: int, where: str) -> tuple[Struct, int]:
    """Return a page header as field number → value, and its length in bytes."""
    size = _FIRST_READ_BYTES
    while True:
        try:
            content = source.read_at(min(size, source.size() - place), place)
        except (OSError, pa.ArrowException) as error:
            raise BadFileError(f"{where}: cannot be read ({str(error).splitlines()[0]}).") from error
        reader = ThriftReader(content)
        try:
            return reader.struct(), reader.place
        except CutShort:
            if size >= min(_MAX_HEADER_BYTES, end - place):
                break
            size *= 8
        except Malformed:
            break
    raise BadFileError(f"{where}: damaged page header at byte {place:,}. Write the file again.")
