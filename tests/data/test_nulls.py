"""Columns with only nulls give null sequences, and files without rows give no sequences; neither is an error."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.data.decode.times import time_features
from seqembed.data.errors import InputError
from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.check import check_schema
from seqembed.data.schema.schema import CategoricalField, Feature, SequenceSchema
from seqembed.data.schema.vocabulary import MISSING_ID, Vocabulary
from seqembed.data.sequences import SequenceBlock, concatenate

WORDS = Vocabulary("string", ("a",), (1,), 0, 0)
PLAIN = SequenceSchema("id", (Feature("x", "x"), Feature("y", "y")), "nested")
VECTORS = SequenceSchema("id", (Feature("v.0", "v", 0), Feature("v.1", "v", 1)), "nested")
STRUCTS = SequenceSchema(
    "id",
    (Feature("ev.x", "ev", "x"), *time_features("ev.at")),
    "nested",
    time="ev.at",
    categorical=(CategoricalField("ev.kind", "ev", WORDS, "kind"),),
    time_zone="naive",
)
FIELDS = SequenceSchema("id", (Feature("x", "x"),), "nested", categorical=(CategoricalField("kind", "kind", WORDS),))
TIMES = SequenceSchema("id", (Feature("x", "x"), *time_features("at")), "nested", time="at", time_zone="aware")
EVENTS = SequenceSchema(
    "id", (Feature("x", "x"),), "events", time="at", categorical=(CategoricalField("kind", "kind", WORDS),)
)
EVERY = {
    "plain": PLAIN,
    "vectors": VECTORS,
    "structs": STRUCTS,
    "fields": FIELDS,
    "times": TIMES,
    "events": EVENTS,
}


def write(path: Path, table: pa.Table | pd.DataFrame) -> InputFile:
    if isinstance(table, pd.DataFrame):
        table.to_parquet(path)
    else:
        pq.write_table(table, path)
    (file,) = resolve_inputs([str(path)])
    return file


def read(file: InputFile, schema: SequenceSchema) -> SequenceBlock:
    return concatenate(list(read_blocks(file, schema)))


def columns_of(schema: SequenceSchema) -> list[str]:
    time = [] if schema.time is None else [schema.time.split(".")[0]]
    return list(dict.fromkeys([*schema.feature_columns, *time]))


@pytest.mark.parametrize("name", ["plain", "vectors", "structs", "fields", "times"])
def test_a_column_of_nulls_holds_null_sequences(tmp_path: Path, name: str) -> None:
    schema = EVERY[name]
    frame = pd.DataFrame({"id": [1, 2], **{column: [None, None] for column in columns_of(schema)}})
    file = write(tmp_path / "none.parquet", frame)
    assert all(pa.types.is_null(field.type) for field in list(file.open().schema_arrow)[1:])
    block = read(file, schema)
    assert block.ids.to_pylist() == [1, 2]
    np.testing.assert_array_equal(block.lengths, [0, 0])
    assert not block.bad


@pytest.mark.parametrize("name", ["plain", "vectors", "fields"])
def test_lists_of_nulls_hold_steps_without_values(tmp_path: Path, name: str) -> None:
    schema = EVERY[name]
    lists = pa.array([[None, None], [], None], pa.list_(pa.null()))
    file = write(tmp_path / "none.parquet", pa.table({"id": [1, 2, 3], **dict.fromkeys(columns_of(schema), lists)}))
    block = read(file, schema)
    np.testing.assert_array_equal(block.lengths, [2, 0, 0])
    assert np.isnan(block.values).all()
    assert (block.categories == MISSING_ID).all()
    assert not block.bad


@pytest.mark.parametrize("name", ["structs", "times"])
def test_steps_without_a_time_are_bad_rows(tmp_path: Path, name: str) -> None:
    schema = EVERY[name]
    lists = pa.array([[None, None], []], pa.list_(pa.null()))
    file = write(tmp_path / "none.parquet", pa.table({"id": [1, 2], **dict.fromkeys(columns_of(schema), lists)}))
    block = read(file, schema)
    np.testing.assert_array_equal(block.lengths, [0, 0])
    assert [(bad.row, "time" in bad.reason) for _, bad in block.bad] == [(0, True)]


def test_events_of_nulls(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 1], "at": [1, 2], "x": pa.nulls(2), "kind": pa.nulls(2)})
    block = read(write(tmp_path / "a.parquet", table), EVENTS)
    np.testing.assert_array_equal(block.lengths, [2])
    assert np.isnan(block.values).all()
    assert (block.categories == MISSING_ID).all()
    untimed = table.set_column(1, "at", pa.nulls(2))
    block = read(write(tmp_path / "b.parquet", untimed), EVENTS)
    assert "time" in block.bad[0][1].reason


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", ["float64", "object", "string", "bool", "int64", "datetime64[ns]"])
def test_a_file_without_rows_holds_no_sequences_whatever_its_types(tmp_path: Path, name: str, dtype: str) -> None:
    schema = EVERY[name]
    frame = pd.DataFrame({column: pd.Series([], dtype=dtype) for column in ("id", *columns_of(schema), "label")})
    file = write(tmp_path / "empty.parquet", frame)
    assert list(read_blocks(file, schema, keep=["label"])) == []
    missing = write(tmp_path / "other.parquet", frame.drop(columns=columns_of(schema)[0]))
    with pytest.raises(InputError, match=f"no column '{columns_of(schema)[0]}"):
        list(read_blocks(missing, schema))


@pytest.mark.parametrize("name", ["plain", "vectors", "structs", "fields", "times"])
@pytest.mark.parametrize("column", [pa.array([1.0, 2.0]), pa.array(["a", "b"]), pa.array([["a"], ["b"]])])
def test_rows_of_another_type_are_refused(tmp_path: Path, name: str, column: pa.Array) -> None:
    schema = EVERY[name]
    table = pa.table({"id": [1, 2], **dict.fromkeys(columns_of(schema), column)})
    file = write(tmp_path / "other.parquet", table)
    for num_rows in (None, 2):
        with pytest.raises(InputError, match=r"other\.parquet: (column '.*' is .*; expected|rows are single events)"):
            check_schema(file, file.open().schema_arrow, schema, num_rows=num_rows)
