"""The concatenated steps of many sequences, in either layout: numbers, categories and times, before truncation."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.decode.times import fill_time_features, previous_ticks, read_times, time_order
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.schema.vocabulary import to_ids

Leaf = Callable[[str, str | None], pa.Array]


@dataclass(frozen=True, slots=True)
class Clock:
    """The times of steps and of their previous steps, as integers.

    Attributes:
        ticks: int64 (steps), ascending within each sequence.
        previous: int64 (steps), time of the previous step; the first step of a sequence has its own time.
        ticks_per_second: Unit of both.
    """

    ticks: NDArray[np.int64]
    previous: NDArray[np.int64]
    ticks_per_second: int


@dataclass(frozen=True, slots=True)
class Steps:
    """Numbers, categories and times of steps.

    Attributes:
        values: float32 (steps, features); time features are filled by `with_times`, after truncation.
        categories: int32 (steps, fields).
        clock: None without time features.
    """

    values: NDArray[np.float32]
    categories: NDArray[np.int32]
    clock: Clock | None = None

    def take(self, indices: NDArray[np.int64]) -> "Steps":
        """Return the steps at `indices`, int64 (n)."""
        clock = self.clock
        if clock is not None:
            clock = replace(clock, ticks=clock.ticks[indices], previous=clock.previous[indices])
        return Steps(self.values[indices], self.categories[indices], clock)

    def with_times(self, schema: SequenceSchema, offsets: NDArray[np.int64]) -> "Steps":
        """Compute the time features; `offsets`, int64 (sequences + 1), are those after truncation."""
        if self.clock is not None:
            clock = self.clock
            fill_time_features(
                self.values, schema.features, clock.ticks, clock.previous, offsets, clock.ticks_per_second
            )
        return self


def read_categories(schema: SequenceSchema, leaf: Leaf, num_steps: int) -> NDArray[np.int32]:
    """Return the ids of every field, int32 (steps, fields).

    Args:
        schema: The schema, with vocabularies.
        leaf: Returns the steps of a column, or of a field of its structs.
        num_steps: Steps of all sequences.

    Raises:
        ValueError: A vocabulary is not learned yet.
    """
    categories = np.empty((num_steps, schema.num_fields), dtype=np.int32)
    for index, field in enumerate(schema.categorical):
        if field.vocabulary is None:
            raise ValueError(f"the vocabulary of {field.name!r} is not learned yet")
        categories[:, index] = to_ids(leaf(field.column, field.component), field.vocabulary)
    return categories


def in_time_order(
    steps: Steps, times: pa.Array, schema: SequenceSchema, offsets: NDArray[np.int64]
) -> tuple[Steps, NDArray[np.int64] | None, dict[str, NDArray[np.bool_]]]:
    """Sort the steps of each sequence by time; the sort is stable.

    Args:
        steps: Steps in the order of the file.
        times: Arrow array (steps).
        schema: Whether there are time features.
        offsets: int64 (sequences + 1).

    Returns:
        The sorted steps; their order, int64 (steps), or None if they were sorted already; and reason → bool (steps, as
        sorted), steps that make their sequence invalid.
    """
    found = read_times(times)
    order = time_order(found.keys, offsets)
    keys, missing = (found.keys, found.missing) if order is None else (found.keys[order], found.missing[order])
    ordered = steps if order is None else steps.take(order)
    if schema.time_zone is not None and found.ticks_per_second is not None:
        ordered = replace(ordered, clock=Clock(keys, previous_ticks(keys, offsets), found.ticks_per_second))
    reason = f"the time ('{schema.time}') of an event is null; every event needs one"
    return ordered, order, {reason: missing} if missing.any() else {}
