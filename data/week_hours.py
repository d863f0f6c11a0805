"""In which hours of the week the training data has events: a run in other hours is reported as drift."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import SequenceBlock

if TYPE_CHECKING:
    from seqembed.data.profile import SequenceProfile

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NUM_DAY_HOURS: Final = 24
NUM_WEEK_HOURS: Final = NUM_DAY_HOURS * len(WEEKDAYS)
_HOUR_SECONDS: Final = 3600
# A weekday or hour with less than a tenth of an even share is missing; judged only where an even share is this many
# events, so that chance does not leave one empty.
_FEW: Final = 0.1
_MIN_EVEN_SHARE: Final = 20


def week_columns(schema: SequenceSchema) -> tuple[int, int] | None:
    """Return the indices of sine and cosine of the time of week among the features; None without time features."""
    found = {feature.component: index for index, feature in enumerate(schema.features) if feature.kind == "time"}
    return (found["week_sin"], found["week_cos"]) if {"week_sin", "week_cos"} <= found.keys() else None


def hours_of_week(sines: NDArray[np.float32], cosines: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the hour of the week of each step, int64 (steps), 0 from Monday 00:00; -1 where its time is missing.

    Args:
        sines: Of the time of week, float32 (steps), NaN where it is missing.
        cosines: The same.
    """
    angle = np.arctan2(sines.astype(np.float64), cosines.astype(np.float64))
    missing = np.isnan(angle)
    turns = np.where(missing, 0, angle) / (2 * np.pi)
    # float32 holds the time of week to about a tenth of a second: 09:00 must not become 08:59:59.9.
    seconds = np.rint(turns * NUM_WEEK_HOURS * _HOUR_SECONDS).astype(np.int64) % (NUM_WEEK_HOURS * _HOUR_SECONDS)
    return np.where(missing, -1, seconds // _HOUR_SECONDS)


def count_week_hours(sines: NDArray[np.float32], cosines: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return how many steps lie in each hour of the week, int64 (168), from Monday 00:00.

    Counts of several blocks add up exactly.

    Args:
        sines: As for `hours_of_week`.
        cosines: The same.
    """
    hours = hours_of_week(sines, cosines)
    return np.bincount(hours[hours >= 0], minlength=NUM_WEEK_HOURS)


def first_weekdays(schema: SequenceSchema, block: SequenceBlock) -> NDArray[np.int64] | None:
    """Return the weekday of the first step of each sequence, int64 (sequences), 0 for Monday, -1 where it is missing.

    Args:
        schema: Of the sequences; None is returned where it has no time features.
        block: Sequences, each of at least one step.
    """
    if (columns := week_columns(schema)) is None:
        return None
    sines, cosines = (block.values[block.offsets[:-1], column] for column in columns)
    return hours_of_week(sines, cosines) // NUM_DAY_HOURS


def missing_weekdays(week_hours: Sequence[int]) -> list[int]:
    """Return the weekdays with hardly any event, 0 for Monday; none where there are too few events to say."""
    return _missing(np.reshape(week_hours, (len(WEEKDAYS), NUM_DAY_HOURS)).sum(axis=1)) if week_hours else []


def missing_hours(week_hours: Sequence[int]) -> list[int]:
    """Return the hours of the day with hardly any event.

    None where there are too few events to say, or where all times are midnight, as those of dates are.
    """
    if not week_hours:
        return []
    hours = np.reshape(week_hours, (len(WEEKDAYS), NUM_DAY_HOURS)).sum(axis=0)
    return _missing(hours) if hours[1:].any() else []


def coverage_gap(schema: SequenceSchema, profile: "SequenceProfile") -> str | None:
    """Return which weekdays and hours the training data lacks, what follows, and what to do; None if it lacks none."""
    days, hours = missing_weekdays(profile.week_hours), missing_hours(profile.week_hours)
    gaps = [f"on {_listed(_day_spans(days))}"] if days else []
    gaps += [f"between {_listed(_hour_spans(hours))}"] if hours else []
    if not gaps:
        return None
    kinds = ["weekdays"] * bool(days) + ["hours"] * bool(hours)
    parts = ["week"] * bool(days) + ["day"] * bool(hours)
    moved = [f"{schema.time}.{part}_{side}" for part in parts for side in ("sin", "cos")]
    zone = " (UTC)" if schema.time_zone == "aware" else ""
    return (
        f"The training data has hardly any events {' and '.join(gaps)}{zone}. A run on these {' or '.join(kinds)} will "
        f"be reported as drift of {_listed(moved)}. If such runs are expected, train on data that covers them, or pass "
        "--no-time-features if the time of day and week should not count."
    )


def _missing(counts: NDArray[np.int64]) -> list[int]:
    even = counts.sum() / len(counts)
    return [] if even < _MIN_EVEN_SHARE else np.flatnonzero(counts < _FEW * even).tolist()


def _spans(missing: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of adjacent numbers on a circle of `size`, in order of their starts."""
    found = set(missing)
    for first in sorted(found):
        if (first - 1) % size not in found:
            length = next(length for length in range(1, size + 1) if (first + length) % size not in found)
            yield first, (first + length - 1) % size


def _day_spans(days: Sequence[int]) -> list[str]:
    spans = []
    for first, last in _spans(days, len(WEEKDAYS)):
        adjacent = last in (first, (first + 1) % len(WEEKDAYS))
        names = dict.fromkeys((WEEKDAYS[first], WEEKDAYS[last]))
        spans += list(names) if adjacent else [" to ".join(names)]
    return spans


def _hour_spans(hours: Sequence[int]) -> list[str]:
    spans = _spans(hours, NUM_DAY_HOURS)
    return [f"{first:02}:00 and {(last + 1) % NUM_DAY_HOURS:02}:00" for first, last in spans]


def _listed(words: Sequence[str]) -> str:
    """Return words as an enumeration."""
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
