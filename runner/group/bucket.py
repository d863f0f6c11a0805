"""Make one bucket of its events: sort them, turn them into rows, stage the file, on whichever host."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from seqembed.data.errors import ChangedInputError
from seqembed.runner.group.columns import EventColumns
from seqembed.runner.group.histories import Histories
from seqembed.runner.group.options import EXACT, GroupOptions
from seqembed.runner.group.plan import EventFile, GroupPlan, bucket_key, bucket_name
from seqembed.runner.group.sort import Sorter
from seqembed.runner.output.event_counts import EventCounts
from seqembed.runner.output.parts import PartCounts, PartFooter, PartKey
from seqembed.runner.output.staging import StagedPart, Staging

# Of the memory allowed: DuckDB's limit, and the events read before they are distributed. Python, Arrow and copies take
# the rest.
_SORT_SHARE = 0.45
_CHUNK_SHARE = 1 / 16
_MAX_CHUNK_BYTES = 256 << 20


def sort_bytes(options: GroupOptions) -> int:
    """Return the bound on the memory of DuckDB."""
    return int(options.memory_bytes * _SORT_SHARE)


def chunk_bytes(options: GroupOptions) -> int:
    """Return how many bytes of events are read before they are distributed."""
    return min(int(options.memory_bytes * _CHUNK_SHARE), _MAX_CHUNK_BYTES)


@dataclass(frozen=True, slots=True)
class BucketTask:
    """Everything that a worker needs to make a bucket of its events; picklable.

    Attributes:
        index: Number of the bucket.
        key: Hashes of everything that determines it.
        num_events: Its events.
        columns: Their columns.
        event_bytes: Approximate bytes of an event in memory.
        equal: Columns in which events of an id agree that are one event; None takes all.
        max_length: Maximum number of events of an id; None takes all.
        values: The options that change the result.
        staging: Temporary files of the job.
    """

    index: int
    key: PartKey
    num_events: int
    columns: EventColumns
    event_bytes: float
    equal: tuple[int, ...] | None
    max_length: int | None
    values: Mapping[str, Any]
    staging: Staging

    @classmethod
    def of(
        cls, index: int, plan: GroupPlan, files: list[EventFile], options: GroupOptions, staging: Staging
    ) -> "BucketTask":
        """Return the task of a bucket; all files must be counted."""
        columns = plan.columns
        equal: tuple[int, ...] = tuple(columns.index(name) for name in options.deduplicate if name != EXACT)
        if options.deduplicate == (EXACT,):
            equal = tuple(range(len(columns.all)))
        return cls(
            index,
            bucket_key(files, index, columns.types, plan.options_hash),
            sum(int(file.counts.buckets[index]) for file in files if file.counts is not None),
            columns,
            plan.event_bytes,
            equal or None,
            options.max_length,
            plan.options,
            staging,
        )

    @property
    def name(self) -> str:
        """Name of the bucket."""
        return bucket_name(self.index)

    def make(self, events: Iterator[pa.RecordBatch], sorter: Sorter, attempt: int = 1) -> StagedPart:
        """Stage the bucket.

        Args:
            events: Its events as they travel, in any order.
            sorter: Sorts them.
            attempt: Number of the attempt, by which its temporary file is named.

        Raises:
            ChangedInputError: There are more or fewer events than were counted.
            OutputError: A disk is full or not writable.
            HostError: The sorter needs more memory.
        """
        histories = Histories(self.columns, self.max_length)
        counted = _Counted(events)
        ordered = sorter.ordered(iter(counted), self.columns.carried, self.event_bytes, self.equal)
        with self.staging.stage(self.name, attempt, self.columns.output) as writer:
            for rows in histories.rows(ordered):
                writer.write(rows)
            if counted.num_events != self.num_events:
                raise ChangedInputError(
                    f"{self.name}: {counted.num_events:,} events were read of {self.num_events:,} that were counted; "
                    "an input file was changed meanwhile. Run again once its writer is done."
                )
            counts = histories.counts
            duplicates = self.num_events - counts.events
            footer = self._footer(counts + EventCounts(events=duplicates, duplicates=duplicates))
            writer.finish(footer)
        return StagedPart(self.name, attempt, (self.staging.staged_file(self.name, attempt, writer),), footer)

    def _footer(self, counts: EventCounts) -> PartFooter:
        rows = PartCounts(
            rows_in=counts.ids, rows_embedded=counts.ids, rows_truncated=counts.truncated_ids, steps=counts.events_out
        )
        columns = tuple(self.columns.output.names)
        return PartFooter(self.key, rows, "", self.key.input_fingerprint, self.values, columns, "events", None, counts)


class _Counted:
    """Batches of events, counted as they pass."""

    def __init__(self, events: Iterator[pa.RecordBatch]) -> None:
        self._events, self.num_events = events, 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._events:
            self.num_events += batch.num_rows
            yield batch
