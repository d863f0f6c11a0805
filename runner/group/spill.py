"""Partition events on disk: chunks of the input, each written once with its rows sorted by bucket.

A chunk is a file of the Arrow IPC format with one record batch per bucket, so that writing is sequential whatever the
number of buckets, and a bucket is read without the others.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


class Gathered:
    """Events that wait in memory until there are enough of them to be distributed over buckets."""

    def __init__(self, wanted: NDArray[np.bool_]) -> None:
        """Begin without events.

        Args:
            wanted: bool (buckets), which buckets are needed; events of others are dropped.
        """
        self._wanted, self._everything = wanted, bool(wanted.all())
        self._waiting: list[tuple[pa.RecordBatch, NDArray[np.int64]]] = []
        self.num_bytes = 0

    def add(self, events: pa.RecordBatch, buckets: NDArray[np.int64]) -> None:
        """Add events with the bucket of each, int64 (events)."""
        if not self._everything:
            rows = np.flatnonzero(self._wanted[buckets])
            if len(rows) < len(buckets):
                events, buckets = events.take(pa.array(rows)), buckets[rows]
        if len(buckets):
            self._waiting.append((events, buckets))
            self.num_bytes += events.nbytes

    def split(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield each bucket with its waiting events, in the order in which they were added; none wait afterwards."""
        if not self._waiting:
            return
        buckets = np.concatenate([numbers for _, numbers in self._waiting])
        events = pa.concat_batches([batch for batch, _ in self._waiting])
        self._waiting, self.num_bytes = [], 0
        events = events.take(pa.array(np.argsort(buckets, kind="stable")))
        counts = np.bincount(buckets, minlength=len(self._wanted))
        starts = np.cumsum(counts) - counts
        for bucket in np.flatnonzero(counts).tolist():
            yield bucket, events.slice(int(starts[bucket]), int(counts[bucket]))


class Spill:
    """Events on disk by bucket.

    Attributes:
        num_bytes: Bytes written.
        num_rows: Events written.
    """

    def __init__(self, directory: Path, schema: pa.Schema, chunk_bytes: int, wanted: NDArray[np.bool_]) -> None:
        """Begin without events.

        Args:
            directory: An existing directory.
            schema: Columns of the events.
            chunk_bytes: Bytes of events in memory before they are written.
            wanted: bool (buckets), which buckets are needed; events of others are dropped.
        """
        self._directory, self._schema, self._chunk_bytes = directory, schema, chunk_bytes
        self._gathered = Gathered(wanted)
        self._places: defaultdict[int, list[tuple[Path, int]]] = defaultdict(list)
        self._num_chunks = 0
        self.num_bytes = self.num_rows = 0

    def add(self, events: pa.RecordBatch, buckets: NDArray[np.int64]) -> None:
        """Add events with the bucket of each, int64 (events).

        Raises:
            OSError: The disk is full or not writable.
        """
        self._gathered.add(events, buckets)
        if self._gathered.num_bytes >= self._chunk_bytes:
            self.flush()

    def flush(self) -> None:
        """Write the events in memory as a chunk.

        Raises:
            OSError: The disk is full or not writable.
        """
        if not self._gathered.num_bytes:
            return
        path = self._directory / f"{self._num_chunks:06d}.arrow"
        self._num_chunks += 1
        with pa.OSFile(str(path), "wb") as sink:
            with pa.ipc.new_file(sink, self._schema, options=_OPTIONS) as writer:
                for index, (bucket, events) in enumerate(self._gathered.split()):
                    writer.write_batch(events)
                    self._places[bucket].append((path, index))
                    self.num_rows += events.num_rows
            self.num_bytes += sink.tell()

    def read(self, bucket: int) -> Iterator[pa.RecordBatch]:
        """Yield the events of a bucket, in the order in which they were added.

        Raises:
            OSError: A chunk cannot be read.
        """
        for path, index in self._places.get(bucket, []):
            yield read_chunk(path, index)


def read_chunk(path: Path, index: int) -> pa.RecordBatch:
    """Return the events of a chunk's bucket.

    Raises:
        OSError: The chunk cannot be read.
    """
    with pa.OSFile(str(path), "rb") as source:
        return pa.ipc.open_file(source).get_batch(index)
