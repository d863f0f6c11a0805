"""Choose how many rows of a row group to decode at a time if text or bytes need much more memory than numbers.

A dictionary page of a few kilobytes can decode to gigabytes of text, and a compressed page of a kilobyte to megabytes.
The decoded size of rows is bounded here in advance: by the longest value of the dictionary, by the uncompressed size of
other pages, and by the width of fixed-width values.
"""

import itertools
from collections.abc import Collection
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.parquet.checked import CheckedFile
from seqembed.data.parquet.footer import ColumnChunk, RowGroup
from seqembed.data.parquet.rows import CODECS, Cutter, Unreadable, page_header
from seqembed.data.parquet.thrift import CutShort, Malformed

SLICE_BYTES: Final = 64 << 20
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_PLAIN_DICTIONARY, _RLE_DICTIONARY = 2, 8
_CUT_AT_ONCE = 1 << 20
_NARROW_BYTES = 64  # narrower values are bounded by their number alone


def narrower(
    checked: CheckedFile,
    parquet: pq.ParquetFile,
    group: RowGroup,
    columns: Collection[int],
    dictionaries: Collection[str],
    sizes: list[int],
) -> list[int]:
    """Return numbers of rows to decode at a time, no larger than `sizes`, that decode to about `SLICE_BYTES`.

    Args:
        checked: The file, which expects the columns.
        parquet: The same file, as Parquet.
        group: The row group.
        columns: Leaf columns to read, by index in the schema.
        dictionaries: Columns that stay dictionaries, by path.
        sizes: Rows to decode at a time; the last size is repeated.

    Returns:
        `sizes` itself if text and bytes fit.
    """
    wide = [
        position
        for position in columns
        if _is_wide(parquet.schema.column(position)) and group.chunks[position].num_values
    ]
    if not wide or not group.num_rows:
        return sizes
    budget = SLICE_BYTES // len(wide)
    max_rows = min(max(sizes), group.num_rows)
    cuts: list[list[int]] = []
    for position in wide:
        leaf, chunk = parquet.schema.column(position), group.chunks[position]
        per_row = chunk.num_values / group.num_rows
        if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY":
            rows = int(budget / (leaf.length * per_row))
            cuts += [] if rows >= max_rows else [[max(1, rows)]]
            continue
        stays = leaf.path in dictionaries
        try:
            cuts += _cuts(
                checked, chunk, group.num_rows, max_rows, budget, stays=stays, flat=leaf.max_repetition_level == 0
            )
        except (Unreadable, CutShort, Malformed, KeyError, IndexError, ValueError, TypeError, pa.ArrowException):
            continue  # if the file is damaged, the decoder reports it
    return _together([sizes, *cuts], group.num_rows) if cuts else sizes


def _is_wide(leaf: pq.ColumnSchema) -> bool:
    kind = leaf.physical_type
    return bool(kind == "BYTE_ARRAY" or (kind == "FIXED_LEN_BYTE_ARRAY" and leaf.length > _NARROW_BYTES))


def _cuts(
    checked: CheckedFile, chunk: ColumnChunk, num_rows: int, max_rows: int, budget: int, *, stays: bool, flat: bool
) -> list[list[int]]:
    """Return numbers of rows that fit for one column of text or bytes; an empty list if `max_rows` rows fit."""
    per_row = chunk.num_values / num_rows
    longest = 0
    if chunk.has_dictionary and not stays and chunk.unpacked * max_rows * per_row > budget:
        longest = _longest(checked, chunk, int(budget / (max_rows * per_row)))
    cuts = [] if longest * max_rows * per_row <= budget else [[max(1, int(budget / (longest * per_row)))]]
    if chunk.unpacked <= budget:
        return cuts
    if not flat:
        mean = chunk.unpacked / num_rows
        return [*cuts, [max(1, int(budget / mean))]]
    cutter = Cutter(budget)
    position, left = chunk.start, chunk.num_values
    while position < chunk.end and left > 0:
        header, length = page_header(checked, chunk, position)
        position += length + header[3]
        if header[1] not in (_DATA_PAGE, _DATA_PAGE_V2):
            continue
        inner = header[5 if header[1] == _DATA_PAGE else 8]
        count, encoding = inner[1], inner[2 if header[1] == _DATA_PAGE else 4]
        left -= count
        by_dictionary = encoding in (_PLAIN_DICTIONARY, _RLE_DICTIONARY)
        per_value = longest if by_dictionary else header[2] / max(count, 1)
        for first in range(0, count, _CUT_AT_ONCE):
            cutter.add(np.full(min(_CUT_AT_ONCE, count - first), per_value, dtype=np.float64))
    return [cutter.finish()]


def _longest(checked: CheckedFile, chunk: ColumnChunk, enough: int) -> int:
    """Return the bytes of a dictionary's longest value, or of the complete dictionary if that is at most `enough`.

    If its codec is not supported here, the mean is returned instead.

    Raises:
        Unreadable: The chunk does not begin with a valid dictionary.
    """
    header, length = page_header(checked, chunk, chunk.start)
    if header[1] != _DICTIONARY_PAGE:
        raise Unreadable
    if header[2] <= enough:
        return int(header[2])
    count = int(header[7][1])
    if chunk.codec and chunk.codec not in CODECS:
        return -(-int(header[2]) // max(count, 1))
    checked.seek(chunk.start + length)
    content = checked.read(header[3])
    if chunk.codec:
        content = pa.Codec(CODECS[chunk.codec]).decompress(content, header[2], asbytes=True)
    longest = position = 0
    for _ in range(count):
        size = int.from_bytes(content[position : position + 4], "little")
        longest = max(longest, size)
        position += 4 + size
    if position > len(content):
        raise Unreadable
    return longest


def _together(cuts: list[list[int]], num_rows: int) -> list[int]:
    """Return the numbers of rows between consecutive cuts of all lists."""
    ends: set[int] = {num_rows}
    for sizes in cuts:
        end = 0
        for size in itertools.chain(sizes, itertools.repeat(sizes[-1])):
            end += size
            if end >= num_rows:
                break
            ends.add(end)
    return [int(size) for size in np.diff(sorted({0} | ends))]
