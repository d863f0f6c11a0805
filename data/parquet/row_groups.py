"""Divide a Parquet file by row groups, so that each sequence belongs to exactly one of the slices.

Row groups are cut at a fixed number of rows, so in the events layout the events of an id usually cross their bounds. A
sequence belongs to the slice in which its first event lies: a slice passes over events that continue an id of the row
group before, and reads on in the row groups behind it until the id changes.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from seqembed.data.decode.arrow import plain_values
from seqembed.data.decode.ids import equal_values, same_as_previous


def divided(group_rows: Sequence[int], max_rows: int | None) -> list[range]:
    """Divide consecutive row groups into ranges of at most `max_rows` rows, or of a single larger row group.

    Args:
        group_rows: Rows of each row group.
        max_rows: Maximum number of rows of a range; None for one range.

    Returns:
        At least one range, together all row groups, in order.
    """
    bounds, rows = [0], 0
    for index, num_rows in enumerate(group_rows):
        if max_rows is not None and rows and rows + num_rows > max_rows:
            bounds.append(index)
            rows = 0
        rows += num_rows
    return [range(start, end) for start, end in zip(bounds, [*bounds[1:], len(group_rows)], strict=True)]


def num_continued(ids: Iterable[pa.Array], before: pa.Array) -> int:
    """Return how many rows continue the sequence of the row before them.

    Args:
        ids: The ids of the rows, in order, in arrays of any length.
        before: The id before the first row, as an array (1).
    """
    num_rows = 0
    for some in ids:
        leading = num_leading(some, before)
        num_rows += leading
        if leading < len(some):
            break
    return num_rows


def num_leading(ids: pa.Array, before: pa.Array) -> int:
    """Return how many of the first ids equal `before`, an array (1); a missing id equals a missing one."""
    if not len(ids) or not equal_values(plain_values(ids[:1]), plain_values(before))[0]:
        return 0
    changes = np.flatnonzero(~same_as_previous(ids))
    return int(changes[0]) + 1 if len(changes) else len(ids)


def complete_sequences(
    batches: Iterable[pa.RecordBatch], column: str, num_rows: int, num_skipped: int
) -> Iterator[pa.RecordBatch]:
    """Yield the events of the sequences that begin in a slice; the last one is completed from the rows behind it.

    Args:
        batches: The rows from the beginning of the slice to the end of the file; no batch crosses the end of the slice.
        column: Name of the id column.
        num_rows: Rows of the slice.
        num_skipped: Rows at its beginning that continue an earlier sequence.
    """
    if num_skipped >= num_rows:
        return
    row, last = 0, None
    for batch in batches:
        wanted = batch.slice(max(0, num_skipped - row))
        row += batch.num_rows
        if row > num_rows and last is not None:
            wanted = wanted.slice(0, num_leading(wanted.column(column), last))
        if wanted.num_rows:
            last = wanted.column(column)[-1:]
            yield wanted
        if row > num_rows and wanted.num_rows < batch.num_rows:
            return
