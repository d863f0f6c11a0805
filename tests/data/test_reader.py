"""All column types of the nested layout, events, bad rows and streaming: what is read equals what was written."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqembed.data.errors import InputError
from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet import reader
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.detect import detect_schema
from seqembed.data.schema.schema import SequenceSchema
from seqembed.data.sequences import LengthPolicy, SequenceBlock, concatenate

ROWS = [[[1.0, 2.0], [3.0, 4.0]], [], [[5.0, 6.0]], None, [[7.0, None], [9.0, 10.0], [11.0, 12.0]]]


def write(tmp_path: Path, columns: dict[str, pa.Array], **options: object) -> InputFile:
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet", **options)
    (file,) = resolve_inputs([str(tmp_path / "rows.parquet")])
    return file


def read(file: InputFile, **options: object) -> tuple[SequenceBlock, SequenceSchema]:
    schema = detect_schema([file], **options)
    return concatenate(list(read_blocks(file, schema))), schema


def feature(index: int) -> list[list[float] | None]:
    return [None if row is None else [step[index] for step in row] for row in ROWS]


IDS = pa.array(["a", "b", "c", "d", "e"])
PAIR = pa.struct([("x", pa.float64()), ("y", pa.float32())])
AS_STRUCTS = [None if row is None else [{"x": x, "y": y} for x, y in row] for row in ROWS]
SHAPES = {
    "lists": {"x": pa.array(feature(0), pa.list_(pa.float64())), "y": pa.array(feature(1), pa.list_(pa.float32()))},
    "large lists": {
        "x": pa.array(feature(0), pa.large_list(pa.float32())),
        "y": pa.array(feature(1), pa.large_list(pa.float16())),
    },
    "vectors": {"v": pa.array(ROWS, pa.list_(pa.list_(pa.float32(), 2)))},
    "open vectors": {"v": pa.array(ROWS, pa.list_(pa.list_(pa.float64())))},
    "large vectors": {"v": pa.array(ROWS, pa.large_list(pa.large_list(pa.float64())))},
    "structs": {"s": pa.array(AS_STRUCTS, pa.list_(PAIR))},
    "large structs": {"s": pa.array(AS_STRUCTS, pa.large_list(PAIR))},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_nested_shape_gives_the_same_values(tmp_path: Path, shape: str) -> None:
    block, schema = read(write(tmp_path, {"id": IDS, **SHAPES[shape]}))
    assert schema.layout == "nested"
    assert schema.num_features == 2
    np.testing.assert_array_equal(block.offsets, [0, 2, 2, 3, 3, 6])
    expected = np.array([[1, 2], [3, 4], [5, 6], [7, np.nan], [9, 10], [11, 12]], np.float32)
    assert block.values.dtype == np.float32
    np.testing.assert_array_equal(block.values, expected)
    assert block.ids.to_pylist() == ["a", "b", "c", "d", "e"]
    assert not block.bad


NUMBERS = {
    "bool": (pa.bool_(), [True, False, None]),
    "int8": (pa.int8(), [1, -2, None]),
    "uint64": (pa.uint64(), [1, 2**40, None]),
    "int64": (pa.int64(), [2**53 + 1, -5, None]),
    "float16": (pa.float16(), [np.float16(0.5), np.float16(2), None]),
    "float64": (pa.float64(), [0.1, float("nan"), None]),
    "decimal": (pa.decimal128(9, 2), [Decimal("1.25"), Decimal("-3.50"), None]),
    "decimal256": (pa.decimal256(40, 3), [Decimal("1.125"), Decimal("-3.500"), None]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_type_becomes_float32_with_nan_for_missing(tmp_path: Path, name: str) -> None:
    kind, values = NUMBERS[name]
    block, _ = read(write(tmp_path, {"id": pa.array([1]), "x": pa.array([values], pa.list_(kind))}))
    expected = np.array([np.nan if v is None else float(v) for v in values], np.float32)
    np.testing.assert_array_equal(block.values[:, 0], expected)


def test_fixed_length_windows_are_lists_too(tmp_path: Path) -> None:
    windows = pa.array([[1.0, 2.0, 3.0], None], pa.list_(pa.float32(), 3))
    block, _ = read(write(tmp_path, {"id": pa.array([1, 2]), "x": windows}))
    np.testing.assert_array_equal(block.lengths, [3, 0])


def test_a_null_vector_is_a_step_with_all_values_missing(tmp_path: Path) -> None:
    for inner in (pa.list_(pa.float32(), 2), pa.list_(pa.float32())):
        rows = pa.array([[[1, 2], None, [3, 4]]], pa.list_(inner))
        block, _ = read(write(tmp_path, {"id": pa.array([1]), "v": rows}))
        np.testing.assert_array_equal(block.values, np.array([[1, 2], [np.nan, np.nan], [3, 4]], np.float32))


def test_a_null_struct_is_a_step_with_all_values_missing(tmp_path: Path) -> None:
    rows = pa.array([[{"x": 1, "y": 2}, None]], pa.list_(PAIR))
    block, _ = read(write(tmp_path, {"id": pa.array([1]), "s": rows}))
    np.testing.assert_array_equal(block.values, np.array([[1, 2], [np.nan, np.nan]], np.float32))


def test_features_are_found_by_name_not_by_position(tmp_path: Path) -> None:
    columns = {"id": IDS, **SHAPES["lists"]}
    first = write(tmp_path, columns)
    schema = detect_schema([first])
    values = concatenate(list(read_blocks(first, schema))).values
    second = write(tmp_path, dict(reversed(columns.items())))
    np.testing.assert_array_equal(concatenate(list(read_blocks(second, schema))).values, values)


def test_features_can_be_chosen_and_ordered(tmp_path: Path) -> None:
    file = write(tmp_path, {"id": IDS, **SHAPES["structs"], "z": SHAPES["lists"]["x"]})
    block, schema = read(file, features=["z", "y"])
    assert schema.feature_names == ("z", "s.y")
    np.testing.assert_array_equal(block.values[:2], [[1, 2], [3, 4]])


def test_bad_rows_are_named_and_the_others_kept(tmp_path: Path) -> None:
    x = pa.array([[1.0], [1.0, 2.0], [np.inf], [4.0], None], pa.list_(pa.float64()))
    y = pa.array([[1.0], [1.0], [3.0], [4.0], [5.0]], pa.list_(pa.float64()))
    file = write(tmp_path, {"id": pa.array(["a", "b", "c", None, "e"]), "x": x, "y": y})
    block, _ = read(file)
    np.testing.assert_array_equal(block.lengths, [1, 0, 0, 0, 0])
    assert [(row.row, row.id) for _, row in block.bad] == [(1, "b"), (2, "c"), (3, None), (4, "e")]
    reasons = [row.reason for _, row in block.bad]
    assert "'x' has 2 steps, 'y' has 1" in reasons[0]
    assert "inf" in reasons[1]
    assert "null" in reasons[2]


def test_a_number_beyond_float32_makes_a_bad_row(tmp_path: Path) -> None:
    block, _ = read(write(tmp_path, {"id": pa.array([1, 2]), "x": pa.array([[1e300], [1.0]])}))
    assert [row.row for _, row in block.bad] == [0]


def test_vectors_of_another_width_make_a_bad_row(tmp_path: Path) -> None:
    rows = pa.array([[[1, 2]], [[1, 2], [3]], [[5, 6]]], pa.list_(pa.list_(pa.float32())))
    block, _ = read(write(tmp_path, {"id": pa.array([1, 2, 3]), "v": rows}))
    np.testing.assert_array_equal(block.lengths, [1, 0, 1])
    np.testing.assert_array_equal(block.values, [[1, 2], [5, 6]])
    assert [row.row for _, row in block.bad] == [1]


@pytest.mark.parametrize(("truncate", "expected"), [("tail", [2, 3, 9]), ("head", [1, 2, 9])])
def test_long_sequences_are_truncated_and_counted(tmp_path: Path, truncate: str, expected: list[int]) -> None:
    file = write(tmp_path, {"id": pa.array([1, 2]), "x": pa.array([[1.0, 2.0, 3.0], [9.0]])})
    schema = detect_schema([file])
    (block,) = read_blocks(file, schema, LengthPolicy(2, truncate))
    np.testing.assert_array_equal(block.values[:, 0], expected)
    assert block.num_truncated == 1


def test_hive_keys_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "day=3").mkdir()
    file_path = tmp_path / "day=3" / "part.parquet"
    pq.write_table(pa.table({"id": [1], "x": [[1.0]], "label": ["u"]}), file_path)
    (file,) = resolve_inputs([str(tmp_path)])
    (block,) = read_blocks(file, detect_schema([file]), keep=["day", "label"])
    assert {name: column.to_pylist() for name, column in block.kept.items()} == {"day": ["3"], "label": ["u"]}


def test_limit_stops_the_stream(tmp_path: Path) -> None:
    file = write(tmp_path, {"id": pa.array(range(10)), "x": pa.array([[float(i)] for i in range(10)])})
    assert sum(b.num_sequences for b in read_blocks(file, detect_schema([file]), limit=4)) == 4


def test_one_huge_row_group_is_decoded_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_DECODE_VALUES", 5_000)
    rng = np.random.default_rng(0)
    values = rng.normal(size=30_000)
    offsets = np.arange(0, 30_001, 10)
    columns = {"id": pa.array(np.arange(3000)), "x": pa.ListArray.from_arrays(offsets, values)}
    file = write(tmp_path, columns, row_group_size=10**6)
    blocks = list(read_blocks(file, detect_schema([file])))
    assert file.open().num_row_groups == 1
    assert max(len(block.values) for block in blocks) <= 5_000
    np.testing.assert_array_equal(concatenate(blocks).values[:, 0], values.astype(np.float32))


def test_damaged_pages_are_an_input_error(tmp_path: Path) -> None:
    file = write(tmp_path, {"id": pa.array(range(1000)), "x": pa.array([[float(i)] * 5 for i in range(1000)])})
    content = bytearray((tmp_path / "rows.parquet").read_bytes())
    content[40:4000] = bytes(3960)
    (tmp_path / "rows.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"rows\.parquet.*Write the file again"):
        list(read_blocks(file, detect_schema([file])))


@st.composite
def sequences(draw: st.DrawFn) -> list[list[list[float | None]] | None]:
    number = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32))
    step = st.lists(number, min_size=3, max_size=3)
    return draw(st.lists(st.one_of(st.none(), st.lists(step, max_size=6)), min_size=1, max_size=30))


@settings(max_examples=40)
@given(rows=sequences(), group=st.integers(1, 40))
def test_nested_shapes_agree_for_any_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[list[float | None]] | None], group: int
) -> None:
    ids = pa.array(range(len(rows)))
    lists = {
        f"f{j}": pa.array([None if r is None else [s[j] for s in r] for r in rows], pa.list_(pa.float32()))
        for j in range(3)
    }
    vectors = {"v": pa.array(rows, pa.list_(pa.list_(pa.float32(), 3)))}
    read_back = []
    for columns in (lists, vectors):
        file = write(tmp_path_factory.mktemp("shape"), {"id": ids, **columns}, row_group_size=group)
        read_back.append(read(file)[0])
    one, other = read_back
    np.testing.assert_array_equal(one.offsets, other.offsets)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.lengths, [len(row or []) for row in rows])
