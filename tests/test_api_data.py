"""Tables in memory, of any library and layout, get the same vectors as files in `seqembed run`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from events_testing import events_model, transactions, write_nested
from events_testing import write_events as write_transactions
from failing_model import LENGTH, failing

import seqembed
from seqembed_testing import Tiny, done, events_bundle, sequences, write_events, write_sequences

# Columns as Python lists, and their file → the table in a library.
LIBRARIES: dict[str, Callable[[dict[str, list[Any]], Path], Any]] = {
    "pyarrow": lambda columns, path: pq.read_table(path),
    "pandas": lambda columns, path: pd.DataFrame(columns),
    "polars": lambda columns, path: pl.DataFrame(columns, strict=False),
    "duckdb": lambda columns, path: duckdb.sql(f"select * from '{path}'"),
}


def written(data: Path, model: Path, out: Path, *options: object) -> pa.Table:
    """Return the part written by `seqembed run`."""
    done("run", data, "--model", model, "--out", out, "--progress", "none", *options)
    return pq.read_table(out / data.name).combine_chunks()


def flat(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return nested columns as events; values that are not lists are repeated."""
    first = next(values for values in columns.values() if values and isinstance(values[0], list))
    lengths = [len(steps) for steps in first]
    return {
        name: [value for row in values for value in row]
        if isinstance(values[0], list)
        else [value for value, length in zip(values, lengths, strict=True) for _ in range(length)]
        for name, values in columns.items()
    }


def same_vectors(found: pa.Table, expected: pa.Table) -> None:
    """Compare ids, and vectors to the last bit; the types of ids are those of each library."""
    assert found.column_names == expected.column_names
    assert found["id"].to_pylist() == expected["id"].to_pylist()
    found_vectors, expected_vectors = (table["embedding"].combine_chunks() for table in (found, expected))
    assert found_vectors.type == expected_vectors.type
    assert found_vectors.equals(expected_vectors)


def test_masked_values_of_an_array_are_missing(tiny: Tiny) -> None:
    encoder = seqembed.load(tiny.bundle)
    values = np.arange(6, dtype=np.float64).reshape(3, 2)
    masked = np.ma.array(values, mask=values == 3)
    missing = np.where(values == 3, np.nan, values)
    np.testing.assert_array_equal(encoder.embed([masked]), encoder.embed([missing]))
    assert not np.array_equal(encoder.embed([masked]), encoder.embed([values]))


@pytest.mark.parametrize(
    "array",
    [
        np.ones((2, 2), complex),
        np.zeros((2, 2), "datetime64[s]"),
        np.zeros((2, 2), "timedelta64[s]"),
        np.array([["7", "8"]]),
        [[10**400, 1]],
    ],
    ids=["complex", "times", "durations", "text", "beyond float64"],
)
def test_arrays_of_something_else_than_numbers_are_refused(tiny: Tiny, array: object) -> None:
    with pytest.raises(seqembed.InputError, match=r"item 0 is not numeric .* Pass arrays of numbers"):
        seqembed.load(tiny.bundle).embed([array])


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "bool"])
def test_arrays_of_every_number_type_are_read_as_float32(tiny: Tiny, dtype: str) -> None:
    arrays = [np.arange(2 * length).reshape(length, 2).astype(dtype) for length in (3, 0, 5)]
    encoder = seqembed.load(tiny.bundle)
    expected = encoder.embed([array.astype(np.float32) for array in arrays])
    np.testing.assert_array_equal(encoder.embed(arrays), expected)


@pytest.mark.parametrize("library", LIBRARIES)
def test_numbers_nested(tiny: Tiny, tmp_path: Path, library: str) -> None:
    columns = sequences(2_300, seed=3)  # more than one window
    data = write_sequences(tmp_path / "in.parquet", columns, row_group_size=999)
    expected = written(data, tiny.bundle, tmp_path / "out", "--keep", "label")
    encoder, table = seqembed.load(tiny.bundle), LIBRARIES[library](columns, data)
    found = encoder.embed_table(table, keep=["label"])
    same_vectors(found, expected)
    assert found["label"].to_pylist() == columns["label"]
    if library == "pyarrow":
        assert found.combine_chunks().equals(expected)
    vectors = encoder.embed(LIBRARIES[library](columns, data))
    assert vectors.dtype == np.float32
    assert vectors.shape == (2_300, 6)
    empty = np.array([not row for row in columns["x"]])
    assert empty.any()
    assert np.isnan(vectors[empty]).all()
    flat_numbers = expected["embedding"].combine_chunks().flatten().to_numpy()  # without the null rows
    assert vectors[~empty].tobytes() == flat_numbers.tobytes()


@pytest.mark.parametrize("library", LIBRARIES)
def test_numbers_in_events(tiny: Tiny, tmp_path: Path, library: str) -> None:
    model = events_bundle(tiny.bundle, tmp_path / "events.onnx")
    data = write_events(tmp_path / "in.parquet", 700, seed=4)
    table = LIBRARIES[library](pq.read_table(data).to_pydict(), data)
    same_vectors(
        seqembed.load(model).embed_table(table, keep="label"),
        written(data, model, tmp_path / "out", "--keep", "label"),
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {layout: events_model(root, layout) for layout in ("nested", "events")}


@pytest.mark.parametrize("layout", ["nested", "events"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_text_times_and_missing_values(models: dict[str, Path], tmp_path: Path, library: str, layout: str) -> None:
    rows = transactions(200, seed=5, new_merchants=0.1)
    write = write_nested if layout == "nested" else write_transactions
    data = write(tmp_path / "in.parquet", rows)
    table = LIBRARIES[library](rows if layout == "nested" else flat(rows), data)
    found = seqembed.load(models[layout]).embed_table(table)
    same_vectors(found, written(data, models[layout], tmp_path / "out"))


def test_categories_of_pandas_and_polars(models: dict[str, Path], tmp_path: Path) -> None:
    rows = flat(transactions(200, seed=6))
    data = write_transactions(tmp_path / "in.parquet", transactions(200, seed=6))
    expected = written(data, models["events"], tmp_path / "out")
    encoder = seqembed.load(models["events"])
    frame = pd.DataFrame(rows)
    same_vectors(encoder.embed_table(frame.astype({"merchant": "category", "id": "category"})), expected)
    same_vectors(encoder.embed_table(frame.set_index("id")), expected)
    polars = pl.DataFrame(rows).with_columns(pl.col("merchant").cast(pl.Categorical))
    same_vectors(encoder.embed_table(polars), expected)


@pytest.mark.parametrize("layout", ["nested", "events"])
def test_rows_do_not_depend_on_the_division_into_batches(models: dict[str, Path], tmp_path: Path, layout: str) -> None:
    rows = transactions(2_300, seed=7)
    write = write_nested if layout == "nested" else write_transactions
    table = pq.read_table(write(tmp_path / "in.parquet", rows)).combine_chunks()
    encoder = seqembed.load(models[layout])
    complete = encoder.embed_table(table, keep=["kind"]).combine_chunks()
    pieces, first = [], 0
    for size in np.random.default_rng(0).integers(0, 300, 1_000).tolist():
        pieces.append(table.slice(first, size))
        first += size
    assert first >= table.num_rows
    batches = (batch for piece in pieces for batch in piece.to_batches())
    for given in (batches, pieces, pa.RecordBatchReader.from_batches(table.schema, table.to_batches(37)), [table]):
        found = list(encoder.embed_batches(given, keep=["kind"]))
        assert len(found) > 1
        assert pa.Table.from_batches(found).combine_chunks().equals(complete)


def test_batches_are_read_no_further_than_needed(tiny: Tiny) -> None:
    batch = pa.record_batch({"id": ["a"] * 1_000, "x": [[1.0]] * 1_000, "y": [[2.0]] * 1_000})
    read = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal read
        for _ in range(200):
            read += 1
            yield batch

    found = seqembed.load(tiny.bundle).embed_batches(batches())
    assert next(found).num_rows
    assert read < 100  # some windows ahead, of at most 16,384 rows
    assert sum(batch.num_rows for batch in found) > 190_000
    assert read == 200


def test_chunks_of_one_table_may_differ_where_values_are_missing(tiny: Tiny, tmp_path: Path) -> None:
    model = events_bundle(tiny.bundle, tmp_path / "events.onnx")
    chunks = [
        pd.DataFrame({"id": ["a", "a"], "x": [0.5, None], "y": [1.0, 2.0]}),
        pd.DataFrame({"id": ["a", "b"], "x": [None, None], "y": [3, 4]}),
    ]
    assert [str(chunk["y"].dtype) for chunk in chunks] == ["float64", "int64"]
    encoder = seqembed.load(model)
    found = pa.Table.from_batches(encoder.embed_batches(chunks)).combine_chunks()
    assert found.equals(encoder.embed_table(pd.concat([chunks[0], chunks[1].astype({"x": float})])).combine_chunks())
    assert found["id"].to_pylist() == ["a", "b"]
    with pytest.raises(seqembed.InputError, match=r"batch 1: no column 'y'"):
        list(encoder.embed_batches([chunks[0], chunks[1][["id", "x"]]]))
    with pytest.raises(seqembed.InputError, match=r"batch 1: column 'y' is .*string.*first batch double"):
        list(encoder.embed_batches([chunks[0], pd.DataFrame({"id": ["c"], "x": [1.0], "y": ["one"]})]))


def bad_rows() -> dict[str, list[Any]]:
    columns = sequences(50, seed=9, shortest=2)
    columns["x"][3][1] = float("inf")
    columns["y"][7].append(1.0)
    columns["id"][11] = None
    columns["x"][12][0] = 1e300
    return columns


def test_bad_rows_are_those_of_run(tiny: Tiny, tmp_path: Path) -> None:
    table = pa.table({**bad_rows(), "x": pa.array(bad_rows()["x"], pa.list_(pa.float64()))})
    pq.write_table(table, tmp_path / "in.parquet")
    expected = written(tmp_path / "in.parquet", tiny.bundle, tmp_path / "out", "--on-bad-row", "null")
    encoder = seqembed.load(tiny.bundle)
    found = encoder.embed_table(table, on_bad_row="null").combine_chunks()
    assert found.equals(expected)
    assert [index for index, reason in enumerate(found["error"].to_pylist()) if reason] == [3, 7, 11, 12]
    vectors = encoder.embed(table, on_bad_row="null")
    assert np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist() == [3, 7, 11, 12]
    with pytest.raises(seqembed.BadRowError, match=r"^the table: row 3 \(id 's3'\): ±inf.*pass on_bad_row='null'"):
        encoder.embed(table)
    with pytest.raises(seqembed.UsageError, match="on_bad_row must be fail or null, was 'quarantine'"):
        encoder.embed(table, on_bad_row="quarantine")  # type: ignore[arg-type]


def test_vectors_that_are_not_finite_are_bad_rows(tiny: Tiny, tmp_path: Path) -> None:
    columns = sequences(30, seed=3, shortest=1)
    for row in (4, 17):
        columns["x"][row], columns["y"][row] = [float(row)] * LENGTH, [1.0] * LENGTH
    model = failing(tiny.bundle, tmp_path / "failing.onnx", float("inf"))
    data = write_sequences(tmp_path / "in.parquet", columns)
    encoder, table = seqembed.load(model), pq.read_table(data)
    found = encoder.embed_table(table, on_bad_row="null").combine_chunks()
    assert found.equals(written(data, model, tmp_path / "out", "--on-bad-row", "null"))
    assert found["embedding"].null_count == 2
    with pytest.raises(seqembed.BadRowError, match=r"the table: row 4 \(id 's4'\): the model returned a vector"):
        encoder.embed(table)


def test_arrays_are_sequences(tiny: Tiny) -> None:
    columns = sequences(300, seed=10)
    encoder = seqembed.load(tiny.bundle)
    nan = float("nan")
    arrays = [
        np.array([[nan if v is None else v for v in x], [nan if v is None else v for v in y]]).T
        for x, y in zip(columns["x"], columns["y"], strict=True)
    ]
    found = encoder.embed(arrays)
    assert found.tobytes() == encoder.embed(pd.DataFrame(columns)).tobytes()
    table = encoder.embed_table([*arrays, [[np.inf, 0.0]]], on_bad_row="null")
    assert table["id"].to_pylist() == list(range(301))
    assert "±inf" in table["error"][300].as_py()
    assert encoder.embed([]).shape == (0, 6)
    assert np.isnan(encoder.embed([[], [[0.5, None]]])).all(axis=1).tolist() == [True, False]
    same_length = np.random.default_rng(0).normal(size=(5, 9, 2))
    assert encoder.embed(same_length).tobytes() == encoder.embed(list(same_length)).tobytes()


def test_arrays_that_do_not_fit_are_refused(tiny: Tiny, models: dict[str, Path]) -> None:
    encoder = seqembed.load(tiny.bundle)
    for wrong, said in (
        ([np.zeros((3, 2)), np.zeros((3, 4))], r"the list: item 1 has shape \(3, 4\); expected \(time, 2\).*x, y"),
        ([np.zeros(3)], r"item 0 has shape \(3,\)"),
        ([["a", "b"]], "item 0 is not numeric"),
        ([pd.DataFrame({"y": [1.0], "x": [2.0]})], "item 0 is a DataFrame, a table;.*embed_batches"),
    ):
        with pytest.raises(seqembed.InputError, match=said):
            encoder.embed(wrong)
    with pytest.raises(
        seqembed.InputError, match="arrays have only numbers; the model also reads merchant, kind, time"
    ):
        seqembed.load(models["nested"]).embed([np.zeros((3, 1))])
    with pytest.raises(seqembed.InputError, match="arrays have no column 'label' to keep"):
        encoder.embed_table([np.zeros((3, 2))], keep=["label"])


def test_tables_that_do_not_fit_are_refused_with_the_messages_of_run(tiny: Tiny) -> None:
    encoder, columns = seqembed.load(tiny.bundle), sequences(4, seed=1, shortest=1)
    without_y = {name: values for name, values in columns.items() if name != "y"}
    for data, keep, said in (
        (
            pa.table(without_y),
            (),
            r"^the table: no column 'y', expected as a feature\. The table has: id, lab",
        ),
        (pd.DataFrame(columns), ["who"], r"the table: no column 'who'.*Name the right one with keep, or add"),
        (
            pl.DataFrame(columns | {"x": list("abcd")}),
            (),
            "the table: column 'x' is string_view; expected a list in each",
        ),
        (pa.table(columns | {"x": [["a"]] * 4}), (), r"column 'x' is list<.*string>; expected a list of numbers"),
        (columns, (), r"the table: found dict; expected a table.*pyarrow\.table\(data\)"),
        ("in.parquet", (), r"the table: found str;.*seqembed\.run"),
        (iter([pa.table(columns)]), (), "the table: found list_iterator;.*embed_batches"),
        (pd.DataFrame({"id": [1, "a"]}), (), "the table: cannot be read as an Arrow table"),
        (pd.Series([1, 2]), (), "the table: cannot be read as an Arrow table"),
    ):
        with pytest.raises(seqembed.InputError, match=said):
            encoder.embed_table(data, keep=keep)
    with pytest.raises(seqembed.UsageError, match="^keep id: that column is in the output already"):
        encoder.embed_table(pa.table(columns), keep=["id"])
    with pytest.raises(seqembed.InputError, match="the batches: found int; expected an iterable of record batches"):
        encoder.embed_batches(3)  # type: ignore[arg-type]


def test_scattered_events_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    encoder = seqembed.load(events_bundle(tiny.bundle, tmp_path / "events.onnx"))
    table = pa.table({"id": ["a", "b", "a"], "x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0]})
    with pytest.raises(
        seqembed.InputError, match=r"the table: row 2: the events of id = 'a' are not.*Sort the table by"
    ):
        encoder.embed(table)


def test_tables_without_rows(tiny: Tiny) -> None:
    encoder = seqembed.load(tiny.bundle)
    empty = pd.DataFrame({"id": [], "x": [], "y": []})
    assert encoder.embed(empty).shape == (0, 6)
    assert encoder.embed_table(empty).column_names == ["id", "embedding"]
    assert list(encoder.embed_batches([])) == []
    assert list(encoder.embed_batches([empty])) == []
    nothing = pa.table({"id": ["a", "b"], "x": pa.nulls(2), "y": pa.nulls(2)})
    assert np.isnan(encoder.embed(nothing)).all()


def test_a_record_batch_or_a_stream_is_a_table(tiny: Tiny) -> None:
    columns = sequences(30, seed=2)
    encoder, table = seqembed.load(tiny.bundle), pa.table(columns).combine_chunks()
    expected = encoder.embed(table).tobytes()
    (batch,) = table.to_batches()
    assert encoder.embed(batch).tobytes() == expected
    assert encoder.embed(table.to_reader()).tobytes() == expected

    class OnlyArray:
        def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
            return batch.__arrow_c_array__(requested_schema)

    assert encoder.embed(OnlyArray()).tobytes() == expected
