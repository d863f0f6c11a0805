"""The events layout: grouping across row groups, time order, and ids whose events are not contiguous."""

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqembed.data.bad_rows import bad_row_error
from seqembed.data.decode import events
from seqembed.data.errors import InputError
from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet import reader
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.detect import detect_schema
from seqembed.data.sequences import LengthPolicy, SequenceBlock, concatenate, windows


def write(tmp_path: Path, columns: dict[str, pa.Array], row_group_size: int = 1000) -> InputFile:
    pq.write_table(pa.table(columns), tmp_path / "events.parquet", row_group_size=row_group_size)
    (file,) = resolve_inputs([str(tmp_path / "events.parquet")])
    return file


def read(file: InputFile, keep: tuple[str, ...] = (), **options: object) -> SequenceBlock:
    schema = detect_schema([file], categories=False, **options)
    return concatenate(list(read_blocks(file, schema, keep=keep)))


@settings(max_examples=60)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=40), group=st.integers(1, 50), text=st.booleans())
def test_events_equal_nested_however_the_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], group: int, text: bool
) -> None:
    order = np.random.default_rng(0).permutation(len(lengths))
    names = np.array([f"user-{i}" for i in order]) if text else order
    values = np.arange(sum(lengths), dtype=np.float32)
    columns = {"id": pa.array(np.repeat(names, lengths)), "x": pa.array(values)}
    file = write(tmp_path_factory.mktemp("events"), columns, row_group_size=group)
    block = read(file)
    np.testing.assert_array_equal(block.lengths, lengths)
    np.testing.assert_array_equal(block.values[:, 0], values)
    assert block.ids.to_pylist() == names.tolist()


@pytest.mark.parametrize(
    "kind", [pa.timestamp("us"), pa.timestamp("ns", "UTC"), pa.date32(), pa.int16(), pa.float64(), pa.uint64()]
)
def test_events_are_sorted_by_time_stably_within_an_id(tmp_path: Path, kind: pa.DataType) -> None:
    ticks = [3, 1, 2, 2, 9, 8]
    start = dt.datetime(2026, 1, 1)
    if pa.types.is_timestamp(kind):
        times = pa.array([start + dt.timedelta(days=t) for t in ticks], pa.timestamp("us")).cast(kind)
    elif pa.types.is_date(kind):
        times = pa.array([(start + dt.timedelta(days=t)).date() for t in ticks])
    else:
        times = pa.array(ticks).cast(kind)
    ids = pa.array(["a", "a", "a", "a", "b", "b"])
    file = write(
        tmp_path, {"id": ids, "t": times, "x": pa.array([1.0, 2, 3, 4, 5, 6]), "tag": pa.array(list("uvwxyz"))}
    )
    block = read(file, time_column="t", keep=("tag",))
    np.testing.assert_array_equal(block.values[:, 0], [2, 3, 4, 1, 6, 5])
    assert block.kept["tag"].to_pylist() == ["u", "y"]  # the newest event's


def test_an_id_that_occurs_again_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_DECODE_VALUES", 4)
    ids = ["a", "a", "b", "b", "c", "a"]
    file = write(tmp_path, {"id": pa.array(ids), "x": pa.array(range(6))})
    with pytest.raises(InputError, match=r"row 5: the events of id = 'a' are not contiguous.*Sort the file"):
        read(file)


def test_null_ids_times_and_infinities_make_bad_sequences(tmp_path: Path) -> None:
    ids = pa.array(["a", None, None, "b", "c", None])
    file = write(tmp_path, {"id": ids, "t": pa.array([1, 1, 2, None, 1, 1]), "x": pa.array([1, 2, 3, 4, np.inf, 6])})
    block = read(file, time_column="t")
    np.testing.assert_array_equal(block.lengths, [1, 0, 0, 0, 0])
    assert [(row.row, row.id) for _, row in block.bad] == [(1, None), (3, "b"), (4, "c"), (5, None)]
    assert "time" in block.bad[1][1].reason


@pytest.mark.parametrize("values", [1, 3, 4, 7, 8, 1000])
def test_a_long_run_without_ids_is_cut_into_bad_sequences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: int
) -> None:
    monkeypatch.setattr(reader, "_DECODE_VALUES", values)
    monkeypatch.setattr(events, "_MAX_NULL_RUN", 4)
    ids = ["a"] * 9 + [None] * 10 + ["b", None, "c"] + [None] * 8
    file = write(tmp_path, {"id": pa.array(ids), "x": pa.array(np.arange(30.0))})
    block = read(file)
    assert block.input_rows.tolist() == [9, 4, 4, 2, 1, 1, 1, 4, 4]
    assert [row.row for _, row in block.bad] == [9, 13, 17, 20, 22, 26]
    assert [len(row.raw.column("x")[0]) for _, row in block.bad] == [4, 4, 2, 1, 4, 4]
    blocks = read_blocks(file, detect_schema([file], categories=False))
    assert values == 1000 or max(int(block.input_rows.sum()) for block in blocks) < 24


def test_null_numbers_are_missing_values(tmp_path: Path) -> None:
    file = write(tmp_path, {"id": pa.array([1, 1]), "x": pa.array([None, 2.0]), "flag": pa.array([True, None])})
    np.testing.assert_array_equal(read(file).values, np.array([[np.nan, 1], [2, np.nan]], np.float32))


def test_a_sequence_may_span_many_record_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_DECODE_VALUES", 10)
    file = write(tmp_path, {"id": pa.array([7] * 500 + [8]), "x": pa.array(np.arange(501.0))})
    np.testing.assert_array_equal(read(file).lengths, [500, 1])


def test_a_block_counts_its_events(tmp_path: Path) -> None:
    ids = ["a"] * 7 + ["b"] * 2 + [None] + ["c"] * 3
    file = write(tmp_path, {"id": pa.array(ids), "x": pa.array([1.0] * 8 + [np.inf] + [1.0] * 4)})
    schema = detect_schema([file])
    block = concatenate(list(read_blocks(file, schema, LengthPolicy(2))))
    np.testing.assert_array_equal(block.lengths, [2, 0, 0, 2])
    np.testing.assert_array_equal(block.input_rows, [7, 2, 1, 3])
    assert block.num_rows == 13
    assert [block.slice(0, 1).num_rows, block.slice(1, 4).num_rows, block.slice(2, 2).num_rows] == [7, 6, 0]
    assert block.take(np.array([3, 0])).input_rows.tolist() == [3, 7]
    assert concatenate([block, block.slice(0, 2)]).num_rows == 22
    assert [window.num_rows for window in windows(iter([block]), 3, 100)] == [10, 3]
    assert sum(block.num_rows for block in read_blocks(file, schema, limit=2)) == 9


def test_a_nested_row_is_one_row_of_input(tmp_path: Path) -> None:
    file = write(tmp_path, {"id": pa.array([1, 2]), "x": pa.array([[1.0, 2.0], None])})
    (block,) = read_blocks(file, detect_schema([file]))
    np.testing.assert_array_equal(block.input_rows, [1, 1])
    assert block.num_rows == 2


def test_events_without_an_id_between_those_of_one_are_named(tmp_path: Path) -> None:
    file = write(tmp_path, {"id": pa.array(["a", "a", None, None, "a"]), "x": pa.array([1.0, 2.0, 3.0, 4.0, 5.0])})
    with pytest.raises(
        InputError, match=r"row 4: .*'a' are not contiguous: there are other ids, or events without one,"
    ):
        read(file)


def test_a_bad_sequence_of_events_names_its_rows(tmp_path: Path) -> None:
    file = write(tmp_path, {"id": pa.array(["a", "b", "b", "b"]), "x": pa.array([1.0, 2.0, np.inf, 3.0])})
    ((_, bad),) = read(file).bad
    assert (bad.row, bad.num_rows) == (1, 3)
    assert "rows 1 to 3 (id 'b'): ±inf" in str(bad_row_error("f", bad, "Fix it."))
