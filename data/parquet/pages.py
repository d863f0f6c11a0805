"""Check the page headers of a Parquet file before any page is decoded.

A run-length encoded page of a hundred bytes can decode to a billion numbers, a compressed one to gigabytes, and the
footer need not agree with either. So the decoder reads through `checked.py`, which checks the page headers
of a block here before it returns the block: they must agree with the footer, and no page may exceed the limits.

Refused are row groups whose rows have on average more than `MAX_VALUES` numbers in the columns to read, pages of more
than `MAX_VALUES` numbers or `MAX_PAGE_BYTES` bytes, and pages with more or fewer numbers than the footer says. So no
row of a row group with at most `MAX_VALUES` numbers is longer than that. In a larger row group, a single long row among
many short ones is found only when it is decoded.
"""

import itertools
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.errors import BadFileError
from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.footer import ColumnChunk, RowGroup
from seqembed.data.parquet.thrift import CutShort, Malformed, Struct, ThriftReader

MAX_VALUES: Final = 1 << 27  # measured: one row of this many numbers needs 2.4 GB at the peak
MAX_PAGE_BYTES: Final = 12 * MAX_VALUES  # 8 bytes per number, and 4 for its levels
_FIRST_READ_BYTES = 1024  # no less: see `seqembed.data.files.inputs`
_MAX_HEADER_BYTES = 1 << 20
_DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = range(4)
# Field numbers of PageHeader in parquet.thrift, and of its three inner headers' first field.
_TYPE, _UNCOMPRESSED, _COMPRESSED, _NUM_VALUES = 1, 2, 3, 1
_INNER = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_V2: 8}


def check_row_group(
    file: InputFile, parquet: pq.ParquetFile, index: int, group: RowGroup, columns: Sequence[int]
) -> dict[int, "PageWalk"]:
    """Refuse a row group that is too large to decode according to its footer.

    Args:
        file: For messages.
        parquet: The open file.
        index: Index of the row group.
        group: The row group.
        columns: Leaf columns that will be read.

    Returns:
        Column → a walk through its pages, at the first page.

    Raises:
        BadFileError: Names the row group, the column, what was found and what is allowed.
    """
    per_row = sum(group.chunks[column].num_values for column in columns) // max(group.num_rows, 1)
    if per_row > MAX_VALUES:
        raise BadFileError(
            f"{file.name}: row group {index} has {per_row:,} values per row; at most {MAX_VALUES:,} are read. "
            "Split the sequences, or write the file again if they are not that long."
        )
    walks: dict[int, PageWalk] = {}
    for column in columns:
        leaf, chunk = parquet.schema.column(column), group.chunks[column]
        where = f"{file.name}: row group {index}, column '{leaf.path}'"
        is_flat = leaf.max_repetition_level == 0
        if chunk.num_values < group.num_rows or (is_flat and chunk.num_values != group.num_rows):
            raise BadFileError(
                f"{where}: {chunk.num_values:,} values for {group.num_rows:,} rows. Write the file again."
            )
        walks[column] = PageWalk(where, chunk)
    in_order = sorted((walk for walk in walks.values() if walk.chunk.num_values), key=lambda walk: walk.chunk.start)
    for walk, behind in itertools.pairwise(in_order):
        if behind.chunk.start < walk.chunk.end:
            raise BadFileError(f"{behind.where}: its pages overlap those of another column. Write the file again.")
    return walks


class PageWalk:
    """Walks through the page headers of a column chunk as its bytes are read.

    Attributes:
        where: File, row group and column, for messages.
        chunk: The column chunk.
    """

    def __init__(self, where: str, chunk: ColumnChunk) -> None:
        """Start at the first page."""
        self.where, self.chunk = where, chunk
        self._next, self._num_values = chunk.start, 0

    def look(self, source: pa.NativeFile, start: int, block: bytes) -> None:
        """Check the pages that begin before the end of a block.

        Args:
            source: The open file, for headers that are incomplete in the block.
            start: Position of the block in the file.
            block: Bytes of the chunk.

        Raises:
            BadFileError: A page exceeds the limits, its header is damaged, or it disagrees with the footer.
        """
        chunk, end = self.chunk, min(start + len(block), self.chunk.end)
        while self._next < end and self._num_values < chunk.num_values:
            header, length = self._header(source, start, block)
            self._take(header, length)
        is_over = self._next >= chunk.end or self._num_values >= chunk.num_values
        if is_over and self._num_values != chunk.num_values:
            raise BadFileError(
                f"{self.where}: the footer says {chunk.num_values:,} values, the pages say {self._num_values:,}. "
                "Write the file again."
            )

    def _take(self, header: Struct, length: int) -> None:
        """Check and count one page, and advance to the next."""
        kind, unpacked, packed = (header.get(number) for number in (_TYPE, _UNCOMPRESSED, _COMPRESSED))
        if not (isinstance(kind, int) and isinstance(unpacked, int) and isinstance(packed, int)):
            raise self._damaged()
        inner = header.get(_INNER.get(kind, 0))
        count = inner.get(_NUM_VALUES) if isinstance(inner, dict) else 0
        left = self.chunk.end - self._next - length
        if packed < 0 or unpacked < 0 or packed > left or not isinstance(count, int) or count < 0:
            raise self._damaged()
        if unpacked > MAX_PAGE_BYTES or count > MAX_VALUES:
            raise BadFileError(
                f"{self.where}: a page of {count:,} values and {unpacked:,} bytes; at most {MAX_VALUES:,} values and "
                f"{MAX_PAGE_BYTES:,} bytes are decoded at a time. Write the file with smaller pages."
            )
        self._num_values += count if kind in (_DATA_PAGE, _DATA_PAGE_V2) else 0
        self._next += length + packed

    def _header(self, source: pa.NativeFile, start: int, block: bytes) -> tuple[Struct, int]:
        """Return the next page header as field number → value, and its length in bytes."""
        offset, size = self._next - start, _FIRST_READ_BYTES
        while True:
            if offset < 0:  # not in the block, or incomplete there
                offset, block = 0, self._read(source, size)
            reader = ThriftReader(block, offset)
            try:
                return reader.struct(), reader.position - offset
            except CutShort:
                if size >= min(_MAX_HEADER_BYTES, self.chunk.end - self._next):
                    raise self._damaged() from None
                offset, size = -1, size * 8
            except Malformed:
                raise self._damaged() from None

    def _read(self, source: pa.NativeFile, size: int) -> bytes:
        try:
            return bytes(source.read_at(min(size, source.size() - self._next), self._next))
        except (OSError, pa.ArrowException) as error:
            raise BadFileError(f"{self.where}: cannot be read ({str(error).splitlines()[0]}).") from error

    def _damaged(self) -> BadFileError:
        return BadFileError(f"{self.where}: damaged page header at byte {self._next:,}. Write the file again.")
