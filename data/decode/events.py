"""Group rows that are single events into sequences: contiguous ids, in time order, across record batches."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.decode.arrow import only_batch, plain_values, to_float32
from seqembed.data.decode.hashing import SeenIds, hash_ids
from seqembed.data.decode.ids import equal_values, id_text, is_null_id, quoted_id, same_as_previous
from seqembed.data.decode.nested import finish_block, infinite_steps, null_ids
from seqembed.data.decode.steps import Steps, in_time_order, read_categories
from seqembed.data.errors import InputError
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import LengthPolicy, SequenceBlock

# Events without an id are not a sequence; a longer run of them counts as several bad sequences.
_MAX_NULL_RUN = 1 << 14


def decode_events(
    batches: Iterable[pa.RecordBatch],
    schema: SequenceSchema,
    policy: LengthPolicy,
    kept: tuple[str, ...],
    name: str,
    first_row: int = 0,
    remedy: str | None = None,
) -> Iterator[SequenceBlock]:
    """Group events into sequences.

    The last id of a record batch may continue in the next one, so memory holds one batch and one sequence. A run of
    events without an id is cut into several bad sequences, since it may be most of a file. An id that occurs again
    later is found by its hash, which takes 8 bytes per id of the file.

    Args:
        batches: Record batches of one file in order, with the id, time, feature and kept columns.
        schema: Which columns make an event.
        policy: How long sequences are truncated.
        kept: Columns to keep; a sequence gets the value of its last event.
        name: The file, for messages.
        first_row: Position of the first event in its file.
        remedy: What to do about an id whose events are not contiguous; None advises to sort the file.

    Raises:
        InputError: The events of an id are not contiguous.
    """
    seen = SeenIds()
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        starts = _run_starts(batch.column(schema.id))
        cut = int(starts[-1])
        if waiting and cut == 0 and _same_id(waiting[-1], batch, schema.id):
            waiting.append(batch)
        else:
            complete = only_batch([*waiting, batch.slice(0, cut)]) if waiting or cut else None
            if complete is not None and complete.num_rows:
                yield _sequences(complete, schema, policy, kept, name, first_row, seen, remedy)
                first_row += complete.num_rows
            waiting = [batch.slice(cut)]
        done, waiting = _shed_nulls(waiting, schema.id)
        if done is not None:
            yield _sequences(done, schema, policy, kept, name, first_row, seen, remedy)
            first_row += done.num_rows
    if waiting:
        yield _sequences(only_batch(waiting), schema, policy, kept, name, first_row, seen, remedy)


def _run_starts(ids: pa.Array) -> NDArray[np.int64]:
    """Return the start of each run of equal ids, int64 (runs); adjacent null ids form one run."""
    return np.concatenate([[0], np.flatnonzero(~same_as_previous(ids)) + 1]).astype(np.int64)


def _sequence_starts(ids: pa.Array) -> NDArray[np.int64]:
    """Return the start of each sequence, int64 (sequences): of each run, and within long runs without an id."""
    starts = _run_starts(ids)
    ends = np.append(starts[1:], len(ids))
    long = np.flatnonzero(ends - starts > _MAX_NULL_RUN)
    long = long[is_null_id(ids.take(pa.array(starts[long])))] if len(long) else long
    more = [np.arange(starts[run] + _MAX_NULL_RUN, ends[run], _MAX_NULL_RUN) for run in long.tolist()]
    return np.sort(np.concatenate([starts, *more])) if more else starts


def _shed_nulls(waiting: list[pa.RecordBatch], column: str) -> tuple[pa.RecordBatch | None, list[pa.RecordBatch]]:
    """Split the last run if it has no id: return the finished sequences, or None, and what may still continue."""
    num_rows = sum(batch.num_rows for batch in waiting)
    if num_rows < _MAX_NULL_RUN or not is_null_id(waiting[0].column(column)[:1])[0]:
        return None, waiting
    joined, done = only_batch(waiting), num_rows - num_rows % _MAX_NULL_RUN
    return joined.slice(0, done), [joined.slice(done)] if done < num_rows else []


def _same_id(before: pa.RecordBatch, after: pa.RecordBatch, column: str) -> bool:
    last, first = before.column(column)[-1:], after.column(column)[:1]
    return bool(equal_values(plain_values(last), plain_values(first))[0])


def _sequences(
    events: pa.RecordBatch,
    schema: SequenceSchema,
    policy: LengthPolicy,
    kept: tuple[str, ...],
    name: str,
    first_row: int,
    seen: SeenIds,
    remedy: str | None,
) -> SequenceBlock:
    all_ids = events.column(schema.id)
    starts = _sequence_starts(all_ids)
    lengths = np.diff(np.append(starts, events.num_rows))
    ids = plain_values(all_ids.take(pa.array(starts)))
    _refuse_scattered(ids, seen, name, schema.id, first_row + starts, remedy)
    values = np.empty((events.num_rows, schema.num_features), dtype=np.float32)
    for index, feature in enumerate(schema.numbers):
        values[:, index] = to_float32(events.column(feature.column))
    categories = read_categories(schema, lambda column, _: events.column(column), events.num_rows)
    steps, order = Steps(values, categories), None
    bad_steps: dict[str, NDArray[np.bool_]] = {}
    if schema.time is not None:
        times = events.column(schema.time)
        steps, order, bad_steps = in_time_order(steps, times, schema, np.append(starts, events.num_rows))
    last = starts + lengths - 1
    newest = pa.array(last if order is None else order[last])
    return finish_block(
        steps,
        schema,
        lengths,
        bad_steps | infinite_steps(steps.values[:, : len(schema.numbers)]),
        ids,
        {column: plain_values(events.column(column).take(newest)) for column in kept},
        null_ids(ids),
        policy,
        first_row + starts,
        lambda index: as_one_row(events.slice(int(starts[index]), int(lengths[index]))),
        lengths,
    )


def as_one_row(events: pa.RecordBatch) -> pa.RecordBatch:
    """Return the events of a sequence as one row of lists."""
    offsets = pa.array([0, events.num_rows], pa.int64())
    lists = [pa.LargeListArray.from_arrays(offsets, plain_values(column)) for column in events.columns]
    return pa.RecordBatch.from_arrays(lists, names=events.schema.names)


def _refuse_scattered(
    ids: pa.Array, seen: SeenIds, name: str, column: str, rows: NDArray[np.int64], remedy: str | None
) -> None:
    known = np.flatnonzero(~is_null_id(ids))
    again = seen.add(hash_ids(ids.take(pa.array(known))))
    if again is not None:
        index = int(known[again])
        raise scattered_events(name, column, ids[index], int(rows[index]), remedy)


def scattered_events(name: str, column: str, value: pa.Scalar, row: int, remedy: str | None) -> InputError:
    """Return the error for an id whose events are not contiguous.

    Args:
        name: The file.
        column: The id column.
        value: The id.
        row: Where it begins again.
        remedy: See `decode_events`.
    """
    return InputError(
        f"{name}: row {row}: the events of {column} = {quoted_id(id_text(value))} are not contiguous: "
        "there are other ids, or events without one, between them. "
        + (remedy or f"Sort the file by '{column}' (and by time), with an id in every row, then run again.")
    )
