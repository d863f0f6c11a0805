"""Choose how many rows of a row group to decode at a time if their lengths may differ a thousandfold.

The footer only gives the mean length of the rows. If short rows are mixed with rows of a million steps, slices by the
mean would decode thousands of long rows at once. So for large row groups the lengths are read from the repetition
levels of the smallest list column, where a level of 0 starts a row. Levels are run-length encoded, by Parquet's
RLE/bit-packing hybrid (https://parquet.apache.org/docs/file-format/data-pages/encodings/), and no values are decoded.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.parquet.checked import CheckedFile
from seqembed.data.parquet.footer import ColumnChunk, RowGroup
from seqembed.data.parquet.pages import PageWalk
from seqembed.data.parquet.thrift import CutShort, Malformed, Struct, ThriftReader

# Smaller row groups are sliced by the mean: their total size is bounded, and reading a column twice costs more.
LARGE_GROUP_VALUES: Final = 1 << 24
CODECS: Final = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}  # by number in parquet.thrift
_DATA_PAGE, _DATA_PAGE_V2 = 0, 3
_RLE = 3
_HEADER_BYTES = 1 << 16


class Unreadable(Exception):
    """Levels or a dictionary in a format that is not supported here."""


def slices(
    checked: CheckedFile, group: RowGroup, walks: Mapping[int, PageWalk], repeated: Mapping[int, int], max_values: int
) -> list[int] | None:
    """Return numbers of rows to decode at a time, so that no slice of several rows has more than `max_values` numbers.

    Args:
        checked: The file.
        group: The row group.
        walks: Page walks of the leaf columns to read, by index in the schema.
        repeated: Index → maximum repetition level of those columns that hold lists.
        max_values: Maximum numbers per slice, over all columns.

    Returns:
        The sizes, or None if the lengths of rows cannot be read or are not needed.
    """
    total = sum(group.chunks[column].num_values for column in walks)
    if total <= LARGE_GROUP_VALUES or not repeated:
        return None
    column = min(repeated, key=lambda position: group.chunks[position].end - group.chunks[position].start)
    chunk = group.chunks[column]
    checked.expect([PageWalk(walks[column].where, chunk)])
    in_lists = sum(group.chunks[position].num_values for position in repeated) / max(chunk.num_values, 1)
    num_flat = len(walks) - len(repeated)
    cut = Cutter(max_values)
    try:
        for lengths in _row_lengths(checked, chunk, repeated[column]):
            cut.add(np.asarray(lengths * in_lists + num_flat, dtype=np.float64))
    except (Unreadable, CutShort, Malformed, KeyError, IndexError, ValueError, pa.ArrowException):
        return None  # if the file is damaged, the decoder reports it
    sizes = cut.finish()
    return sizes if sum(sizes) == group.num_rows else None


class Cutter:
    """Cuts rows into slices, each with as many rows as fit."""

    def __init__(self, max_values: int) -> None:
        self._max_values, self._sizes = max_values, [0]
        self._values = 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        """Add rows by their numbers of values, float64 (rows)."""
        first, sums = 0, np.concatenate([[0.0], np.cumsum(values)])
        while first < len(values):
            room = self._max_values - self._values
            stop = int(np.searchsorted(sums, sums[first] + room, side="right")) - 1
            if stop <= first and self._sizes[-1]:
                self._sizes.append(0)
                self._values = 0.0
                continue
            stop = max(stop, first + 1)
            self._sizes[-1] += stop - first
            self._values += float(sums[stop] - sums[first])
            first = stop

    def finish(self) -> list[int]:
        """Return the number of rows of each slice."""
        return self._sizes if self._sizes[-1] else self._sizes[:-1]


def _row_lengths(checked: CheckedFile, chunk: ColumnChunk, max_level: int) -> Iterator[NDArray[np.int64]]:
    """Yield the number of values per row, page by page; a row that continues on the next page is counted there."""
    waiting = 0
    for header, content in _data_pages(checked, chunk):
        starts, num_values = _row_starts(header, content, chunk.codec, max_level)
        if not len(starts):
            waiting += num_values
            continue
        bounds = np.append(starts, num_values)
        lengths = np.diff(bounds)
        done = lengths[:-1]
        if waiting or starts[0]:
            done = np.concatenate([[waiting + starts[0]], done])
        yield done
        waiting = int(lengths[-1])
    if waiting:
        yield np.array([waiting], dtype=np.int64)


def _data_pages(checked: CheckedFile, chunk: ColumnChunk) -> Iterator[tuple[Struct, bytes]]:
    """Yield the header and the stored bytes of each data page."""
    position, left = chunk.start, chunk.num_values
    while position < chunk.end and left > 0:
        header, length = page_header(checked, chunk, position)
        checked.seek(position + length)
        content = checked.read(header[3])
        position += length + header[3]
        if header[1] in (_DATA_PAGE, _DATA_PAGE_V2):
            left -= header[5 if header[1] == _DATA_PAGE else 8][1]
            yield header, content


def page_header(checked: CheckedFile, chunk: ColumnChunk, position: int) -> tuple[Struct, int]:
    """Return the page header at a position of a chunk as field number → value, and its length in bytes."""
    checked.seek(position)
    # Do not read the last byte of the chunk, which would release its block; every header is followed by a page.
    reader = ThriftReader(checked.read(min(_HEADER_BYTES, chunk.end - position - 1)))
    return reader.struct(), reader.position


def _row_starts(header: Struct, content: bytes, codec: int, max_level: int) -> tuple[NDArray[np.int64], int]:
    """Return the start of each row in a page, int64 (rows), and the page's number of values."""
    if header[1] == _DATA_PAGE_V2:
        inner = header[8]
        levels = content[: inner[6]]  # never compressed
    else:
        inner = header[5]
        if inner[4] != _RLE:
            raise Unreadable
        if codec:
            if codec not in CODECS:
                raise Unreadable
            content = pa.Codec(CODECS[codec]).decompress(content, header[2], asbytes=True)
        levels = content[4 : 4 + int.from_bytes(content[:4], "little")]
    return _zeros(levels, inner[1], max_level.bit_length()), inner[1]


def _zeros(levels: bytes, num_values: int, width: int) -> NDArray[np.int64]:
    """Return the indices of zeros in run-length encoded numbers of `width` bits, int64.

    Vectors of 16 numbers take two runs each, so no array is made per run.
    """
    same: list[NDArray[np.int64]] = []
    packed, firsts = [], []
    position = value = 0
    while value < num_values:
        head = shift = 0
        while True:
            head |= (levels[position] & 0x7F) << shift
            shift, position = shift + 7, position + 1
            if levels[position - 1] < 0x80:
                break
        if head & 1:
            count, size = (head >> 1) * 8, (head >> 1) * width
            packed.append(levels[position : position + size])
            firsts.append(value)
        else:
            count, size = head >> 1, (width + 7) // 8
            if not any(levels[position : position + size]):
                same.append(np.arange(value, min(value + count, num_values)))
        value, position = value + count, position + size
    return np.sort(np.concatenate([_packed_zeros(packed, firsts, num_values, width), *same]))


def _packed_zeros(runs: list[bytes], firsts: list[int], num_values: int, width: int) -> NDArray[np.int64]:
    """Return the indices of zeros in bit-packed runs, each of which starts at the index in `firsts`."""
    bits = np.unpackbits(np.frombuffer(b"".join(runs), np.uint8), bitorder="little").reshape(-1, width)
    zeros = np.flatnonzero(~bits.any(axis=1))
    starts = np.cumsum([0, *(len(run) * 8 // width for run in runs)])
    run = np.searchsorted(starts, zeros, side="right") - 1
    found: NDArray[np.int64] = zeros - starts[run] + np.array([*firsts, 0], dtype=np.int64)[run]
    return found[found < num_values]
