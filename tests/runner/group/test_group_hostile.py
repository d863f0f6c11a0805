"""Input as it should not be: empty, of different columns, with awkward names, and larger than memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seqembed
from child_runner import contents
from seqembed.data.errors import BadFileError, InputError
from seqembed.data.files.listing import find_inputs
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.detect import detect_schema
from seqembed.runner.group.scan import bucket_of

QUIET: dict[str, Any] = {"progress": "none"}


def write(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def rows(out: Path) -> dict[Any, dict[str, Any]]:
    found = pa.concat_tables([pq.read_table(path) for path in sorted(out.glob("bucket-*"))])
    return {row["id"]: row for row in found.to_pylist()}


def test_no_files_and_empty_files(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no Parquet file found"):
        seqembed.group(tmp_path / "none", out=tmp_path / "out", **QUIET)
    empty: dict[str, Any] = {"id": pa.array([], pa.string()), "time": pa.array([], pa.int64()), "x": pa.array([])}
    write(tmp_path / "in" / "a.parquet", **empty)
    report = seqembed.group(tmp_path / "in", out=tmp_path / "out", buckets=2, **QUIET)
    assert (report.events_in, report.counts.ids, len(report.made)) == (0, 0, 2)
    assert rows(tmp_path / "out") == {}
    write(tmp_path / "in" / "b.parquet", id=["a"], time=[1], x=[1.0])
    seqembed.group(tmp_path / "in", out=tmp_path / "other", buckets=2, **QUIET)  # types are those of files with rows
    assert rows(tmp_path / "other") == {"a": {"id": "a", "time": [1], "x": [1.0]}}
    (tmp_path / "in" / "c.parquet").write_bytes(b"PAR1 nothing else")
    with pytest.raises(BadFileError, match=r"c\.parquet"):
        seqembed.group(tmp_path / "in", out=tmp_path / "other", buckets=2, **QUIET)


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        (pa.int16(), pa.int64(), pa.int64()),
        (pa.string(), pa.large_string(), pa.string()),
        (pa.large_binary(), pa.binary(), pa.binary()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), pa.string()),
        (pa.float32(), pa.float64(), pa.float64()),
        *(
            (pa.null(), kind, kind)
            for kind in (pa.date32(), pa.string(), pa.bool_(), pa.decimal128(9, 2), pa.float16())
        ),
        (pa.null(), pa.list_(pa.float32()), pa.list_(pa.float32())),
        (pa.struct([("x", pa.int8())]), pa.null(), pa.struct([("x", pa.int8())])),
        (pa.int64(), pa.float64(), None),
        (pa.int64(), pa.uint64(), None),
        (pa.int64(), pa.string(), None),
        (pa.timestamp("ms", "Europe/Berlin"), pa.timestamp("ms", "+05:30"), pa.timestamp("ms", "UTC")),
        (pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
        (pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("ms"), pa.timestamp("ms", "UTC"), None),
        (pa.decimal128(9, 2), pa.decimal128(9, 3), None),
    ],
)
def test_types_that_differ_between_files_are_joined_exactly_or_refused(
    tmp_path: Path, first: pa.DataType, second: pa.DataType, joined: pa.DataType | None
) -> None:
    for name, kind in (("a", first), ("b", second)):
        write(tmp_path / "in" / f"{name}.parquet", id=["i"], time=[1], n=[1], x=pa.nulls(1, kind))
    if joined is None:
        with pytest.raises(InputError, match=r"b.parquet: column 'x' is .*; in a.parquet it is .* Cast it to one type"):
            seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    else:
        seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
        assert pq.read_schema(tmp_path / "out" / "bucket-00000.parquet").field("x").type.value_type == joined


@pytest.mark.parametrize(
    ("first", "late", "remade"),
    [
        (pa.string(), pa.large_string(), 1),  # as of a table whose deletes are written by another program
        (pa.large_string(), pa.dictionary(pa.int32(), pa.string()), 1),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), 4),
        (pa.null(), pa.string(), 4),  # as pandas writes a column without values
        (pa.int16(), pa.int64(), 4),
        (pa.float32(), pa.float64(), 4),
        (pa.timestamp("ms"), pa.timestamp("us"), 4),
        (pa.timestamp("us"), pa.timestamp("ms"), 1),
    ],
    ids=str,
)
def test_a_late_file_of_another_type_needs_no_other_options(
    tmp_path: Path, first: pa.DataType, late: pa.DataType, remade: int
) -> None:
    ids, values = [f"i{number}" for number in range(40)], [str(number) for number in range(40)]
    write(tmp_path / "in" / "a.parquet", id=ids, time=range(40), x=as_type(values, first))
    seqembed.group(tmp_path / "in", out=tmp_path / "out", buckets=4, **QUIET)
    write(tmp_path / "in" / "b.parquet", id=["i0"], time=[99], x=as_type(["7"], late))
    report = seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    assert len(report.made) == remade
    assert [note for note in report.notes if "made again" in note] == (
        [f"all buckets are made again, since types changed: 'x' is {joined_type(tmp_path)}, was {first}"]
        if remade == 4
        else []
    )
    seqembed.group(tmp_path / "in", out=tmp_path / "anew", buckets=4, **QUIET)
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")
    assert not seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET).made


def test_times_of_several_zones_are_the_same_instants(tmp_path: Path) -> None:
    instants = pa.array([1_700_000_000_000, 1_700_000_060_000], pa.int64())
    for name, zone, at in (("a", "Europe/Berlin", 1), ("b", "America/New_York", 0)):
        times = instants[at : at + 1].view(pa.timestamp("ms", zone))
        write(tmp_path / "in" / f"{name}.parquet", id=["i"], time=times, x=[float(at)])
    seqembed.group(tmp_path / "in", out=tmp_path / "out", until="2023-11-14T17:15:00-05:00", **QUIET)
    (row,) = rows(tmp_path / "out").values()
    assert (row["x"], [one.timestamp() for one in row["time"]]) == ([0.0, 1.0], [1_700_000_000.0, 1_700_000_060.0])


def test_a_late_file_without_a_column_of_the_buckets_is_named(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / "in" / f"{name}.parquet", id=["i"], time=[1], x=[1.0], y=[2.0])
    seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    write(tmp_path / "in" / "c.parquet", id=["i"], time=[2], x=[1.0])
    said = (
        r"^column 'y' is left out, since 1 of 3 files lacks it, such as c\.parquet; but the buckets in .*out have it\."
    )
    with pytest.raises(InputError, match=said):
        seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    seqembed.group(tmp_path / "in", out=tmp_path / "out", features="x", overwrite=True, **QUIET)
    assert rows(tmp_path / "out") == {"i": {"id": "i", "time": [1, 1, 2], "x": [1.0] * 3}}


def as_type(texts: list[str], kind: pa.DataType) -> pa.Array:
    """Return texts, or the numbers in them, with a type."""
    if pa.types.is_null(kind):
        return pa.nulls(len(texts))
    if pa.types.is_timestamp(kind):
        return pa.array(map(int, texts), pa.int64()).view(kind)
    return pa.array(texts).cast(kind) if not pa.types.is_dictionary(kind) else pa.array(texts).dictionary_encode()


def joined_type(root: Path) -> pa.DataType:
    return pq.read_schema(root / "out" / "bucket-00000.parquet").field("x").type.value_type


def test_integer_ids_of_any_width_are_the_same_ids(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.parquet", id=pa.array([7, 8], pa.int8()), time=[1, 1], x=[0.0, 1.0])
    write(tmp_path / "in" / "b.parquet", id=pa.array([7, 9], pa.int64()), time=[2, 1], x=[2.0, 3.0])
    seqembed.group(tmp_path / "in", out=tmp_path / "out", buckets=3, **QUIET)
    assert {key: row["x"] for key, row in rows(tmp_path / "out").items()} == {7: [0.0, 2.0], 8: [1.0], 9: [3.0]}


def test_a_column_that_some_files_lack_is_left_out_with_a_note_or_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.parquet", id=["i"], time=[1], x=[1.0])
    write(tmp_path / "in" / "b.parquet", id=["i"], time=[2], x=[2.0], y=[3.0])
    report = seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET)
    assert report.notes == ("WARNING column 'y' is left out, since only 1 of 2 files has it, such as b.parquet",)
    assert rows(tmp_path / "out") == {"i": {"id": "i", "time": [1, 2], "x": [1.0, 2.0]}}
    with pytest.raises(InputError, match=r"a\.parquet: no column 'y'"):
        seqembed.group(tmp_path / "in", out=tmp_path / "other", features=["x", "y"], **QUIET)
    write(tmp_path / "in" / "c.parquet", id=["i"], time=[3], x=[2.0], y=[3.0])
    report = seqembed.group(tmp_path / "in", out=tmp_path / "most", **QUIET)
    assert report.notes == ("WARNING column 'y' is left out, since 1 of 3 files lacks it, such as a.parquet",)


def test_of_many_columns_that_some_files_lack_some_are_named_and_the_others_counted(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.parquet", id=["i"], time=[1], x=[1.0])
    write(tmp_path / "in" / "b.parquet", id=["i"], time=[2], x=[2.0], **{f"y{index}": [0.0] for index in range(7)})
    *named, more = seqembed.group(tmp_path / "in", out=tmp_path / "out", **QUIET).notes
    assert [note.split("'")[1] for note in named] == ["y0", "y1", "y2", "y3", "y4"]
    assert more == "WARNING 2 more columns that some files lack: left out, too"


def test_awkward_names_of_columns_and_paths(tmp_path: Path) -> None:
    names = ["select", 'a "quoted" one', "it's", "A", "a", "c0", "number", "a.b", "", "ü; drop table events"]
    root = tmp_path / 'it\'s a "dir" ü %41'
    columns = {name: [float(index), float(index) + 100] for index, name in enumerate(names)}
    write(root / "in" / "a b'c.parquet", **{"order by": ["i", "i"], "group": [2, 1]}, **columns)
    seqembed.group(root / "in", id="order by", time="group", keep=["it's"], out=root / "out", **QUIET)
    (row,) = pq.read_table(root / "out" / "bucket-00000.parquet").to_pylist()
    lists = {name: values[::-1] for name, values in columns.items() if name != "it's"}
    assert row == {"order by": "i", "it's": columns["it's"][0], "group": [1, 2], **lists}


def test_one_event_per_id_and_one_id_with_many_events(tmp_path: Path) -> None:
    num = 200_000
    times = np.random.default_rng(0).permutation(num)
    write(tmp_path / "a.parquet", id=pa.array(np.arange(num)), time=times, x=times.astype(np.float32))
    report = seqembed.group(tmp_path / "a.parquet", out=tmp_path / "many", buckets=2, **QUIET)
    assert (report.counts.ids, report.counts.longest) == (num, 1)
    write(
        tmp_path / "b.parquet", id=pa.repeat("one", 5 * num), time=np.tile(times, 5), x=np.repeat(np.arange(5.0), num)
    )
    report = seqembed.group(tmp_path / "b.parquet", out=tmp_path / "one", buckets=2, **QUIET)
    assert (report.counts.ids, report.counts.shortest) == (1, 5 * num)
    found = pa.concat_tables([pq.read_table(path) for path in (tmp_path / "one").glob("bucket-*")])
    assert (found["time"][0].values.to_numpy() == np.repeat(np.arange(num), 5)).all()
    assert (found["x"][0].values.to_numpy() == np.tile(np.arange(5.0), num)).all()
    file = find_inputs([str(tmp_path / "one")]).files
    blocks = [b for f in file for b in read_blocks(f, detect_schema(file, features=("x",), layout="nested"))]
    assert sum(len(block.values) for block in blocks) == 5 * num


def test_buckets_of_ids_are_the_same_everywhere_and_forever() -> None:
    ids = [pa.array(["a", "b", "customer-7"]).cast(pa.large_binary()), pa.array([0, 7, -1]), pa.array([0.0, -0.0, 1.5])]
    assert [bucket_of(array, 1024).tolist() for array in ids] == [[242, 337, 649], [431, 471, 32], [431, 431, 138]]
    assert bucket_of(pa.array([7], pa.int8()), 1024).tolist() == bucket_of(pa.array([7], pa.uint64()), 1024).tolist()


MEASURED = """
import json, sys
import seqembed
report = seqembed.group(sys.argv[1], out=sys.argv[2], memory="512MB", threads=1, progress="none")
from seqembed.runner.report import peak_rss_bytes
print(json.dumps([peak_rss_bytes(), report.spilled_bytes, report.events_in, report.counts.events_out]))
"""


def test_more_events_than_memory_are_grouped_within_it(tmp_path: Path) -> None:
    """Bytes that do not compress, 600 MB of them in 512 MB, so that they have to go to disk."""
    (tmp_path / "in").mkdir()
    random = np.random.default_rng(0)
    schema = pa.schema([("id", pa.int32()), ("time", pa.int64()), ("x", pa.binary(5_000))])
    with pq.ParquetWriter(tmp_path / "in" / "a.parquet", schema, compression="none", use_dictionary=False) as writer:
        num = 5_000
        values = pa.Array.from_buffers(schema.field("x").type, num, [None, pa.py_buffer(random.bytes(num * 5_000))])
        for _ in range(24):  # the same bytes again, too far apart for a compressor to notice
            columns = [random.integers(0, 9_000, num), random.integers(0, 10**9, num), values]
            writer.write_table(pa.table(columns, schema=schema))
    words = [sys.executable, "-c", MEASURED, str(tmp_path / "in"), str(tmp_path / "out")]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    peak, spilled, events_in, events_out = json.loads(ended.stdout)
    assert events_in == events_out == 24 * 5_000
    assert spilled > 512 * 10**6 > peak, (peak, spilled)
