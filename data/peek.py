"""Look at the start of a Parquet file in bounded memory: what detection reads before a schema is known.

`data.reader` needs a schema to plan its slices; detection has none yet. What is decoded here at a time is about
`_PEEK_VALUES` numbers, by the average that the footer states for each row group, and the pages are checked first.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from data.footer import RowGroup, read_row_groups
from data.inputs import InputFile
from data.pages import check_row_group

_PEEK_VALUES = 1 << 16
_MAX_PEEK_ROWS = 1000


def peek(file: InputFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield top-level columns of a file from its start, a few rows at a time; stop early by leaving the loop.

    Args:
        file: The file.
        columns: Top-level columns to decode, each with all its leaves.

    Raises:
        BadFileError: The file is damaged, or its pages claim more than may be decoded.
    """
    parquet = file.open()
    paths = [parquet.schema.column(place).path for place in range(len(parquet.schema))]
    wanted = [place for place, path in enumerate(paths) if any(path == c or path.startswith(f"{c}.") for c in columns)]
    with file.open_bytes() as source:
        for place, group in enumerate(read_row_groups(file, source, parquet)):
            if group.num_rows:
                check_row_group(file, source, parquet, place, group, wanted)
                yield from file.batches(parquet, columns, _num_rows(group, wanted), [place])


def first_with_rows(files: Sequence[InputFile]) -> InputFile:
    """Return the first file that has rows, else the first: writers leave empty parts, which show no widths.

    Raises:
        BadFileError: A file met on the way cannot be opened.
    """
    return next((file for file in files if file.open().metadata.num_rows), files[0])


def _num_rows(group: RowGroup, columns: Sequence[int]) -> int:
    """Return how many rows of a group hold about `_PEEK_VALUES` numbers in the leaf columns at places `columns`."""
    values = sum(max(group.chunks[place].num_values, group.num_rows) for place in columns)
    return max(1, min(_MAX_PEEK_ROWS, _PEEK_VALUES * group.num_rows // max(values, 1)))
