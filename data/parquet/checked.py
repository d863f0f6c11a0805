"""An open Parquet file that returns pages only after checking their headers, with few and large reads.

The decoder reads a column through a small buffer. Here the bytes are read in larger blocks, since every read from an
object store is a request, and the page headers in a block are checked against the limits of
`seqembed.data.parquet.pages` before any byte is returned. So each byte is read once, and nothing is decoded unchecked.
"""

import io
from bisect import bisect_right
from collections.abc import Iterable

import pyarrow as pa

from seqembed.data.parquet.pages import PageWalk

# Limit of all blocks together; with many columns a block is no larger than the decoder's own read buffer.
_ALL_BLOCKS_BYTES = 32 << 20
_MAX_BLOCK_BYTES = 8 << 20
_MIN_BLOCK_BYTES = 1 << 20


class CheckedFile(io.RawIOBase):
    """A readable file that checks the pages of expected column chunks; other bytes are passed through."""

    def __init__(self, source: pa.NativeFile) -> None:
        """Read from `source`, which stays open."""
        super().__init__()
        self._source = source
        self._size = source.size()
        self._position = 0
        self.expect(())

    def expect(self, walks: Iterable[PageWalk]) -> None:
        """Set the column chunks that will be read next, in place of earlier ones."""
        self._walks = sorted((walk for walk in walks if walk.chunk.num_values), key=lambda walk: walk.chunk.start)
        self._starts = [walk.chunk.start for walk in self._walks]
        self._blocks: list[tuple[int, bytes]] = [(0, b"")] * len(self._walks)
        self._ahead: tuple[int, bytes] = (0, b"")
        share = _ALL_BLOCKS_BYTES // max(1, len(self._walks))
        self._block_bytes = min(_MAX_BLOCK_BYTES, max(_MIN_BLOCK_BYTES, share))

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next read, and return it."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, fewer only at the end of the file.

        Raises:
            BadFileError: A page claims more than the limits allow.
            OSError: The file cannot be read.
        """
        left = self._size - self._position
        size = left if size < 0 else min(size, left)
        pieces: list[bytes] = []
        while size > 0:
            piece = self._piece(self._position, size)
            if not piece:
                break
            pieces.append(piece)
            self._position += len(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, position: int, size: int) -> bytes:
        """Return at most `size` bytes at a position: those of one chunk, or those before the next chunk."""
        index = bisect_right(self._starts, position) - 1
        if index < 0 or position >= self._walks[index].chunk.end:
            if index + 1 < len(self._starts):
                size = min(size, self._starts[index + 1] - position)
            return bytes(self._source.read_at(size, position))
        walk = self._walks[index]
        size = min(size, walk.chunk.end - position)
        start, block = self._blocks[index]
        if not (start <= position and position + size <= start + len(block)):
            start, block = position, self._fetch(index, position, size)
            walk.look(self._source, start, block)
        # Release a block once it has been read completely: the decoder copies it.
        is_last = position + size == start + len(block)
        self._blocks[index] = (0, b"") if is_last else (start, block)
        return block[position - start : position - start + size]

    def _fetch(self, index: int, position: int, size: int) -> bytes:
        """Return a block of a chunk; small adjacent chunks are read together."""
        wanted = min(max(size, self._block_bytes), self._walks[index].chunk.end - position)
        start, ahead = self._ahead
        if start <= position and position + wanted <= start + len(ahead):
            return ahead[position - start : position - start + wanted]
        end = position + wanted
        while index + 1 < len(self._walks) and end == self._walks[index + 1].chunk.start:
            index += 1
            if self._walks[index].chunk.end - position > _MIN_BLOCK_BYTES:
                break
            end = self._walks[index].chunk.end
        content = bytes(self._source.read_at(end - position, position))
        if end == position + wanted:
            return content
        self._ahead = (position, content)
        return content[:wanted]
