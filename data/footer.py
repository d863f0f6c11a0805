"""The numbers of a Parquet footer that reading is planned by, read without pyarrow's metadata objects.

See `data.thrift` for why. The field numbers are those of parquet.thrift in the Parquet format's repository.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import BadFileError
from data.inputs import InputFile
from data.thrift import CutShort, Malformed, Struct, ThriftReader

_ROW_GROUPS = 4
_COLUMNS, _GROUP_ROWS = 1, 3
_COLUMN_METADATA = 3
_NUM_VALUES, _PACKED_BYTES, _FIRST_DATA_PAGE, _DICTIONARY_PAGE = 5, 7, 9, 11


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """Where the pages of one leaf column of a row group lie, and how many values they hold.

    Attributes:
        num_values: Values, nulls and empty lists counted.
        start: First byte of the first page, the dictionary's where there is one.
        end: The byte behind the last page.
    """

    num_values: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows that are stored together.

    Attributes:
        num_rows: Rows.
        chunks: One for each leaf column, in the order of the schema.
    """

    num_rows: int
    chunks: tuple[ColumnChunk, ...]


def read_row_groups(file: InputFile, source: pa.NativeFile, parquet: pq.ParquetFile) -> tuple[RowGroup, ...]:
    """Return the row groups of a file.

    Args:
        file: For messages.
        source: The open file.
        parquet: The same, as Parquet.

    Raises:
        BadFileError: The footer is damaged.
    """
    size = source.size()
    try:
        length = int.from_bytes(source.read_at(4, size - 8), "little")
        footer = ThriftReader(source.read_at(length, size - 8 - length)).struct()
        groups = tuple(_row_group(group) for group in footer[_ROW_GROUPS])
    except (CutShort, Malformed, KeyError, TypeError, AttributeError) as error:
        raise BadFileError(f"{file.name}: damaged Parquet footer. Write the file again.") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BadFileError(f"{file.name}: cannot be read ({str(error).splitlines()[0]}).") from error
    num_columns = len(parquet.schema)
    if len(groups) != parquet.num_row_groups or any(len(group.chunks) != num_columns for group in groups):
        raise BadFileError(f"{file.name}: a Parquet footer at odds with itself. Write the file again.")
    for place, group in enumerate(groups):
        for column, chunk in enumerate(group.chunks):
            lies_within = 0 < chunk.start <= chunk.end <= size or chunk.num_values == 0
            if not lies_within or chunk.num_values < 0 or group.num_rows < 0:
                raise BadFileError(
                    f"{file.name}: row group {place}, column '{parquet.schema.column(column).path}': the footer points "
                    "beyond the file, or counts below zero. Is the file complete? Write it again."
                )
    return groups


def _row_group(group: Struct) -> RowGroup:
    return RowGroup(_number(group[_GROUP_ROWS]), tuple(_chunk(column[_COLUMN_METADATA]) for column in group[_COLUMNS]))


def _chunk(metadata: Struct) -> ColumnChunk:
    start = _number(metadata[_FIRST_DATA_PAGE])
    dictionary = metadata.get(_DICTIONARY_PAGE)
    if isinstance(dictionary, int) and 0 < dictionary < start:
        start = dictionary
    return ColumnChunk(_number(metadata[_NUM_VALUES]), start, start + _number(metadata[_PACKED_BYTES]))


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise Malformed
    return value
