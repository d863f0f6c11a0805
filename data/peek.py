"""Look at the start of a Parquet file in bounded memory: what detection reads before a schema is known.

`seqembed.data.reader.read_blocks` needs a schema; detection has none yet.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from seqembed.data.inputs import InputFile
from seqembed.data.reader import decoded

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
    yield from decoded(file, file.open(), list(columns), num_values=_PEEK_VALUES, max_rows=_MAX_PEEK_ROWS)


def first_with_rows(files: Sequence[InputFile]) -> InputFile:
    """Return the first file that has rows, else the first: writers leave empty parts, which show no widths.

    Raises:
        BadFileError: A file met on the way cannot be opened.
    """
    return next((file for file in files if file.open().metadata.num_rows), files[0])
