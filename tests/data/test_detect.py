"""Layout detection, and files that do not fit: each error names location, expectation and remedy."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.data.errors import InputError, UsageError
from seqembed.data.files.inputs import InputFile
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.schema.check import check_schema
from seqembed.data.schema.detect import detect_schema
from seqembed.data.schema.schema import SequenceSchema

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


def test_a_missing_feature_is_not_reported_as_ambiguous(tmp_path: Path) -> None:
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
def test_ambiguous_layouts_are_refused(tmp_path: Path, columns: dict, options: dict) -> None:
    with pytest.raises(InputError, match="ambiguous.*--layout"):
        detect_schema([write(tmp_path, **columns)], **options)


def test_a_given_layout_resolves_the_ambiguity(tmp_path: Path) -> None:
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
        ({"categorical": ["x"]}, r"column 'x' is double; expected integers, booleans or text.*--categorical"),
        ({"categorical": ["nope"]}, r"no column 'nope'.*--categorical"),
        ({"features": ["x", "x"]}, "twice"),
    ],
)
def test_wrong_names_and_types_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    file = write(tmp_path, id=["a", "b"], x=LISTS, days=[[dt.date(2026, 1, 1)], []])
    with pytest.raises((InputError, UsageError), match=message):
        detect_schema([file], **options)


def test_a_file_without_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column of numbers or text besides id"):
        detect_schema([write(tmp_path, id=["a"], day=[dt.date(2026, 1, 1)])])


def test_every_file_is_checked_against_the_schema(tmp_path: Path) -> None:
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


def test_a_column_of_nulls_counts_as_missing_values(tmp_path: Path) -> None:
    schema = detect_schema([write(tmp_path, id=[1], x=[[1.0]])])
    nulls = write(tmp_path, id=[1], x=pa.array([[None]], pa.list_(pa.null())))
    check_schema(nulls, nulls.open().schema_arrow, schema)


def test_the_pandas_index_is_not_a_feature_unless_named(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [1, 1, 2, 2], "x": [0.5, 1.5, 2.5, 3.5], "n": [1, 2, 3, 4]}, index=[7, 8, 3, 4])
    for name, stored in {
        "unnamed": frame,
        "named": frame.rename_axis("row"),
        "two": frame.set_index("n", append=True),
        "range": frame.reset_index(drop=True),
    }.items():
        stored.to_parquet(tmp_path / f"{name}.parquet")
        (file,) = resolve_inputs([str(tmp_path / f"{name}.parquet")])
        assert detect_schema([file]).feature_names == (("x",) if name == "two" else ("x", "n"))
    (named,) = resolve_inputs([str(tmp_path / "named.parquet")])
    assert detect_schema([named], features=["x", "row"]).feature_names == ("x", "row")
    assert fields(detect_schema([named], categorical=["row"])) == ("row",)
    rewritten = tmp_path / "rewritten.parquet"
    pq.write_table(pq.read_table(tmp_path / "unnamed.parquet").replace_schema_metadata(None), rewritten)
    assert detect_schema(resolve_inputs([str(rewritten)])).feature_names == ("x", "n")


def test_the_pandas_index_is_not_a_feature_of_nested_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": LISTS, "y": LISTS}, index=pd.Index(["a", "b"], name="id"))
    frame.to_parquet(tmp_path / "by_id.parquet")
    (file,) = resolve_inputs([str(tmp_path / "by_id.parquet")])
    assert detect_schema([file]).feature_names == ("x", "y"), "the index may be the id"
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["id", "t"])
    pd.DataFrame({"x": [1.0, 2.0]}, index=index).to_parquet(tmp_path / "events.parquet")
    (file,) = resolve_inputs([str(tmp_path / "events.parquet")])
    assert detect_schema([file], time_column="t").feature_names == ("x",)


@pytest.mark.parametrize(
    "stored", [b"{", b"[]", b"null", b'{"index_columns": 3}', b"[" * 200_000, b'{"index_columns": [{}]}']
)
def test_damaged_pandas_metadata_is_ignored(tmp_path: Path, stored: bytes) -> None:
    table = pa.table({"id": [1], "x": [1.0]}).replace_schema_metadata({b"pandas": stored})
    pq.write_table(table, tmp_path / "in.parquet")
    assert detect_schema(resolve_inputs([str(tmp_path / "in.parquet")])).feature_names == ("x",)


def test_vector_width_comes_from_the_first_file_with_rows(tmp_path: Path) -> None:
    kind = pa.list_(pa.list_(pa.float32()))
    (tmp_path / "more").mkdir()
    empty = write(tmp_path, id=pa.array([], pa.int64()), v=pa.array([], kind))
    filled = write(tmp_path / "more", id=pa.array([1], pa.int64()), v=pa.array([[[1.0, 2.0]]], kind))
    assert detect_schema([empty, filled]).feature_names == ("v.0", "v.1")


def test_detection_decodes_few_long_rows(tmp_path: Path) -> None:
    """The vectors of all rows together take 77 MB decoded, and twice that at the peak; the first row takes little."""
    steps, width, rows = 20_000, 16, 60  # just enough values for the lengths of rows to be read
    inner = pa.ListArray.from_arrays(
        np.arange(steps + 1, dtype=np.int32) * width, pa.array(np.zeros(steps * width, np.float32))
    )
    row = pa.table({"id": [1], "v": pa.ListArray.from_arrays(pa.array([0, steps], pa.int32()), inner)})
    with pq.ParquetWriter(tmp_path / "long.parquet", row.schema) as writer:
        writer.write_table(pa.concat_tables([row] * rows), row_group_size=rows)
    code = (
        "import sys\nfrom seqembed.data.schema.detect import detect_schema\n"
        "from seqembed.data.files.listing import resolve_inputs\nfrom seqembed.runner.report import peak_rss_bytes\n"
        "before = peak_rss_bytes()\n"
        "schema = detect_schema(resolve_inputs(sys.argv[1:]), layout='nested')\n"
        "print(schema.num_features, peak_rss_bytes() - before)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "long.parquet")]
    ended = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    num_features, num_bytes = map(int, ended.stdout.split())
    assert num_features == width
    assert num_bytes < 90e6, "all 60 rows take 154 MB and more"


@pytest.mark.parametrize("size", [-1, 70_000])
def test_too_wide_vectors_are_refused(tmp_path: Path, size: int) -> None:
    vectors = pa.array([[[0.0] * 70_000]], pa.list_(pa.list_(pa.float32(), size)))
    with pytest.raises(InputError, match=r"column 'v' is vectors of 70,000 numbers; expected .* 65,536.*--features"):
        detect_schema([write(tmp_path, id=[1], v=vectors)])


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        (["a", "a"], "'a'"),
        ([{"oid": 1}, {"oid": 1}], "oid"),
        (np.array([1, 1], np.float16), "1.0"),
        (pa.array([b"0123456789abcdef"] * 2, pa.binary(16)).cast(pa.uuid()), "30313233"),
        (pa.array(["k", "k"]).dictionary_encode(), "k"),
    ],
    ids=["text", "struct", "float16", "uuid", "dictionary"],
)
def test_a_repeated_id_of_any_type_is_ambiguous(tmp_path: Path, ids: object, shown: str) -> None:
    with pytest.raises(InputError, match=f"id = .*{shown}.*occurs in adjacent rows"):
        detect_schema([write(tmp_path, id=ids, x=LISTS)])
    assert detect_schema([write(tmp_path, id=pa.nulls(2, pa.int64()), x=LISTS)]).layout == "nested"


def test_duplicate_column_names_are_an_input_error(tmp_path: Path) -> None:
    pq.write_table(pa.table([[1], [1.0], [2.0]], names=["id", "x", "x"]), tmp_path / "in.parquet")
    with pytest.raises(InputError, match=r"in\.parquet: two columns.* are called 'x'\. Rename"):
        detect_schema(resolve_inputs([str(tmp_path / "in.parquet")]))
