"""Decode record batches of the nested layout into flat values, categories and offsets, without loops over rows."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.decode.arrow import as_lists, is_list, leaf, locate, plain_values, to_float32
from seqembed.data.decode.ids import id_text, is_null_id
from seqembed.data.decode.steps import Steps, in_time_order, read_categories
from seqembed.data.schema.schema import Feature, SequenceSchema
from seqembed.data.sequences import BadRow, LengthPolicy, SequenceBlock

Reasons = dict[int, str]
RAGGED = "ragged features"  # prefix of the reason of rows whose columns differ in their number of steps


def decode_nested(
    batch: pa.RecordBatch, schema: SequenceSchema, policy: LengthPolicy, kept: dict[str, pa.Array], first_row: int
) -> SequenceBlock:
    """Decode rows that each hold a complete sequence.

    Args:
        batch: The id and feature columns, types already checked.
        schema: Which columns make a sequence.
        policy: How long sequences are truncated.
        kept: Columns to keep.
        first_row: Position of the batch's first row in its file.
    """
    time = None if schema.time is None else locate(batch.schema, schema.time)
    names = [*schema.feature_columns, *([] if time is None else [time[0]])]
    columns = {name: as_lists(batch.column(name)) for name in dict.fromkeys(names)}
    ids = plain_values(batch.column(schema.id))
    reasons = null_ids(ids) | ragged_rows(columns)
    num_rows = batch.num_rows
    good = np.ones(num_rows, dtype=bool)
    good[list(reasons)] = False
    if reasons:
        columns = {name: column.filter(pa.array(good)) for name, column in columns.items()}
    lengths = np.zeros(num_rows, dtype=np.int64)
    lengths[good] = _list_lengths(next(iter(columns.values())))
    flat = {name: column.flatten() for name, column in columns.items()}

    def steps_of(column: str, component: str | None) -> pa.Array:
        return leaf(flat[column], component)

    num_steps = int(lengths.sum())
    values, bad_steps = _values(flat, schema, num_steps)
    steps = Steps(values, read_categories(schema, steps_of, num_steps))
    if time is not None:
        steps, order, untimed = in_time_order(steps, steps_of(*time), schema, to_offsets(lengths))
        bad_steps = {reason: invalid if order is None else invalid[order] for reason, invalid in bad_steps.items()}
        bad_steps |= untimed
    return finish_block(
        steps,
        schema,
        lengths,
        bad_steps,
        ids,
        kept,
        reasons,
        policy,
        first_row + np.arange(num_rows),
        lambda index: plain_row(batch, index),
    )


def plain_row(batch: pa.RecordBatch, index: int) -> pa.RecordBatch:
    """Return one row of a batch, without dictionaries and views."""
    row = batch.take(pa.array([index]))
    return pa.RecordBatch.from_arrays([plain_values(column) for column in row.columns], names=row.schema.names)


def finish_block(
    steps: Steps,
    schema: SequenceSchema,
    lengths: NDArray[np.int64],
    bad_steps: Mapping[str, NDArray[np.bool_]],
    ids: pa.Array,
    kept: dict[str, pa.Array],
    reasons: Reasons,
    policy: LengthPolicy,
    file_rows: NDArray[np.int64],
    raw: Callable[[int], pa.RecordBatch],
    input_rows: NDArray[np.int64] | None = None,
) -> SequenceBlock:
    """Remove bad sequences, apply the length policy, compute time features, and build the block.

    Args:
        steps: Concatenated steps of all sequences, in order.
        schema: Which features are computed from times.
        lengths: int64 (sequences); sums to the number of steps.
        bad_steps: Reason → bool (steps), steps that make their sequence invalid.
        ids: Arrow array (sequences).
        kept: Columns to keep, each (sequences).
        reasons: Sequences already known to be bad, by index in the block; their length is 0.
        policy: How long sequences are truncated.
        file_rows: int64 (sequences), position of each sequence's (first) row in its file.
        raw: Returns a bad sequence's columns as one row, by index in the block.
        input_rows: int64 (sequences), number of file rows of each sequence; None is one each.
    """
    offsets = to_offsets(lengths)
    reasons = dict(reasons)
    for reason, invalid in bad_steps.items():
        rows = np.searchsorted(offsets, np.flatnonzero(invalid), side="right") - 1
        for row in np.unique(rows).tolist():
            reasons.setdefault(row, reason)
    wanted = lengths.copy()
    wanted[list(reasons)] = 0
    num_truncated = 0
    starts = offsets[:-1]
    if policy.max_length is not None:
        too_long = wanted > policy.max_length
        num_truncated = int(too_long.sum())
        wanted = np.minimum(wanted, policy.max_length)
        if policy.truncate == "tail":
            starts = np.where(too_long, offsets[1:] - wanted, starts)
    new_offsets = to_offsets(wanted)
    if new_offsets[-1] != offsets[-1]:
        steps = steps.take(np.repeat(starts - new_offsets[:-1], wanted) + np.arange(new_offsets[-1]))
    steps = steps.with_times(schema, new_offsets)
    return SequenceBlock(
        values=steps.values,
        offsets=new_offsets,
        ids=ids,
        kept=kept,
        bad=tuple(
            (
                index,
                BadRow(
                    int(file_rows[index]),
                    id_text(ids[index]),
                    reasons[index],
                    raw(index),
                    1 if input_rows is None else int(input_rows[index]),
                ),
            )
            for index in sorted(reasons)
        ),
        num_truncated=num_truncated,
        categories=steps.categories,
        input_rows=np.ones(len(lengths), dtype=np.int64) if input_rows is None else input_rows,
    )


def infinite_steps(values: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
    """Return the steps with ±inf, keyed by the reason; nothing if all values are finite or missing."""
    infinite = np.isinf(values)
    if not infinite.any():
        return {}
    steps: NDArray[np.bool_] = np.asarray(infinite.any(axis=1))
    return {"±inf, or a number beyond float32's range; numbers must be finite (null or NaN where missing)": steps}


def to_offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the start of each sequence, and the end: int64 (sequences + 1)."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def null_ids(ids: pa.Array) -> Reasons:
    """Return the invalid ids, null or NaN, by index, with the reason."""
    return {
        index: "the id is NaN" if ids[index].is_valid else "the id is null"
        for index in np.flatnonzero(is_null_id(ids)).tolist()
    }


def _list_lengths(column: pa.Array) -> NDArray[np.int64]:
    lengths: NDArray[np.int64] = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64)


def ragged_rows(columns: Mapping[str, pa.Array]) -> Reasons:
    """Return the rows whose columns of lists differ in their number of steps, by index, with the reason."""
    names = list(columns)
    lengths = [_list_lengths(columns[name]) for name in names]
    reasons: Reasons = {}
    for name, other in zip(names[1:], lengths[1:], strict=True):
        for row in np.flatnonzero(other != lengths[0]).tolist():
            found = f"'{names[0]}' has {lengths[0][row]} steps, '{name}' has {other[row]}"
            reasons.setdefault(row, f"{RAGGED}: {found}; all features of a sequence need the same number")
    return reasons


def _values(
    flat: Mapping[str, pa.Array], schema: SequenceSchema, num_steps: int
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.bool_]]]:
    """Return float32 (steps, features), numeric features filled, and the steps that make their row invalid."""
    values = np.empty((num_steps, schema.num_features), dtype=np.float32)
    bad_steps: dict[str, NDArray[np.bool_]] = {}
    start = 0
    for name, group in groupby(schema.numbers, key=lambda feature: feature.column):
        features = list(group)
        bad_steps |= _fill(values[:, start : start + len(features)], flat[name], features)
        start += len(features)
    return values, bad_steps | infinite_steps(values[:, :start])


def _fill(out: NDArray[np.float32], steps: pa.Array, features: Sequence[Feature]) -> dict[str, NDArray[np.bool_]]:
    """Write one column's steps into `out` (steps, features); return the steps of the wrong width."""
    if pa.types.is_null(steps.type):
        out[:] = np.nan
    elif pa.types.is_struct(steps.type):
        for index, feature in enumerate(features):
            out[:, index] = to_float32(pc.struct_field(steps, feature.component))
    elif is_list(steps.type):
        return _fill_vectors(out, steps, features[0].column)
    else:
        out[:, 0] = to_float32(steps)
    return {}


def _fill_vectors(out: NDArray[np.float32], steps: pa.Array, column: str) -> dict[str, NDArray[np.bool_]]:
    width = out.shape[1]
    known = pc.is_valid(steps).to_numpy(zero_copy_only=False)
    lengths = _list_lengths(steps)
    wrong = known & (lengths != width)
    right = known & ~wrong
    out[~right] = np.nan  # a null vector is a step with all values missing
    vectors = steps if right.all() else steps.filter(pa.array(right))
    out[right] = to_float32(vectors.flatten()).reshape(-1, width)
    if not wrong.any():
        return {}
    found = int(lengths[wrong][0])
    return {f"{RAGGED}: a vector of '{column}' has {found} values; the model expects {width} in every step": wrong}
