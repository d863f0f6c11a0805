"""Compute features from the times of events, with integer arithmetic that gives equal results on every host.

A column of timestamps or dates gives six features, `TIME_FEATURES`, computed after the events of a sequence are sorted:

* ``since_previous``: log1p of the seconds since the previous event, 0 for the first. Sequences are truncated later, so
  the first kept event has its true gap.
* ``since_first``: log1p of the seconds since the first kept event.
* ``day_sin``, ``day_cos``: sine and cosine of 2π times the elapsed share of the day, from 00:00.
* ``week_sin``, ``week_cos``: the same for the week, from Monday 00:00.

Times with a time zone are instants, and their day and week are those of UTC; times without a zone are wall-clock times.
Differences and remainders are exact, computed in int64 in ticks of the column's unit since 1970-01-01 00:00; then they
are divided in float64, and the result is converted to float32. Leap seconds are ignored: days have 86,400 seconds, as
in Arrow.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seqembed.data.schema.schema import Feature

TimeZone = Literal["aware", "naive"]
TIME_FEATURES: Final = ("since_previous", "since_first", "day_sin", "day_cos", "week_sin", "week_cos")
GAPS: Final = TIME_FEATURES[:2]  # log1p of seconds
_DAY_SECONDS: Final = 86_400
_WEEK_SECONDS: Final = 7 * _DAY_SECONDS
_EPOCH_IN_WEEK: Final = 3 * _DAY_SECONDS  # 1970-01-01 was a Thursday
_FLOAT64_DIGITS: Final = 15  # decimal digits that float64 always distinguishes
_TICKS_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True, slots=True)
class Times:
    """The times of steps.

    Attributes:
        keys: (steps), sort keys: int64 ticks for timestamps and dates, else numbers of any kind.
        missing: bool (steps).
        ticks_per_second: Unit of `keys`; None if they are not points in time.
    """

    keys: NDArray[Any]
    missing: NDArray[np.bool_]
    ticks_per_second: int | None


def time_features(column: str) -> tuple[Feature, ...]:
    """Return the features that are computed from a time column, in model order."""
    return tuple(Feature(f"{column}.{name}", column, name, "time") for name in TIME_FEATURES)


def zone_of(kind: pa.DataType) -> TimeZone | None:
    """Return whether a type holds instants (``aware``), wall-clock times (``naive``), or no points in time (None)."""
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
        # Nanoseconds since 1970 as NUMBER(38) have 19 digits: in float64, adjacent events would be simultaneous.
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
    """Return the stable order that sorts each sequence by time, int64 (steps); None if all are already sorted.

    Args:
        keys: (steps), of concatenated sequences.
        offsets: int64 (sequences + 1).
    """
    falls = keys[1:] < keys[:-1]
    first = offsets[(offsets > 0) & (offsets < len(keys))]
    falls[first - 1] = False  # between sequences, time may decrease
    if not falls.any():
        return None
    return np.lexsort((keys, np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))))


def previous_ticks(ticks: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the time of the previous step, int64 (steps); the first step of a sequence gets its own time."""
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
    """Write the time features into `out`, without changing the others.

    Args:
        out: float32 (steps, features), modified.
        features: Features in model order.
        ticks: int64 (steps), ascending within each sequence.
        previous: int64 (steps), from `previous_ticks`, computed before truncation.
        offsets: int64 (sequences + 1), after truncation.
        ticks_per_second: Unit of `ticks`.
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
    # Unsigned, since the difference of the extreme int64 numbers overflows int64.
    ticks = later.view(np.uint64) - earlier.view(np.uint64)
    seconds: NDArray[np.float64] = np.log1p(ticks.astype(np.float64) / ticks_per_second)
    return seconds


def _angle(ticks: NDArray[np.int64], period: int, start: int) -> NDArray[np.float64]:
    """Return the angle of each time on a circle of `period` ticks; 1970-01-01 00:00 is at tick `start`."""
    remainder = (np.mod(ticks, period) + start) % period  # take the remainder first, so that the sum cannot overflow
    angle: NDArray[np.float64] = remainder.astype(np.float64) / period * (2 * np.pi)
    return angle
