"""Read the events of a file: their ids' buckets, and the rows that are bad or outside the span."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.decode.arrow import plain_type, plain_values
from seqembed.data.decode.hashing import hash_ids
from seqembed.data.decode.ids import is_null_id
from seqembed.data.errors import BadRowError, InputError
from seqembed.data.files.inputs import InputFile
from seqembed.data.parquet.reader import decoded
from seqembed.runner.group.carried import carrier_type, to_carrier
from seqembed.runner.group.columns import EventColumns
from seqembed.runner.group.options import GroupBadRow

_DECODE_VALUES = 1 << 20
_MAX_ROWS = 1 << 17
_MOST = (1 << 63) - 1


@dataclass(slots=True)
class FileCounts:
    """The events of a file.

    Attributes:
        buckets: int64 (buckets), events in each.
        rows: All rows.
        null_ids: Rows without an id.
        null_times: Rows with an id and without a time.
        outside: Rows outside the span.
    """

    buckets: NDArray[np.int64]
    rows: int = 0
    null_ids: int = 0
    null_times: int = 0
    outside: int = 0


@dataclass(frozen=True, slots=True)
class Scan:
    """How events are read and distributed.

    Attributes:
        columns: Their columns.
        num_buckets: Number of buckets.
        since: First time that is taken, as it travels; None takes all.
        until: Time before which events are taken; None takes all.
        on_bad_row: What an event without id or time does.
    """

    columns: EventColumns
    num_buckets: int
    since: pa.Scalar | None
    until: pa.Scalar | None
    on_bad_row: GroupBadRow

    def counts(self) -> FileCounts:
        """Return counts of nothing."""
        return FileCounts(np.zeros(self.num_buckets, np.int64))

    def count(self, file: InputFile) -> FileCounts:
        """Count the events of a file by bucket; only ids and times are read.

        Raises:
            BadFileError, BadRowError: The file cannot be read, or has a bad row.
        """
        counts = self.counts()
        for _ in self._events(file, (self.columns.id, self.columns.time), counts):
            pass
        return counts

    def events(
        self, file: InputFile, first_number: int, counts: FileCounts
    ) -> Iterator[tuple[pa.RecordBatch, NDArray[np.int64]]]:
        """Yield the events of a file as they travel, with the bucket of each, int64 (events).

        Args:
            file: The file.
            first_number: Number of its first row; numbers order events of one time.
            counts: Counts the rows.

        Raises:
            BadFileError, BadRowError: The file cannot be read, or has a bad row.
        """
        schema = self.columns.carried
        for arrays, rows, buckets in self._events(file, self.columns.all, counts):
            numbers = pa.array(rows + first_number)
            yield pa.RecordBatch.from_arrays([*arrays, numbers], schema=schema), buckets

    def _events(
        self, file: InputFile, fields: tuple[pa.Field, ...], counts: FileCounts
    ) -> Iterator[tuple[list[pa.Array], NDArray[np.int64], NDArray[np.int64]]]:
        """Yield columns, row in the file and bucket of the good events within the span."""
        parquet = file.open()
        names = [field.name for field in fields if field.name in parquet.schema_arrow.names]
        for batch in decoded(file, parquet, names, num_values=_DECODE_VALUES, max_rows=_MAX_ROWS):
            columns = [_column(batch, field, file, counts.rows) for field in fields]
            taken = self._taken(file, columns[0], columns[1], counts)
            rows = np.flatnonzero(taken)
            if len(rows) < batch.num_rows:
                columns = [column.take(pa.array(rows)) for column in columns]
            buckets = bucket_of(columns[0], self.num_buckets)
            counts.buckets += np.bincount(buckets, minlength=self.num_buckets)
            yield columns, rows + (counts.rows - batch.num_rows), buckets

    def _taken(self, file: InputFile, ids: pa.Array, times: pa.Array, counts: FileCounts) -> NDArray[np.bool_]:
        """Return which events are good and within the span, bool (rows), and count the others."""
        null_ids = is_null_id(ids)
        null_times = pc.is_null(times, nan_is_null=True).to_numpy(zero_copy_only=False) & ~null_ids
        if self.on_bad_row == "fail":
            _refuse(file, counts.rows, null_ids, f"no id: column '{self.columns.id.name}' is null or NaN")
            _refuse(file, counts.rows, null_times, f"no time: column '{self.columns.time.name}' is null or NaN")
        good: NDArray[np.bool_] = ~(null_ids | null_times)
        within = good.copy()
        for limit, compare in ((self.since, pc.greater_equal), (self.until, pc.less)):
            if limit is not None:
                within &= pc.fill_null(compare(times, limit), False).to_numpy(zero_copy_only=False)
        counts.rows += len(ids)
        counts.null_ids += int(null_ids.sum())
        counts.null_times += int(null_times.sum())
        counts.outside += int((good & ~within).sum())
        return within


def _column(batch: pa.RecordBatch, field: pa.Field, file: InputFile, first_row: int) -> pa.Array:
    """Return a column in the type that it has in all files, as it travels.

    Raises:
        InputError: A time does not fit the finer unit that another file has.
    """
    if field.name not in batch.schema.names:
        return to_carrier(pa.repeat(pa.scalar(file.partitions[field.name], pa.string()), batch.num_rows))
    values, target = batch.column(field.name), carrier_type(field.type)
    if pa.types.is_null(values.type):  # pandas writes so a column without values; it may be text in other files
        return pa.nulls(len(values), target)
    kind = plain_type(field.type)
    if pa.types.is_temporal(kind) and getattr(plain_type(values.type), "unit", kind) != getattr(kind, "unit", kind):
        values = _in_finer_unit(plain_values(values), kind, field.name, file, first_row)
    values = to_carrier(values)
    return values if values.type == target else values.cast(target)


def _in_finer_unit(values: pa.Array, kind: pa.DataType, name: str, file: InputFile, first_row: int) -> pa.Array:
    """Return times in a finer unit, exactly.

    Raises:
        InputError: One is beyond what 64 bits hold in that unit.
    """
    try:
        return values.cast(kind)
    except pa.ArrowInvalid as error:
        limits = pa.array([-_MOST, _MOST], pa.int64()).view(kind).cast(values.type, safe=False)
        within = pc.and_(pc.greater_equal(values, limits[0]), pc.less_equal(values, limits[1]))
        row = pc.index(pc.fill_null(within, True), False).as_py()
        counts = values.view(pa.int64()).slice(row, 1)
        is_time = pa.types.is_timestamp(kind)
        shown = counts.view(pa.timestamp(values.type.unit)).cast(pa.string()) if is_time else counts
        unit = values.type.unit
        raise InputError(
            f"{file.name}: row {first_row + row}: column '{name}' is {shown[0]}, in {unit}; that does not fit "
            f"the type of other files, {kind}. Store the column in {unit} in all files, or correct the row."
        ) from error


def bucket_of(ids: pa.Array, num_buckets: int) -> NDArray[np.int64]:
    """Return the bucket of every id, int64 (n): its hash modulo their number.

    The hash depends on the value alone (`seqembed.data.decode.hashing`), so an id stays in its bucket whatever comes
    later. Twice as many buckets cut each in two.

    Args:
        ids: Ids as they travel.
        num_buckets: Number of buckets.
    """
    if pa.types.is_floating(ids.type):
        ids = pc.add(ids.cast(pa.float64()), 0.0).view(
            pa.int64()
        )  # by bits, as text of floats is not the same everywhere
    return (hash_ids(ids) % np.uint64(num_buckets)).astype(np.int64)


def _refuse(file: InputFile, first_row: int, bad: NDArray[np.bool_], reason: str) -> None:
    if bad.any():
        raise BadRowError(
            f"{file.name}: row {first_row + int(np.argmax(bad))}: {reason}. Fix the data, or pass --on-bad-row drop to "
            "leave such events out and count them."
        )
