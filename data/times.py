"""From the times of events to numbers a model can read, from integers and the same way on every host.

A column of timestamps or dates makes six features, `TIME_FEATURES`, all computed after the events of a sequence are in
order:

* ``since_previous``: log1p of the seconds since the event before it, 0 for the first. The length policy cuts later, so
  that the first event that is kept keeps its true gap.
* ``since_first``: log1p of the seconds since the first event that is kept.
* ``day_sin``, ``day_cos``: sine and cosine of 2π times the share of the day that is over, from 00:00.
* ``week_sin``, ``week_cos``: the same of the week, from Monday 00:00.

Times with a zone are instants, and their day and week are those of UTC; times without are what the clock showed. In
ticks of the column's own unit since 1970-01-01 00:00, a difference or a remainder is exact in int64; only then it is
divided, in float64, and only the result is float32. A leap second is none: days have 86,400 seconds, as in Arrow.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.schema import Feature

TimeZone = Literal["aware", "naive"]
TIME_FEATURES: Final = ("since_previous", "since_first", "day_sin", "day_cos", "week_sin", "week_cos")
_DAY_SECONDS: Final = 86_400
_WEEK_SECONDS: Final = 7 * _DAY_SECONDS
_EPOCH_IN_WEEK: Final = 3 * _DAY_SECONDS  # 1970-01-01 was a Thursday
_FLOAT64_DIGITS: Final = 15  # decimal digits that float64 always tells apart
_TICKS_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True, slots=True)
class Times:
    """The times of steps.

    Attributes:
        keys: (steps), what sorts them: int64 ticks where features can be made of them, else numbers of any kind.
        missing: bool (steps).
        ticks_per_second: Of `keys`; None where they are no points in time.
    """

    keys: NDArray[Any]
    missing: NDArray[np.bool_]
    ticks_per_second: int | None


def time_features(column: str) -> tuple[Feature, ...]:
    """Return the features that a column of times makes, in model order."""
    return tuple(Feature(f"{column}.{name}", column, name, "time") for name in TIME_FEATURES)


def zone_of(kind: pa.DataType) -> TimeZone | None:
    """Say what points in time a type holds: instants, what a clock showed, or None where it holds none."""
    if pa.types.is_timestamp(kind):
        return "naive" if kind.tz is None else "aware"
    return "naive" if pa.types.is_date(kind) else None


def read_times(column: pa.Array) -> Times:
    """Return the times of a column of timestamps, dates, other temporal values or numbers."""
    missing = pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
    kind = column.type
    if pa.types.is_null(kind):
        return Times(np.zeros(len(column), dtype=np.int64), missing, None)
    if pa.types.is_decimal(kind) and kind.precision > _FLOAT64_DIGITS:
        # Nanoseconds since 1970 as NUMBER(38) have 19 digits: as float64, neighbouring events would be simultaneous.
        wide = column if kind.bit_width >= 128 else column.cast(pa.decimal128(38, kind.scale))
        return Times(pc.rank(wide, tiebreaker="dense").to_numpy(), missing, None)
    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return Times(np.nan_to_num(column.cast(pa.float64()).to_numpy(zero_copy_only=False)), missing, None)
    if kind != pa.uint64():
        width = pa.int32() if getattr(kind, "bit_width", 64) == 32 and pa.types.is_temporal(kind) else pa.int64()
        column = column.cast(width)
    keys = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    if pa.types.is_timestamp(kind):
        return Times(keys, missing, _TICKS_PER_SECOND[kind.unit])
    if pa.types.is_date32(kind):
        return Times(keys.astype(np.int64) * _DAY_SECONDS, missing, 1)
    return Times(keys, missing, _TICKS_PER_SECOND["ms"] if pa.types.is_date64(kind) else None)


def time_order(keys: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the stable order that sorts each sequence by time, int64 (steps); None where all are in order already.

    Args:
        keys: (steps), of sequences end to end.
        offsets: int64 (sequences + 1).
    """
    falls = keys[1:] < keys[:-1]
    first = offsets[(offsets > 0) & (offsets < len(keys))]
    falls[first - 1] = False  # from one sequence to the next time may go back
    if not falls.any():
        return None
    return np.lexsort((keys, np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))))


def previous_ticks(ticks: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each step the time of the one before it, int64 (steps); its own for the first of a sequence."""
    previous = np.empty_like(ticks)
    previous[1:] = ticks[:-1]
    first = offsets[:-1][np.diff(offsets) > 0]
    previous[first] = ticks[first]
    return previous


def fill_time_features(
    out: NDArray[np.float32],
    features: tuple[Feature, ...],
    ticks: NDArray[np.int64],
    previous: NDArray[np.int64],
    offsets: NDArray[np.int64],
    ticks_per_second: int,
) -> None:
    """Write the features that are made of times; the others are left alone.

    Args:
        out: float32 (steps, features), written to.
        features: In model order.
        ticks: int64 (steps), rising within each sequence.
        previous: int64 (steps), from `previous_ticks`, before the length policy cut.
        offsets: int64 (sequences + 1), after it.
        ticks_per_second: Of `ticks`.
    """
    lengths = np.diff(offsets)
    first = np.repeat(ticks[offsets[:-1][lengths > 0]], lengths[lengths > 0])
    made = {
        "since_previous": _log_seconds(ticks, previous, ticks_per_second),
        "since_first": _log_seconds(ticks, first, ticks_per_second),
    }
    for name, seconds, start in (("day", _DAY_SECONDS, 0), ("week", _WEEK_SECONDS, _EPOCH_IN_WEEK)):
        angle = _angle(ticks, seconds * ticks_per_second, start * ticks_per_second)
        made[f"{name}_sin"], made[f"{name}_cos"] = np.sin(angle), np.cos(angle)
    for index, feature in enumerate(features):
        if feature.kind == "time":
            out[:, index] = made[str(feature.component)]


def _log_seconds(later: NDArray[np.int64], earlier: NDArray[np.int64], ticks_per_second: int) -> NDArray[np.float64]:
    # Unsigned: from the least to the greatest int64 is more than int64 holds.
    ticks = later.view(np.uint64) - earlier.view(np.uint64)
    seconds: NDArray[np.float64] = np.log1p(ticks.astype(np.float64) / ticks_per_second)
    return seconds


def _angle(ticks: NDArray[np.int64], period: int, start: int) -> NDArray[np.float64]:
    """Return the angle of each time on a circle of `period` ticks; `start` is where on it 1970-01-01 00:00 lies."""
    remainder = (np.mod(ticks, period) + start) % period  # first the remainder: the sum cannot overflow then
    angle: NDArray[np.float64] = remainder.astype(np.float64) / period * (2 * np.pi)
    return angle
