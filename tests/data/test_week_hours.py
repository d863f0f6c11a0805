"""Which weekdays and hours the training data covers: exact counts, and the words for what is missing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqembed.data.files.listing import resolve_inputs
from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.detect import detect_schema
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import LengthPolicy
from seqembed.data.survey import survey
from seqembed.data.week_hours import count_week_hours, coverage_gap, missing_hours, missing_weekdays

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def profile_of(path: Path, starts: list[datetime], kind: pa.DataType) -> tuple[SequenceSchema, SequenceProfile]:
    """Write a sequence of an event per start, four times, and return what a survey of it finds."""
    columns = {"id": list("abcd"), "time": pa.array([starts] * 4, pa.list_(kind)), "x": [[1.0] * len(starts)] * 4}
    pq.write_table(pa.table(columns), path)
    files = resolve_inputs([str(path)])
    schema = detect_schema(files, time_column="time")
    return schema, survey(files, schema, LengthPolicy(), seed=0).profile


def hours(num_days: int, of_day: range = range(24)) -> list[datetime]:
    return [MONDAY + timedelta(days=day, hours=hour) for day in range(num_days) for hour in of_day]


def test_every_hour_is_counted_where_it_begins(tmp_path: Path) -> None:
    _, profile = profile_of(tmp_path / "week.parquet", hours(7), pa.timestamp("ms"))
    assert profile.week_hours == (4,) * 168
    assert SequenceProfile.from_json(profile.to_json()) == profile


@given(st.lists(st.integers(0, 604_799), max_size=200), st.integers(0, 200))
def test_counts_are_those_of_the_seconds_and_add_up(seconds: list[int], cut: int) -> None:
    angle = np.array(seconds, dtype=np.float64) / 604_800 * 2 * np.pi
    sines, cosines = np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32)
    counts = count_week_hours(sines, cosines)
    assert counts.tolist() == np.bincount(np.array(seconds, np.int64) // 3600, minlength=168).tolist()
    parts = count_week_hours(sines[:cut], cosines[:cut]) + count_week_hours(sines[cut:], cosines[cut:])
    assert parts.tolist() == counts.tolist()


def test_three_weekdays_leave_four_which_are_named_with_the_remedy(tmp_path: Path) -> None:
    schema, profile = profile_of(tmp_path / "three.parquet", hours(3), pa.timestamp("us", tz="UTC"))
    assert coverage_gap(schema, profile) == (
        "The training data has hardly any events on Thursday to Sunday (UTC). A run on these weekdays will be reported "
        "as drift of time.week_sin and time.week_cos. If such runs are expected, train on data that covers them, or "
        "pass --no-time-features if the time of day and week should not count."
    )


def test_hours_of_the_night_and_a_weekend_are_named(tmp_path: Path) -> None:
    schema, profile = profile_of(tmp_path / "office.parquet", hours(5, range(8, 18)) * 3, pa.timestamp("s"))
    gap = coverage_gap(schema, profile)
    assert gap is not None
    assert "on Saturday and Sunday and between 18:00 and 08:00. A run on these weekdays or hours" in gap
    assert "time.week_sin, time.week_cos, time.day_sin and time.day_cos." in gap


@pytest.mark.parametrize(
    ("starts", "kind"),
    [
        (hours(7), pa.timestamp("us")),
        (hours(1, range(4)), pa.timestamp("us")),  # sixteen events say nothing
        ([MONDAY + timedelta(days=day) for day in range(70)], pa.date32()),  # no date has an hour
    ],
    ids=["all", "few", "dates"],
)
def test_a_complete_week_few_events_and_dates_have_no_gap(
    tmp_path: Path, starts: list[datetime], kind: pa.DataType
) -> None:
    assert coverage_gap(*profile_of(tmp_path / "any.parquet", starts, kind)) is None


def test_without_a_time_there_is_nothing_to_cover(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "x": [[1.0, 2.0]]}), tmp_path / "none.parquet")
    files = resolve_inputs([str(tmp_path / "none.parquet")])
    schema = detect_schema(files)
    profile = survey(files, schema, LengthPolicy(), seed=0).profile
    assert profile.week_hours == ()
    assert "week_hours" not in profile.to_json()
    assert coverage_gap(schema, profile) is None


def test_a_few_stray_events_do_not_cover_a_day() -> None:
    counts = np.full((7, 24), 100)
    counts[3] = 7  # 168 events, where an even share is 1,769
    counts[5] = 9
    assert missing_weekdays(counts.ravel().tolist()) == [3]
    assert missing_hours(counts.ravel().tolist()) == []
