"""Every type survives grouping: as an id, as a time, as a kept value and in lists, with every value as it was."""

import decimal
import uuid
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seqembed
from seqembed.data.errors import InputError

D = decimal.Decimal
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Type → values in ascending order, with the extremes of the type.
TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "bool": (pa.bool_(), [False, True]),
    **{f"int{w}": (getattr(pa, f"int{w}")(), [-(2 ** (w - 1)), -1, 2 ** (w - 1) - 1]) for w in (8, 16, 32, 64)},
    **{f"uint{w}": (getattr(pa, f"uint{w}")(), [0, 1, 2**w - 1]) for w in (8, 16, 32, 64)},
    "float16": (pa.float16(), [-2.5, 0.0, 65504.0]),
    "float32": (pa.float32(), [float("-inf"), -1e-45, 0.10000000149011612]),
    "float64": (pa.float64(), [-5e-324, 0.1, 1e308]),
    "decimal": (pa.decimal128(38, 10), [D("-1.5"), D("0.0000000001"), D("9" * 28)]),
    "short decimal": (pa.decimal128(5, 5), [D("-0.5"), D("0.00001")]),
    "string": (pa.string(), ["", "a\0b", "it's", "ü"]),
    "large string": (pa.large_string(), ["a", "b" * 1000]),
    "binary": (pa.binary(), [b"", b"\0\xff", b"\xfe"]),
    "large binary": (pa.large_binary(), [b"a", b"b"]),
    "fixed binary": (pa.binary(3), [b"\0\0\0", b"abc"]),
    "uuid": (pa.uuid(), [uuid.UUID(int=1).bytes, uuid.UUID(int=2**127).bytes]),
    "date": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    **{
        f"timestamp {unit} {zone}": (pa.timestamp(unit, zone), [-(2**40) - 1, 0, 2**40 + 1])
        for unit in ("ms", "us", "ns")
        for zone in (None, "UTC", "Europe/Berlin", "+05:30")
    },
    "time ms": (pa.time32("ms"), [time(0), time(23, 59, 59, 999000)]),
    "time us": (pa.time64("us"), [time(0), time(23, 59, 59, 999999)]),
    "time ns": (pa.time64("ns"), [1, 86_399_999_999_999]),
    "duration": (pa.duration("ns"), [-1, 2**60]),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), ["a", "b", "c"]),
}
# Only in lists and as kept values.
VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "null": (pa.null(), [None, None]),
    "wide decimal": (pa.decimal256(60, 5), [D("-1.5"), D("9" * 55)]),
    "struct": (pa.struct([("x", pa.int16()), ("Y", pa.string())]), [{"x": 1, "Y": "a"}, {"x": None, "Y": None}]),
    "vector": (pa.list_(pa.float32()), [[1.0, 2.5], []]),
}
NO_TIMES = ("bool", "string", "large string", "binary", "large binary", "fixed binary", "uuid", "dictionary")


def array(kind: pa.DataType, values: list[Any]) -> pa.Array:
    """Return an array with nulls between its values."""
    mixed = [x for value in values for x in (value, None)]
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(mixed, kind.storage_type))
    if pa.types.is_dictionary(kind):
        return pa.array(mixed, kind.value_type).dictionary_encode()
    integers = any(isinstance(value, int) for value in values) and pa.types.is_temporal(kind)
    return pa.array(mixed, pa.int64()).view(kind) if integers else pa.array(mixed, kind)


PLAIN = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}  # of the output, whatever the files have


def read(out: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(out.glob("bucket-*"))])


@pytest.mark.parametrize("name", [*TYPES, *VALUES])
def test_values_in_lists_and_kept_values_are_as_they_were(tmp_path: Path, name: str) -> None:
    values = array(*{**TYPES, **VALUES}[name])
    num = len(values)
    table = pa.table(
        {"id": [k % 2 for k in range(num)], "time": range(num), "x": values, "k": values, "n": [1.0] * num}
    )
    pq.write_table(table, tmp_path / "in.parquet")
    stored = pq.read_table(tmp_path / "in.parquet")
    seqembed.group(tmp_path / "in.parquet", out=tmp_path / "out", keep="k", buckets=1, progress="none")
    found = read(tmp_path / "out")
    kind = stored.schema.field("x").type
    assert kind == table.schema.field("x").type
    assert found.schema.field("x").type.value_type == found.schema.field("k").type == PLAIN.get(kind, kind)
    for row in range(2):
        its = stored.filter(pa.compute.equal(stored["id"], row))
        assert found["x"][row].values.to_pylist() == its["x"].to_pylist()
        assert found["k"][row].as_py() == its["k"].to_pylist()[-1]


@pytest.mark.parametrize("name", TYPES)
def test_ids_of_every_type_keep_type_value_and_order(tmp_path: Path, name: str) -> None:
    kind, values = TYPES[name]
    ids = array(kind, values)
    pq.write_table(pa.table({"id": ids, "time": range(len(ids)), "x": range(len(ids))}), tmp_path / "in.parquet")
    stored = pq.read_table(tmp_path / "in.parquet")["id"].to_pylist()
    options: dict[str, Any] = {"progress": "none", "on_bad_row": "drop"}
    report = seqembed.group(tmp_path / "in.parquet", out=tmp_path / "out", buckets=1, **options)
    assert report.null_ids == len(values)
    found = read(tmp_path / "out")
    assert found.schema.field("id").type == PLAIN.get(ids.type, ids.type)
    assert found["id"].to_pylist() == [value for value in stored if value is not None]


@pytest.mark.parametrize("name", [name for name in TYPES if name not in NO_TIMES])
def test_times_of_every_type_order_the_events(tmp_path: Path, name: str) -> None:
    kind, values = TYPES[name]
    times = array(kind, values).drop_null().take(pa.array(range(len(values)))[::-1])
    num = len(times)
    pq.write_table(pa.table({"id": ["a"] * num, "time": times, "x": range(num)}), tmp_path / "in.parquet")
    stored = pq.read_table(tmp_path / "in.parquet")
    seqembed.group(tmp_path / "in.parquet", out=tmp_path / "out", progress="none")
    found = read(tmp_path / "out")
    assert found.schema.field("time").type.value_type == stored.schema.field("time").type
    assert found["time"][0].values.to_pylist() == stored["time"].to_pylist()[::-1]
    assert found["x"].to_pylist() == [list(range(num))[::-1]]


@pytest.mark.parametrize(
    ("kind", "since", "until", "taken"),
    [
        (pa.timestamp("ms", "Europe/Berlin"), "1970-01-01T00:00:01", "1970-01-01T01:00:03+01:00", [1, 2]),
        (pa.timestamp("ns"), "1970-01-01 00:00:01", "1970-01-01 00:00:03.5", [1, 2, 3]),
        (pa.int64(), "1000", None, [1, 2, 3, 4]),
        (pa.duration("s"), None, None, [0, 1, 2, 3, 4]),
    ],
)
def test_the_span_is_read_in_the_type_of_the_times(
    tmp_path: Path, kind: pa.DataType, since: str | None, until: str | None, taken: list[int]
) -> None:
    per_second = {"ms": 1000, "ns": 10**9}.get(getattr(kind, "unit", ""), 1000)
    times = pa.array([second * per_second for second in range(5)], pa.int64()).view(kind)
    pq.write_table(pa.table({"id": [1] * 5, "time": times, "x": range(5)}), tmp_path / "in.parquet")
    seqembed.group(tmp_path / "in.parquet", out=tmp_path / "out", since=since, until=until, progress="none")
    assert read(tmp_path / "out")["x"].to_pylist() == [taken]


def test_zeros_of_both_signs_are_one_id(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [0.0, 1.0, -0.0], "time": [2, 1, 1], "x": [0, 1, 2]}), tmp_path / "in.parquet")
    seqembed.group(tmp_path / "in.parquet", out=tmp_path / "out", buckets=2, progress="none")
    found = read(tmp_path / "out")
    assert sorted(zip(found["id"].to_pylist(), found["x"].to_pylist(), strict=True)) == [(0.0, [2, 0]), (1.0, [1])]


def test_text_that_is_not_utf8_stays_as_it_is(tmp_path: Path) -> None:
    bad = pa.array([b"M\xfcller", b"\xff"]).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"id": bad, "time": [1, 2], "x": bad}), tmp_path / "in.parquet")
    seqembed.group(tmp_path / "in.parquet", out=tmp_path / "out", buckets=1, progress="none")
    found = read(tmp_path / "out")
    assert found["id"].cast(pa.binary()).to_pylist() == [b"M\xfcller", b"\xff"]
    assert [row.values.cast(pa.binary()).to_pylist() for row in found["x"]] == [[b"M\xfcller"], [b"\xff"]]


@pytest.mark.parametrize(
    "kind", [pa.struct([("x", pa.timestamp("ns"))]), pa.map_(pa.string(), pa.int8()), pa.list_(pa.decimal128(9, 2))]
)
def test_what_would_change_is_refused_by_name_before_the_first_row(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"id": [1], "time": [1], "n": [1], "bad one": pa.array([None], kind)})
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(InputError, match=r"in.parquet: column 'bad one' is .*not return its values unchanged.*Cast it"):
        seqembed.group(tmp_path / "in.parquet", out=tmp_path / "out", progress="none")
    assert not (tmp_path / "out").exists()
    seqembed.group(tmp_path / "in.parquet", out=tmp_path / "out", features="n", progress="none")


def test_dictionaries_of_several_files_may_hold_more_values_than_one(tmp_path: Path) -> None:
    narrow = pa.dictionary(pa.int8(), pa.string(), ordered=True)
    (tmp_path / "in").mkdir()
    for day in range(3):
        values = pa.DictionaryArray.from_arrays(
            pa.array(range(100), pa.int8()), pa.array([f"{day}-{k}" for k in range(100)]), ordered=True
        )
        assert values.type == narrow
        pq.write_table(
            pa.table({"id": [1] * 100, "time": [day] * 100, "x": values}), tmp_path / "in" / f"{day}.parquet"
        )
    seqembed.group(tmp_path / "in", out=tmp_path / "out", progress="none")
    found = read(tmp_path / "out")
    assert found.schema.field("x").type.value_type == pa.dictionary(pa.int32(), pa.string(), ordered=True)
    assert found["x"][0].as_py() == [f"{day}-{k}" for day in range(3) for k in range(100)]


def test_the_index_of_pandas_is_no_feature(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"id": [1, 1], "time": [1, 2], "x": [1.0, 2.0]}, index=pandas.Index([5, 6], name="row"))
    frame.to_parquet(tmp_path / "in.parquet")
    seqembed.group(tmp_path / "in.parquet", out=tmp_path / "out", progress="none")
    assert read(tmp_path / "out").column_names == ["id", "time", "x"]


UNITS = [
    (pa.timestamp("ms"), pa.timestamp("us")),
    (pa.timestamp("us"), pa.timestamp("ns")),
    (pa.timestamp("ms", "Europe/Berlin"), pa.timestamp("ns", "UTC")),
    (pa.duration("ms"), pa.duration("us")),
    (pa.time32("ms"), pa.time64("ns")),
]


@pytest.mark.parametrize(("coarse", "fine"), UNITS)
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_times_of_several_units_get_the_finest_one(
    tmp_path: Path, coarse: pa.DataType, fine: pa.DataType, order: str
) -> None:
    """As the time, in lists, as kept values and as ids: the rows are those of files that all have the finer unit."""
    whole = 32 if pa.types.is_time32(coarse) else 64
    for where in ("mixed", "equal"):
        (tmp_path / where).mkdir()
        for name, kind in zip(order, (coarse, fine), strict=True):
            first = 1_000 if name == "a" else 1_001  # milliseconds
            times = pa.array([first, first + 5, None], getattr(pa, f"int{whole}")()).view(coarse).cast(kind)
            stored = times.cast(fine) if where == "equal" else times
            columns = {"id": times.fill_null(times[0]), "time": stored.fill_null(stored[1]), "x": stored, "k": stored}
            columns["id"] = columns["id"].cast(stored.type)
            pq.write_table(pa.table(columns), tmp_path / where / f"{name}.parquet")
        seqembed.group(tmp_path / where, out=tmp_path / f"{where} out", keep="k", buckets=3, progress="none")
    for path in sorted((tmp_path / "equal out").glob("bucket-*")):
        found, expected = (pq.read_table(tmp_path / out / path.name) for out in ("mixed out", "equal out"))
        assert found.equals(expected) and found.schema.equals(expected.schema)
    found = read(tmp_path / "mixed out")
    assert found.schema.field("x").type.value_type == found.schema.field("id").type == fine
    assert len(found) == 4
    one = found.sort_by("id")["x"][0].as_py()
    assert one[1] is None and len(one) == 2


@pytest.mark.parametrize(
    ("coarse", "fine", "value", "shown"),
    [
        (pa.timestamp("us"), pa.timestamp("ns"), 9_223_372_036_854_776, "2262-04-11 23:47:16.854776"),
        (pa.timestamp("ms", "UTC"), pa.timestamp("ns", "UTC"), -(10**13), "1653-02-10 06:13:20.000"),
        (pa.duration("us"), pa.duration("ns"), 10**17, "100000000000000000"),
    ],
)
def test_a_time_beyond_the_finer_unit_is_refused_with_its_row(
    tmp_path: Path, coarse: pa.DataType, fine: pa.DataType, value: int, shown: str
) -> None:
    (tmp_path / "in").mkdir()
    num, bad = 140_000, 139_001  # in the second batch of a file
    numbers = [0] * num
    numbers[bad] = value
    for name, kind, values in (("a", fine, [0] * 3), ("b", coarse, numbers)):
        times = pa.array(values, pa.int64()).view(kind)
        pq.write_table(
            pa.table({"id": range(len(times)), "time": range(len(times)), "at": times}),
            tmp_path / "in" / f"{name}.parquet",
        )
    with pytest.raises(InputError) as refused:
        seqembed.group(tmp_path / "in", out=tmp_path / "out", buckets=2, progress="none")
    assert str(refused.value).endswith(
        f"b.parquet: row {bad}: column 'at' is {shown}, in {coarse.unit}; that does not fit the type of other files, "
        f"{fine}. Store the column in {coarse.unit} in all files, or correct the row."
    )


def test_a_time_at_the_end_of_the_finer_unit_is_taken(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    ends = [-9_223_372_036_854_775, 9_223_372_036_854_775]
    for name, kind, values in (("a", pa.timestamp("us"), ends), ("b", pa.timestamp("ns"), [0, 1])):
        times = pa.array(values, pa.int64()).view(kind)
        pq.write_table(pa.table({"id": [name] * 2, "time": times, "x": [1, 2]}), tmp_path / "in" / f"{name}.parquet")
    seqembed.group(tmp_path / "in", out=tmp_path / "out", buckets=1, progress="none")
    found = read(tmp_path / "out")["time"].combine_chunks().flatten().view(pa.int64()).to_pylist()
    assert sorted(found) == [ends[0] * 1000, 0, 1, ends[1] * 1000]


def test_times_with_and_without_a_zone_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, zone in (("a", None), ("b", "UTC")):
        times = pa.array([0], pa.int64()).view(pa.timestamp("ms", zone))
        pq.write_table(pa.table({"id": [1], "time": times, "x": [1]}), tmp_path / "in" / f"{name}.parquet")
    with pytest.raises(InputError, match="'time' is timestamp\\[ms, tz=UTC\\]; in .*a.parquet it is timestamp\\[ms\\]"):
        seqembed.group(tmp_path / "in", out=tmp_path / "out", progress="none")
