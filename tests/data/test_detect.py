"""Layout detection, and files that do not fit: each error names place, expectation and remedy."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.check import check_schema
from data.detect import detect_schema
from data.errors import InputError, UsageError
from data.inputs import InputFile
from data.listing import resolve_inputs
from data.schema import SequenceSchema

LISTS = [[1.0, 2.0], [3.0]]


def fields(schema: SequenceSchema) -> tuple[str, ...]:
    return tuple(field.name for field in schema.categorical)


def write(tmp_path: Path, **columns: object) -> InputFile:
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    (file,) = resolve_inputs([str(tmp_path / "in.parquet")])
    return file


def test_lists_with_scalar_labels_are_nested(tmp_path: Path) -> None:
    schema = detect_schema([write(tmp_path, id=["a", "b"], speaker=[1, 2], x=LISTS, words=[["u"], ["v"]])])
    assert (schema.layout, schema.feature_names, fields(schema)) == ("nested", ("x",), ("words",))


def test_scalars_are_events(tmp_path: Path) -> None:
    schema = detect_schema(
        [write(tmp_path, id=["a", "a"], t=[1, 2], x=[1.0, 2.0], y=[True, False], kind=[1, 1], note=["u", "v"])],
        time_column="t",
        exclude=["kind"],
    )
    assert (schema.layout, schema.feature_names, schema.time) == ("events", ("x",), "t")
    assert fields(schema) == ("y", "note")


def test_a_feature_that_is_not_there_is_missing_not_ambiguous(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column 'z'.*--features"):
        detect_schema([write(tmp_path, id=["a", "b"], x=LISTS, label=[1, 2])], features=["z"])


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({"id": ["a", "a"], "x": LISTS}, {}),
        ({"id": ["a", "b"], "x": LISTS, "t": [1, 2]}, {"time_column": "t"}),
        ({"id": ["a", "b"], "x": LISTS, "y": [1.0, 2.0]}, {"features": ["x", "y"]}),
    ],
)
def test_two_possible_readings_are_ambiguous(tmp_path: Path, columns: dict, options: dict) -> None:
    with pytest.raises(InputError, match="ambiguous.*--layout"):
        detect_schema([write(tmp_path, **columns)], **options)


def test_saying_the_layout_settles_it(tmp_path: Path) -> None:
    file = write(tmp_path, id=["a", "a"], x=LISTS, y=[1.0, 2.0])
    assert detect_schema([file], layout="nested").feature_names == ("x",)
    assert detect_schema([file], layout="events").feature_names == ("y",)


def test_the_time_of_a_nested_sequence_is_a_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"column 't' is int64; expected a timestamp or a number in each step of"):
        detect_schema([write(tmp_path, id=["a"], x=[[1.0]], t=[1])], layout="nested", time_column="t")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id_column": "user"}, r"in\.parquet: no column 'user'.*--id"),
        ({"features": ["nope"], "layout": "nested"}, r"no column 'nope'.*--features"),
        ({"features": ["days"], "layout": "nested"}, r"column 'days' is list<.*date32.*>; expected a list of numbers"),
        ({"categorical": ["x"]}, r"column 'x' is double; expected whole numbers, booleans or text.*--categorical"),
        ({"categorical": ["nope"]}, r"no column 'nope'.*--categorical"),
        ({"features": ["x", "x"]}, "twice"),
    ],
)
def test_wrong_names_and_types_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    file = write(tmp_path, id=["a", "b"], x=LISTS, days=[[dt.date(2026, 1, 1)], []])
    with pytest.raises((InputError, UsageError), match=message):
        detect_schema([file], **options)


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column of numbers or text besides id"):
        detect_schema([write(tmp_path, id=["a"], day=[dt.date(2026, 1, 1)])])


def test_every_file_is_held_against_the_schema(tmp_path: Path) -> None:
    good = write(tmp_path, id=["a"], x=[[1.0]])
    (tmp_path / "other").mkdir()
    bad = write(tmp_path / "other", id=["a"], x=[["text"]])
    with pytest.raises(InputError, match=r"column 'x' is list<.*string>"):
        detect_schema([good, bad])


def test_another_vector_width_is_refused(tmp_path: Path) -> None:
    schema = detect_schema([write(tmp_path, id=[1], v=pa.array([[[1, 2]]], pa.list_(pa.list_(pa.float32(), 2))))])
    wider = write(tmp_path, id=[1], v=pa.array([[[1, 2, 3]]], pa.list_(pa.list_(pa.float32(), 3))))
    with pytest.raises(InputError, match="expected vectors of 2 numbers"):
        check_schema(wider, wider.open().schema_arrow, schema)


def test_a_missing_kept_column_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, id=[1], x=[[1.0]])
    with pytest.raises(InputError, match="no column 'label'.*--keep"):
        check_schema(file, file.open().schema_arrow, detect_schema([file]), keep=["label"])


def test_a_column_of_nulls_only_passes_as_missing(tmp_path: Path) -> None:
    schema = detect_schema([write(tmp_path, id=[1], x=[[1.0]])])
    nulls = write(tmp_path, id=[1], x=pa.array([[None]], pa.list_(pa.null())))
    check_schema(nulls, nulls.open().schema_arrow, schema)
