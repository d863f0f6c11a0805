"""The rows of grouped events: order, ties, options and bad rows, against a plain loop over all events."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from grouping_testing import expected, grouped, write_days
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seqembed
from seqembed.data.errors import BadRowError, InputError, UsageError
from seqembed_testing import done
from seqembed_testing import seqembed as command

SCHEMA = pa.schema([("id", pa.string()), ("time", pa.int32()), ("x", pa.float64()), ("kind", pa.string())])
EVENT = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b", "", "a'b", "ü\0", "c"]),
        "time": st.integers(-3, 3),
        "x": st.one_of(st.none(), st.integers(0, 2).map(float)),
        "kind": st.sampled_from(["p", "q", None]),
    }
)
DAYS = st.lists(st.lists(EVENT, max_size=12), min_size=1, max_size=4)
NO_PROGRESS: dict[str, Any] = {"progress": "none"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    days=DAYS,
    buckets=st.sampled_from([1, 3]),
    since=st.sampled_from([None, -1]),
    until=st.sampled_from([None, 2]),
    max_length=st.sampled_from([None, 1, 3]),
    deduplicate=st.sampled_from([(), ("kind",), ("time", "x"), ("exact",)]),
)
def test_rows_equal_those_of_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory, days: Any, buckets: int, deduplicate: Any, **options: Any
) -> None:
    root = tmp_path_factory.mktemp("law")
    write_days(root / "in", days, SCHEMA, row_group_size=5)
    given_ = {name: None if value is None or name == "max_length" else str(value) for name, value in options.items()}
    given_["max_length"] = options["max_length"]
    report = seqembed.group(
        root / "in", out=root / "out", keep=["kind"], buckets=buckets, deduplicate=deduplicate, **given_, **NO_PROGRESS
    )
    names = ("time", "x", "kind") if deduplicate == ("exact",) else deduplicate
    rows = expected(days, ["x"], ["kind"], deduplicate=names, **options)
    assert grouped(root / "out") == rows
    out, dropped = sum(len(row["time"]) for row in rows.values()), report.counts
    assert report.events_in == sum(map(len, days)) == out + report.outside + dropped.duplicates + dropped.truncated
    assert (dropped.ids, dropped.events_out) == (len(rows), out)


def test_events_of_one_time_stay_in_the_order_of_files_and_rows(tmp_path: Path) -> None:
    days = [[{"id": "a", "time": 7, "x": float(10 * day + row), "kind": "p"} for row in range(40)] for day in range(3)]
    write_days(tmp_path / "in", days, SCHEMA, row_group_size=7)
    seqembed.group(tmp_path / "in", out=tmp_path / "out", **NO_PROGRESS)
    assert grouped(tmp_path / "out")["a"]["x"] == [event["x"] for day in days for event in day]
    files = [tmp_path / "in" / f"day={day:03d}.parquet" for day in (2, 0, 1)]
    seqembed.group(files, out=tmp_path / "listed", **NO_PROGRESS)
    assert grouped(tmp_path / "listed")["a"]["x"] == [event["x"] for day in (2, 0, 1) for event in days[day]]


def test_the_number_of_buckets_threads_and_memory_changes_no_row(tmp_path: Path) -> None:
    days = [
        [{"id": f"s{(7 * k + d) % 50}", "time": (k * k) % 97, "x": float(k), "kind": "p"} for k in range(300)]
        for d in range(3)
    ]
    write_days(tmp_path / "in", days, SCHEMA)
    seqembed.group(tmp_path / "in", out=tmp_path / "a", buckets=4, threads=1, **NO_PROGRESS)
    seqembed.group(tmp_path / "in", out=tmp_path / "b", buckets=4, threads=2, memory="3GiB", **NO_PROGRESS)
    seqembed.group(tmp_path / "in", out=tmp_path / "c", buckets=8, **NO_PROGRESS)
    for name in (f"bucket-{index:05d}.parquet" for index in range(4)):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    rows = grouped(tmp_path / "a")
    assert rows == grouped(tmp_path / "c") == expected(days, ["x", "kind"])
    for index in range(4):  # twice as many buckets cut each in two
        halves = [tmp_path / "c" / f"bucket-{half:05d}.parquet" for half in (index, index + 4)]
        whole = pq.read_table(tmp_path / "a" / f"bucket-{index:05d}.parquet")["id"].to_pylist()
        assert sorted(whole) == sorted(name for half in halves for name in pq.read_table(half)["id"].to_pylist())


def test_bad_rows_fail_or_are_dropped_and_counted(tmp_path: Path) -> None:
    events = [{"id": "a", "time": 1, "x": 0.0, "kind": "p"}, {"id": None, "time": 1, "x": 1.0, "kind": "p"}]
    events += [{"id": "a", "time": None, "x": 2.0, "kind": "p"}, {"id": None, "time": None, "x": 3.0, "kind": "p"}]
    write_days(tmp_path / "in", [events[:1], events], SCHEMA)
    with pytest.raises(BadRowError, match=r"day=001.parquet: row 1: no id: .*on_bad_row drop"):
        seqembed.group(tmp_path / "in", out=tmp_path / "out", **NO_PROGRESS)
    assert command("group", tmp_path / "in", "--out", tmp_path / "out").exit_code == 3
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    result = done("group", tmp_path / "in", "--out", tmp_path / "out", "--on-bad-row", "drop")
    assert "5 events in = 2 events of 1 id + 2 without id + 1 without time" in result.output
    assert (
        "5 events in = 2 events"
        in done("group", tmp_path / "in", "--out", tmp_path / "out", "--on-bad-row", "drop").output
    )


def test_a_kept_column_that_varies_is_reported_with_counts(tmp_path: Path) -> None:
    events = [{"id": "a", "time": t, "x": 0.0, "kind": "pq"[t % 2]} for t in range(4)]
    events += [{"id": "b", "time": t, "x": 0.0, "kind": None} for t in range(4)]
    write_days(tmp_path / "in", [events], SCHEMA)
    for _ in range(2):
        result = done("group", tmp_path / "in", "--out", tmp_path / "out", "--keep", "kind")
        assert "WARNING kind varies within 1 id; the newest value was kept" in result.output
    assert {key: row["kind"] for key, row in grouped(tmp_path / "out").items()} == {"a": "q", "b": None}


def test_hive_keys_can_be_kept(tmp_path: Path) -> None:
    for day in (1, 2):
        write_days(tmp_path / "in" / f"day={day}", [[{"id": "a", "time": day, "x": 0.0, "kind": "p"}]], SCHEMA)
    seqembed.group(tmp_path / "in", out=tmp_path / "out", keep=["day"], features=["x"], **NO_PROGRESS)
    assert grouped(tmp_path / "out") == {"a": {"id": "a", "day": "2", "time": [1, 2], "x": [0.0, 0.0]}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": ["id"]}, "keep id: the column is named in id already"),
        ({"features": ["x", "x"]}, "features x: the column is named in features already"),
        ({"max_length": 0}, "max_length must be at least 1, was 0"),
        ({"buckets": 0}, "buckets must be between 1 and"),
        ({"memory": "much"}, "memory 'much' is not a size"),
        ({"since": "9", "until": "9"}, "since 9 is not before until 9: no event lies between"),
        ({"since": "yesterday"}, "since yesterday: not a value of the time column, which is int32"),
        ({"deduplicate": ["exact", "x"]}, "exact"),
    ],
)
def test_options_that_do_not_fit_are_usage_errors(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    write_days(tmp_path / "in", [[{"id": "a", "time": 1, "x": 0.0, "kind": "p"}]], SCHEMA)
    with pytest.raises(UsageError, match=said):
        seqembed.group(tmp_path / "in", out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"id": "customer"}, "no column 'customer'|customer"),
        ({"time": "kind"}, "the time column 'kind' is string; expected timestamps, dates or numbers"),
        ({"features": ["y"]}, "y"),
        ({"deduplicate": ["y"]}, "y"),
        ({"keep": ["x", "kind"]}, "no column that all files have"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    write_days(tmp_path / "in", [[{"id": "a", "time": 1, "x": 0.0, "kind": "p"}]], SCHEMA)
    with pytest.raises(InputError, match=said):
        seqembed.group(tmp_path / "in", out=tmp_path / "out", **options)


@pytest.mark.parametrize("deduplicate", [(), ("time",), ("exact",), ("x",)], ids=str)
@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_floats_keep_every_bit(tmp_path: Path, kind: pa.DataType, deduplicate: tuple[str, ...]) -> None:
    """DuckDB makes 0.0 of -0.0 where it compares rows."""
    wanted = np.array([np.inf, -0.0, 1.5, 0.0, -np.inf, -2.5, np.nan], kind.to_pandas_dtype())
    times = np.array([-1e300, -5.5, -0.0, 1e-9, 2.0, 3.0, np.inf])
    shuffled = np.array([3, 0, 6, 2, 5, 1, 4])
    table = {"id": ["a"] * 7, "time": times[shuffled], "x": pa.array(wanted[shuffled], kind)}
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    seqembed.group(
        tmp_path / "in.parquet", out=tmp_path / "out", buckets="auto", deduplicate=deduplicate, **NO_PROGRESS
    )
    row = pq.read_table(tmp_path / "out").to_pylist()[0]
    assert np.array(row["x"], wanted.dtype).tobytes() == wanted.tobytes()
    assert np.array(row["time"]).tobytes() == times.tobytes()
