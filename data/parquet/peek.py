"""Read the start of a Parquet file in bounded memory, for detection, which has no schema yet."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.reader import decoded

_PEEK_VALUES = 1 << 16
_MAX_PEEK_ROWS = 1000


def peek(file: InputFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield top-level columns of a file from its start, a few rows at a time; the caller may stop early.

    Args:
        file: The file.
        columns: Top-level columns to decode, each with all its leaves.

    Raises:
        BadFileError: The file is damaged, or its pages exceed the limits.
    """
    yield from decoded(file, file.open(), list(columns), num_values=_PEEK_VALUES, max_rows=_MAX_PEEK_ROWS)


def first_with_rows(files: Sequence[InputFile]) -> InputFile:
    """Return the first file with rows, else the first file; empty files, which writers may leave, show no widths.

    Raises:
        BadFileError: One of the files examined cannot be opened.
    """
    return next((file for file in files if file.footer()[1]), files[0])
