"""Time features: exact in any unit, before 1970 and on leap days, after sorting, with or without time zone."""

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqembed.data.decode.times import (
    TIME_FEATURES,
    fill_time_features,
    previous_ticks,
    read_times,
    time_features,
    time_order,
)
from seqembed.data.errors import InputError
from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.check import check_schema
from seqembed.data.schema.detect import detect_schema
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import LengthPolicy, SequenceBlock, concatenate

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
EPOCH = dt.datetime(1970, 1, 1)


def features(times: pa.Array, offsets: list[int] | None = None) -> dict[str, np.ndarray]:
    found = read_times(times)
    assert found.ticks_per_second is not None
    bounds = np.array([0, len(times)] if offsets is None else offsets)
    out = np.empty((len(times), len(TIME_FEATURES)), np.float32)
    previous = previous_ticks(found.keys, bounds)
    fill_time_features(out, time_features("t"), found.keys, previous, bounds, found.ticks_per_second)
    return dict(zip(TIME_FEATURES, out.T, strict=True))


def expected(ticks: list[int], per_second: int) -> dict[str, list[float]]:
    """The same computed with Python's unlimited integers."""

    def angle(tick: int, seconds: int, start: int) -> float:
        period = seconds * per_second
        return 2 * math.pi * (((tick + start * per_second) % period) / period)

    gaps = [0, *(b - a for a, b in zip(ticks, ticks[1:], strict=False))]
    day = [angle(tick, 86_400, 0) for tick in ticks]
    week = [angle(tick, 604_800, 3 * 86_400) for tick in ticks]
    return {
        "since_previous": [math.log1p(gap / per_second) for gap in gaps],
        "since_first": [math.log1p((tick - ticks[0]) / per_second) for tick in ticks],
        **{
            f"{name}_{f.__name__}": [f(a) for a in x]
            for name, x in (("day", day), ("week", week))
            for f in (math.sin, math.cos)
        },
    }


@settings(max_examples=150)
@given(
    ticks=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8).map(sorted), unit=st.sampled_from([*UNITS])
)
def test_any_tick_of_any_unit_is_exact(ticks: list[int], unit: str) -> None:
    found = features(pa.array(ticks, pa.int64()).cast(pa.timestamp(unit)))
    for name, values in expected(ticks, UNITS[unit]).items():
        np.testing.assert_allclose(found[name], np.float32(values), rtol=2e-7, atol=1e-7, err_msg=name)


def test_one_nanosecond_at_2_to_the_53_is_not_lost() -> None:
    ticks = [2**53, 2**53 + 1, 2**60, 2**60 + 1]
    found = features(pa.array(ticks, pa.timestamp("ns")))
    np.testing.assert_allclose(found["since_previous"][[1, 3]], np.float32(math.log1p(1e-9)), rtol=1e-6)


@pytest.mark.parametrize("moment", [dt.datetime(2024, 2, 29, 13, 5, 7), dt.datetime(1969, 12, 31, 23, 59, 59)])
def test_every_unit_and_zone_gives_equal_features(moment: dt.datetime) -> None:
    times = [moment, moment + dt.timedelta(days=1, seconds=3)]
    first = features(pa.array(times, pa.timestamp("s")))
    for kind in (pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("us", "Asia/Tokyo")):
        other = features(pa.array(times, pa.timestamp("us")).cast(pa.timestamp(kind.unit)).cast(kind))
        for name in TIME_FEATURES:
            np.testing.assert_array_equal(first[name], other[name])
    share = (moment - moment.replace(hour=0, minute=0, second=0)).total_seconds() / 86_400
    assert first["day_sin"][0] == np.float32(math.sin(2 * math.pi * share))


def test_dates_are_midnights() -> None:
    days = [dt.date(1960, 2, 29), dt.date(2024, 2, 29), dt.date(2024, 3, 1)]
    midnights = features(pa.array([dt.datetime(d.year, d.month, d.day) for d in days], pa.timestamp("s")))
    for kind in (pa.date32(), pa.date64()):
        found = features(pa.array(days, kind))
        for name in TIME_FEATURES:
            np.testing.assert_array_equal(found[name], midnights[name])
    np.testing.assert_array_equal(midnights["day_cos"], 1)


def test_the_week_starts_on_monday() -> None:
    monday = dt.datetime(2026, 11, 23)
    times = pa.array([monday, monday + dt.timedelta(days=3.5)], pa.timestamp("us"))
    found = features(times)
    np.testing.assert_allclose(found["week_sin"], [0, 0], atol=1e-7)
    np.testing.assert_allclose(found["week_cos"], [1, -1])


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=12), seed=st.integers(0, 99), sorted_already=st.booleans()
)
def test_sorting_is_stable_and_stays_within_sequences(lengths: list[int], seed: int, sorted_already: bool) -> None:
    keys = np.random.default_rng(seed).integers(0, 3, sum(lengths))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    pieces = [sorted(range(a, b), key=lambda i: keys[i]) for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    wanted = np.array([index for piece in pieces for index in piece], dtype=np.int64)
    if sorted_already:
        keys, wanted = keys[wanted], np.arange(len(keys))
    order = time_order(keys, offsets)
    assert order is not None or (wanted == np.arange(len(keys))).all()
    np.testing.assert_array_equal(np.arange(len(keys)) if order is None else order, wanted)


def write(path: Path, **columns: object) -> InputFile:
    pq.write_table(pa.table(columns), path)
    (file,) = resolve_inputs([str(path)])
    return file


def read(file: InputFile, schema: SequenceSchema, policy: LengthPolicy | None = None) -> SequenceBlock:
    return concatenate(list(read_blocks(file, schema, policy)))


TIMES = [EPOCH + dt.timedelta(hours=h) for h in (5, 1, 3, 2, 2)]


def test_nested_and_events_agree_and_the_first_event_kept_keeps_its_gap(tmp_path: Path) -> None:
    flat = write(tmp_path / "e.parquet", id=[1, 1, 1, 2, 2], at=TIMES, x=[1.0, 2, 3, 4, 5])
    rows = write(tmp_path / "n.parquet", id=[1, 2], at=[TIMES[:3], TIMES[3:]], x=[[1.0, 2, 3], [4.0, 5]])
    events = [
        [{"at": t, "x": x} for t, x in zip(times, numbers, strict=True)]
        for times, numbers in ((TIMES[:3], [1.0, 2, 3]), (TIMES[3:], [4.0, 5]))
    ]
    structs = write(tmp_path / "s.parquet", id=[1, 2], ev=events)
    hours = np.log1p(np.array([[2, 0], [2, 2], [0, 0], [0, 0]]) * 3600).astype(np.float32)
    for file, time in ((flat, "at"), (rows, "at"), (structs, "ev.at")):
        schema = detect_schema([file], time_column=time)
        assert schema.feature_names[1:] == tuple(f"{time}.{name}" for name in TIME_FEATURES)
        assert schema.time_zone == "naive"
        block = read(file, schema, LengthPolicy(2))
        np.testing.assert_array_equal(block.values[:, 0], [3, 1, 4, 5])
        np.testing.assert_array_equal(block.values[:, 1:3], hours)
        assert block.num_truncated == 1


def test_times_can_be_the_only_features(tmp_path: Path) -> None:
    file = write(tmp_path / "n.parquet", id=[1, 2, 3], at=[TIMES[:2], [], None], tag=[["a", "b"], [], None])
    schema = detect_schema([file], time_column="at", categories=False, layout="nested", exclude=["tag"])
    assert len(schema.numbers) == 0
    np.testing.assert_array_equal(read(file, schema).lengths, [2, 0, 0])


def test_without_time_features_times_only_order(tmp_path: Path) -> None:
    file = write(tmp_path / "e.parquet", id=[1, 1], at=TIMES[:2], x=[1.0, 2.0])
    schema = detect_schema([file], time_column="at", time_features=False)
    assert (schema.feature_names, schema.time_zone) == (("x",), None)
    np.testing.assert_array_equal(read(file, schema).values, [[2], [1]])


def test_integer_times_in_lists_only_order(tmp_path: Path) -> None:
    file = write(tmp_path / "n.parquet", id=[1], at=[[3, 1, 1]], x=[[1.0, 2.0, 3.0]])
    schema = detect_schema([file], time_column="at")
    assert (schema.feature_names, schema.time_zone) == (("x",), None)
    np.testing.assert_array_equal(read(file, schema).values[:, 0], [2, 3, 1])


def test_a_null_time_in_a_list_makes_a_bad_row(tmp_path: Path) -> None:
    times = [[TIMES[0], None, TIMES[1]], TIMES[:1]]
    file = write(tmp_path / "n.parquet", id=[1, 2], at=times, x=[[1.0, np.inf, 3.0], [4.0]])
    block = read(file, detect_schema([file], time_column="at"))
    np.testing.assert_array_equal(block.lengths, [0, 1])
    assert [(bad.row, bad.id) for _, bad in block.bad] == [(0, "1")]


def test_times_and_numbers_of_unequal_length_are_ragged(tmp_path: Path) -> None:
    file = write(tmp_path / "n.parquet", id=[1, 2], at=[TIMES[:2], TIMES[:1]], x=[[1.0], [1.0]])
    block = read(file, detect_schema([file], time_column="at"))
    assert "'x' has 1 steps, 'at' has 2" in block.bad[0][1].reason


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (pa.timestamp("us"), r"column 'at' is timestamp\[us\]; expected timestamps with a time zone"),
        (pa.int64(), "column 'at' is int64; expected timestamps or dates"),
        (pa.string(), "column 'at' is string; expected a timestamp or a number in each row"),
    ],
)
def test_times_of_another_type_than_trained_on_are_refused(tmp_path: Path, kind: pa.DataType, message: str) -> None:
    aware = pa.array(TIMES[:2], pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    schema = detect_schema([write(tmp_path / "a.parquet", id=[1, 1], at=aware, x=[1.0, 2.0])], time_column="at")
    other = write(tmp_path / "b.parquet", id=[1, 1], at=pa.array([1, 2]).cast(kind), x=[1.0, 2.0])
    with pytest.raises(InputError, match=message) as error:
        check_schema(other, other.open().schema_arrow, schema)
    assert error.value.exit_code == 3
    elsewhere = write(tmp_path / "c.parquet", id=[1, 1], at=aware.cast(pa.timestamp("ns", "Asia/Tokyo")), x=[1.0, 2.0])
    check_schema(elsewhere, elsewhere.open().schema_arrow, schema)
