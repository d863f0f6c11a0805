"""Make rows of ordered events: one per id, with lists of times and features and the newest kept values."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.decode.ids import equal_values, id_text, same_as_previous
from seqembed.runner.group.carried import from_carrier
from seqembed.runner.group.columns import EventColumns
from seqembed.runner.output.event_counts import EventCounts


@dataclass(slots=True)
class Histories:
    """Turns ordered events into rows; use once per bucket.

    Attributes:
        columns: The columns of the events.
        max_length: Maximum number of events of an id; None takes all.
        counts: Counts of the rows so far; `events` and `duplicates` are left to the caller.
    """

    columns: EventColumns
    max_length: int | None
    counts: EventCounts = field(default_factory=EventCounts)

    def rows(self, events: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield rows, as many at a time as a batch of events completes.

        The events of the last id of a batch may continue in the next one, so memory holds a batch and an id.

        Args:
            events: Events as they travel, ordered by id, time and number.
        """
        waiting: list[pa.RecordBatch] = []
        for batch in events:
            cut = _last_start(batch.column(0))
            joins = bool(waiting) and _same(waiting[-1].column(0), batch.column(0))
            if cut == 0 and (joins or not waiting):
                waiting.append(batch)
                continue
            yield self._finish(pa.concat_batches([*waiting, batch.slice(0, cut)]))
            waiting = [batch.slice(cut)]
        if waiting:
            yield self._finish(pa.concat_batches(waiting))

    def _finish(self, events: pa.RecordBatch) -> pa.RecordBatch:
        starts = _starts(events.column(0))
        ends = np.append(starts[1:], events.num_rows)
        if self.max_length is not None and (ends - starts > self.max_length).any():
            events, starts, ends = self._shortened(events, starts, ends)
        columns = self.columns
        num_kept = len(columns.kept)
        newest = pa.array(ends - 1)
        made = [from_carrier(events.column(0).take(newest), columns.id.type)]
        varying = {}
        for index, field_ in enumerate(columns.kept, start=2):
            values = events.column(index)
            made.append(from_carrier(values.take(newest), field_.type))
            varying[field_.name] = _num_varying(values, starts)
        offsets = pa.array(np.append(starts, events.num_rows).astype(np.int32))
        for index, field_ in [(1, columns.time), *enumerate(columns.features, start=2 + num_kept)]:
            values = from_carrier(events.column(index), field_.type)
            made.append(pa.ListArray.from_arrays(offsets, values, type=pa.list_(field_.type)))
        self.counts += self._counted(events.column(1), starts, ends, varying)
        return pa.RecordBatch.from_arrays(made, schema=columns.output)

    def _shortened(
        self, events: pa.RecordBatch, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[pa.RecordBatch, NDArray[np.int64], NDArray[np.int64]]:
        """Return the newest events of each id, and where they start and end."""
        lengths = ends - starts
        taken = np.minimum(lengths, self.max_length or 0)
        ends_out = np.cumsum(taken)
        rows = np.arange(ends_out[-1]) + np.repeat(ends - ends_out, taken)
        self.counts += EventCounts(
            truncated=int((lengths - taken).sum()),
            events=int((lengths - taken).sum()),
            truncated_ids=int((lengths > taken).sum()),
        )
        return events.take(pa.array(rows)), ends_out - taken, ends_out

    def _counted(
        self, times: pa.Array, starts: NDArray[np.int64], ends: NDArray[np.int64], varying: dict[str, int]
    ) -> EventCounts:
        lengths = ends - starts
        firsts, lasts = times.take(pa.array(starts)), times.take(pa.array(ends - 1))
        low, high = pc.min_max(firsts)["min"], pc.min_max(lasts)["max"]
        return EventCounts(
            events=int(lengths.sum()),
            ids=len(starts),
            shortest=int(lengths.min()),
            longest=int(lengths.max()),
            first=self._instant(low),
            last=self._instant(high),
            varying=varying,
        )

    def _instant(self, value: pa.Scalar) -> tuple[str, str]:
        time = from_carrier(pa.array([value.as_py()], value.type), self.columns.time.type)[0]
        return str(value.as_py()), id_text(time) or ""


def _starts(ids: pa.Array) -> NDArray[np.int64]:
    return np.concatenate([[0], np.flatnonzero(~same_as_previous(ids)) + 1]).astype(np.int64)


def _last_start(ids: pa.Array) -> int:
    return int(_starts(ids)[-1])


def _same(before: pa.Array, after: pa.Array) -> bool:
    return bool(equal_values(before[-1:], after[:1])[0])


def _num_varying(values: pa.Array, starts: NDArray[np.int64]) -> int:
    """Return how many ids have several values."""
    changes = ~same_as_previous(values)
    changes[starts[1:] - 1] = False  # between ids
    ids = np.searchsorted(starts, np.flatnonzero(changes) + 1, side="right")
    return int(np.count_nonzero(np.diff(ids, prepend=0)))
