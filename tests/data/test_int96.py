"""Times of Parquet's INT96 are correct in any year."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.detect import detect_schema
from seqembed.data.sequences import SequenceBlock, concatenate

FAR = [dt.datetime(2024, 1, 1), dt.datetime(9999, 12, 31, 23, 59), dt.datetime(2024, 1, 2), dt.datetime(1, 1, 1)]
NEAR = [dt.datetime(2024, 1, 1), dt.datetime(2262, 4, 1), dt.datetime(2024, 1, 2, 3, 4, 5, 6), dt.datetime(1677, 10, 1)]


def write(path: Path, times: pa.Array, **options: object) -> InputFile:
    structs = pa.StructArray.from_arrays([times], ["at"])
    lists = pa.ListArray.from_arrays(pa.array(range(len(times) + 1), pa.int32()), structs)
    table = pa.table({"id": [1] * len(times), "t": times, "x": np.arange(len(times), dtype=float), "s": lists})
    pq.write_table(table, path, **options)
    (file,) = resolve_inputs([str(path)])
    return file


def read(file: InputFile, keep: tuple[str, ...] = ("t", "s")) -> SequenceBlock:
    schema = detect_schema([file], features=["x"], time_column="t", layout="events")
    return concatenate(list(read_blocks(file, schema, keep=keep)))


@pytest.mark.parametrize("store_schema", [True, False])
@pytest.mark.parametrize("times", [FAR, NEAR], ids=["far", "near"])
def test_int96_times_equal_int64_times(tmp_path: Path, times: list[dt.datetime], store_schema: bool) -> None:
    column = pa.array(times, pa.timestamp("us"))
    plain = read(write(tmp_path / "int64.parquet", column))
    options = {"use_deprecated_int96_timestamps": True, "store_schema": store_schema}
    block = read(write(tmp_path / "int96.parquet", column, **options))
    np.testing.assert_array_equal(block.values, plain.values)
    assert block.kept["t"].to_pylist() == plain.kept["t"].to_pylist() == [max(times)]
    assert block.kept["s"].to_pylist() == plain.kept["s"].to_pylist()


def test_int96_times_are_ids_too(tmp_path: Path) -> None:
    times = pa.array(FAR, pa.timestamp("us"))
    pq.write_table(
        pa.table({"id": times, "x": [1.0] * 4}), tmp_path / "a.parquet", use_deprecated_int96_timestamps=True
    )
    (file,) = resolve_inputs([str(tmp_path / "a.parquet")])
    schema = detect_schema([file], features=["x"], layout="events")
    assert concatenate(list(read_blocks(file, schema))).ids.to_pylist() == FAR


def test_nanoseconds_written_as_int96_keep_their_order(tmp_path: Path) -> None:
    ticks = pa.array([2_000_000_003, 2_000_000_001, 2_000_000_002], pa.timestamp("ns"))
    plain = read(write(tmp_path / "int64.parquet", ticks), keep=("t",))
    block = read(write(tmp_path / "int96.parquet", ticks, use_deprecated_int96_timestamps=True), keep=("t",))
    np.testing.assert_array_equal(block.values, plain.values)
    assert block.values[:, 0].tolist() == [1, 2, 0]
    assert block.kept["t"].cast(pa.int64()).to_pylist() == [2_000_000_003]


@pytest.mark.parametrize(
    "kind",
    [pa.decimal64(18, 0), pa.decimal128(20, 0), pa.decimal128(38, 9), pa.decimal256(60, 2), pa.uint64(), pa.int64()],
)
def test_integers_beyond_float64_order_events(tmp_path: Path, kind: pa.DataType) -> None:
    start = 10**17
    number = Decimal if pa.types.is_decimal(kind) else int
    times = pa.array([number(start + tick) for tick in (3, 1, 2, 0)], kind)
    np.testing.assert_array_equal(read(write(tmp_path / "a.parquet", times)).values[:, 0], [3, 1, 2, 0])
