"""Vocabularies: equal ids however the data is written, fields that are left out, and columns of another type."""

from collections import Counter
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
from seqembed.data.sample_rows import read_sequences, write_sequences
from seqembed.data.schema.check import check_schema
from seqembed.data.schema.detect import detect_schema
from seqembed.data.schema.schema import CategoricalField, Feature, SequenceSchema
from seqembed.data.schema.vocabulary import FIRST_ID, MISSING_ID, UNKNOWN_ID, Vocabulary, to_ids
from seqembed.data.sequences import LengthPolicy, SequenceBlock, concatenate
from seqembed.data.survey import survey
from seqembed.trainer.input.learn import MAX_VALUE_BYTES, learn_vocabularies


def write(path: Path, columns: dict[str, object], **options: object) -> InputFile:
    pq.write_table(pa.table(columns), path, **options)
    (file,) = resolve_inputs([str(path)])
    return file


def learn(file: InputFile, min_count: int = 1, max_vocabulary: int = 100, **options: object) -> SequenceSchema:
    named = (*options.get("features", ()), *options.get("categorical", ()))
    schema = detect_schema([file], **options)
    return learn_vocabularies([file], schema, min_count=min_count, max_vocabulary=max_vocabulary, named=named)[0]


def read(file: InputFile, schema: SequenceSchema, **options: object) -> SequenceBlock:
    return concatenate(list(read_blocks(file, schema, **options)))


values = st.one_of(st.none(), st.sampled_from(["a", "b", "ä", "", "long " * 9, "c", "d"]))
rows = st.lists(st.lists(values, min_size=1, max_size=6), min_size=1, max_size=25)


@settings(max_examples=30, deadline=None)
@given(rows=rows, group=st.integers(1, 30), backwards=st.booleans(), min_count=st.integers(1, 3))
def test_ids_depend_only_on_the_values(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str | None]], group: int, backwards: bool, min_count: int
) -> None:
    flat = [value for row in rows for value in row]
    ids = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    numbers = np.arange(len(flat), dtype=np.float32)
    lists = [numbers[ids == i] for i in range(len(rows))]
    counts = Counter(value for value in flat if value is not None)
    order = sorted((v for v in counts if counts[v] >= min_count), key=lambda v: (-counts[v], v.encode()))
    wanted = {None: MISSING_ID} | {value: index + FIRST_ID for index, value in enumerate(order)}
    expected = [wanted.get(value, UNKNOWN_ID) for value in flat]
    text = pa.array(flat, pa.string())
    structs = pa.list_(pa.struct({"v": pa.string(), "x": pa.float32()}))
    ways: list[dict[str, object]] = [
        {"id": ids, "v": text, "x": numbers},
        {"id": ids, "v": text.cast(pa.large_string()), "x": numbers},
        {"id": ids, "v": text.dictionary_encode(), "x": numbers},
        {"id": range(len(rows)), "v": pa.array(rows, pa.list_(pa.string())), "x": lists},
        {
            "id": range(len(rows)),
            "v": pa.array(rows, pa.large_list(pa.dictionary(pa.int32(), pa.string()))),
            "x": lists,
        },
        {"id": range(len(rows)), "e": pa.array([[{"v": v, "x": 0.0} for v in row] for row in rows], structs)},
    ]
    directory = tmp_path_factory.mktemp("ways")
    for columns in ways:
        shuffled = dict(reversed(columns.items())) if backwards else columns
        file = write(directory / "in.parquet", shuffled, row_group_size=group)
        name = "v" if "v" in columns else "e.v"
        layout = "events" if columns.get("x") is numbers else "nested"
        schema = learn(file, min_count, features=["x", name] if name == "v" else [name, "e.x"], layout=layout)
        vocabulary = schema.categorical[0].vocabulary
        assert vocabulary == Vocabulary(
            "string",
            tuple(order),
            tuple(counts[v] for v in order),
            sum(counts.values()) - sum(counts[v] for v in order),
            flat.count(None),
        )
        block = read(file, schema)
        assert block.categories.dtype == np.int32
        np.testing.assert_array_equal(block.categories[:, 0], expected)


def test_integers_and_booleans_are_categories_if_named_or_beside_text(tmp_path: Path) -> None:
    columns = {"id": [1, 1, 1], "mcc": [7, 9, 7], "flag": [True, None, False], "x": [1.0, 2.0, 3.0]}
    plain = write(tmp_path / "a.parquet", columns)
    assert detect_schema([plain]).feature_names == ("mcc", "flag", "x")
    schema = learn(plain, categorical=["mcc", "flag"])
    assert [field.name for field in schema.categorical] == ["mcc", "flag"]
    np.testing.assert_array_equal(read(plain, schema).categories, [[2, 3], [3, 1], [2, 2]])
    beside = learn(write(tmp_path / "b.parquet", {**columns, "kind": ["u", "v", "u"]}))
    assert (beside.feature_names, [field.name for field in beside.categorical]) == (("mcc", "x"), ["flag", "kind"])


def test_whole_numbers_of_any_width_have_one_id() -> None:
    vocabulary = Vocabulary("integer", (3, -1, 2**40, 300), (4, 3, 2, 1), 0, 0)
    np.testing.assert_array_equal(to_ids(pa.array([3, -1, 5, None], pa.int8()), vocabulary), [2, 3, 0, 1])
    np.testing.assert_array_equal(to_ids(pa.array([2**40, 2**64 - 1, 3], pa.uint64()), vocabulary), [4, 0, 2])
    np.testing.assert_array_equal(to_ids(pa.nulls(2), vocabulary), [MISSING_ID, MISSING_ID])


def test_a_null_inside_a_dictionary_is_missing() -> None:
    steps = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2]), pa.array(["a", None, "z"]))
    vocabulary = Vocabulary("string", ("a",), (1,), 0, 0)
    np.testing.assert_array_equal(to_ids(steps, vocabulary), [2, MISSING_ID, MISSING_ID, UNKNOWN_ID])


def test_rare_values_stay_unknown_and_the_most_frequent_stay(tmp_path: Path) -> None:
    kinds = list("aaaabbbccd")
    file = write(tmp_path / "a.parquet", {"id": [1] * 10, "kind": kinds})
    (field,) = learn(file, min_count=2, max_vocabulary=2, features=["kind"]).categorical
    assert field.vocabulary == Vocabulary("string", ("a", "b"), (4, 3), 3, 0)
    assert learn(file, min_count=2, features=["kind"]).categorical[0].vocabulary.values == ("a", "b", "c")


def test_uninformative_fields_are_left_out_unless_named(tmp_path: Path) -> None:
    columns = {
        "id": [1, 1, 2, 2],
        "kind": ["u", "v", "u", "u"],
        "label": ["x", "x", "y", "y"],
        "note": ["one", "two", "three", "four"],
    }
    file = write(tmp_path / "a.parquet", columns, row_group_size=1)
    schema, notes = learn_vocabularies([file], detect_schema([file]), min_count=2)
    assert [field.name for field in schema.categorical] == ["kind"]
    assert any("'label' is left out: its value never changes within a sequence" in note for note in notes)
    assert any("'note' is left out" in note and "0%" in note for note in notes)
    named = learn(file, min_count=2, features=["kind", "label", "note"])
    assert [field.name for field in named.categorical] == ["kind", "label", "note"]
    alone = write(tmp_path / "b.parquet", {"id": [1, 1, 2, 2], "label": ["x", "x", "y", "y"]})
    with pytest.raises(InputError, match="no column is left to learn from: 'label' is left out"):
        learn(alone)


def test_long_text_is_unknown_and_invalid_utf8_is_refused(tmp_path: Path) -> None:
    long = "x" * (MAX_VALUE_BYTES + 1)
    file = write(tmp_path / "a.parquet", {"id": [1, 1, 1], "kind": ["u", long, "u"]})
    (field,) = learn(file, features=["kind"]).categorical
    assert (field.vocabulary.values, field.vocabulary.num_unknown) == (("u",), 1)
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"ok"]).buffers())
    with pytest.raises(InputError, match="'kind' holds text that is not UTF-8"):
        learn(write(tmp_path / "b.parquet", {"id": [1, 1], "kind": broken}), features=["kind"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"kind": [1, 2], "x": [1.0, 2.0]}, r"column 'kind' is int64; expected categories: text in each row"),
        ({"kind": ["u", "v"], "x": ["1", "2"]}, r"column 'x' is string; expected a number in each row"),
        ({"x": [1.0, 2.0]}, r"no column 'kind'"),
        ({"kind": [["u"], ["v"]], "x": [1.0, 2.0]}, r"column 'kind' is list<.*string>; expected categories"),
    ],
)
def test_columns_of_another_type_are_refused(tmp_path: Path, columns: dict[str, list], message: str) -> None:
    schema = learn(write(tmp_path / "a.parquet", {"id": [1, 1], "kind": ["u", "v"], "x": [1.0, 2.0]}))
    other = write(tmp_path / "b.parquet", {"id": [1, 1], **columns})
    with pytest.raises(InputError, match=message):
        check_schema(other, other.open().schema_arrow, schema)


def test_nulls_and_unknown_values_are_accepted(tmp_path: Path) -> None:
    schema = learn(write(tmp_path / "a.parquet", {"id": [1, 1], "kind": ["u", "v"], "x": [1.0, 2.0]}))
    nulls = write(tmp_path / "b.parquet", {"id": [1, 1], "kind": pa.nulls(2), "x": [1.0, 2.0]})
    np.testing.assert_array_equal(read(nulls, schema).categories[:, 0], [MISSING_ID, MISSING_ID])
    new = write(tmp_path / "c.parquet", {"id": [1, 1], "kind": ["u", "w"], "x": [1.0, 2.0]})
    np.testing.assert_array_equal(read(new, schema).categories[:, 0], [2, UNKNOWN_ID])


def test_categories_stay_aligned_with_values_when_sorted_cut_and_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_DECODE_VALUES", 40)
    rng = np.random.default_rng(0)
    numbers = rng.permutation(200).astype(np.float64)
    columns = {"id": np.repeat(np.arange(10), 20), "at": rng.integers(0, 30, 200), "x": numbers}
    columns["kind"] = [f"k{int(x) % 7}" for x in numbers]
    file = write(tmp_path / "a.parquet", columns, row_group_size=33)
    schema = learn(file, time_column="at")
    known = schema.categorical[0].vocabulary.values
    for policy in (LengthPolicy(), LengthPolicy(5), LengthPolicy(5, "head")):
        block = read(file, schema, policy=policy)
        names = [known[i - FIRST_ID] for i in block.categories[:, 0]]
        assert names == [f"k{int(x) % 7}" for x in block.values[:, 0]]
    cut = read(file, schema, keep=["kind"], limit=3)
    assert pa.types.is_string(cut.kept["kind"].type)
    assert cut.num_sequences == 3


def test_the_training_sample_holds_ids_and_times(tmp_path: Path) -> None:
    columns = {"id": [1, 1, 2], "kind": ["u", "v", "u"], "x": [1.0, None, 3.0]}
    columns["at"] = pa.array([5, 9, 7], pa.timestamp("s"))
    file = write(tmp_path / "a.parquet", columns)
    schema = learn(file, time_column="at")
    sample = survey([file], schema, LengthPolicy(), seed=0).sample
    write_sequences(tmp_path / "sample.parquet", sample, schema)
    again, found = read_sequences(tmp_path / "sample.parquet")
    np.testing.assert_array_equal(again.values, sample.values)
    np.testing.assert_array_equal(again.categories, sample.categories)
    assert again.categories.dtype == np.int32
    assert (found.feature_names, found.num_fields) == (schema.feature_names, 1)


def test_a_schema_survives_a_json_round_trip(tmp_path: Path) -> None:
    columns = {
        "id": [1, 1],
        "kind": ["u", "v"],
        "flag": [True, False],
        "n": [1, 2],
        "at": pa.array([5, 9], pa.timestamp("s")),
    }
    schema = learn(write(tmp_path / "a.parquet", columns), time_column="at", categorical=["n"])
    assert SequenceSchema.from_json(schema.to_json()) == schema


KINDS = [
    pa.list_(pa.string()),
    pa.large_list(pa.large_string()),
    pa.list_(pa.string(), 2),
    pa.list_(pa.dictionary(pa.int8(), pa.string())),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_bad_rows_show_text_not_dictionaries(tmp_path: Path, kind: pa.DataType) -> None:
    file = write(tmp_path / "a.parquet", {"id": pa.array([1, None]), "kind": pa.array([["a", "b"], ["b", "c"]], kind)})
    block = read(file, learn(file))
    ((_, bad),) = block.bad
    assert bad.raw.to_pylist() == [{"id": None, "kind": ["b", "c"]}]
    assert not pa.types.is_dictionary(bad.raw.column("kind").type.value_type)
    np.testing.assert_array_equal(block.categories[:, 0], [3, 2])


def test_a_value_that_never_changes_within_a_sequence_is_found_whatever_the_id(tmp_path: Path) -> None:
    one, other = b"\xff" * 16, b"a" * 16
    for name, ids in {
        "uuid": pa.array([one, one, other, other], pa.uuid()),
        "view": pa.array(["a", "a", "b", "b"], pa.string_view()),
        "struct": pa.array([{"$oid": "a"}] * 2 + [{"$oid": "b"}] * 2),
    }.items():
        columns = {"id": ids, "x": [1.0, 2.0, 3.0, 4.0], "kind": ["u", "u", "v", "v"], "tag": ["u", "v", "v", "u"]}
        file = write(tmp_path / f"{name}.parquet", columns)
        fields = (CategoricalField("kind", "kind"), CategoricalField("tag", "tag"))
        schema = SequenceSchema("id", (Feature("x", "x"),), "events", categorical=fields)
        learned, notes = learn_vocabularies([file], schema, min_count=1)
        assert [field.name for field in learned.categorical] == ["tag"]
        assert any("'kind' is left out: its value never changes within a sequence" in note for note in notes)


def test_fields_of_nulls_and_files_without_rows_are_accepted(tmp_path: Path) -> None:
    full = write(tmp_path / "a.parquet", {"id": [1, 2], "kind": [["u", "v"], ["u"]]})
    none = write(tmp_path / "b.parquet", {"id": [1, 2], "kind": pa.nulls(2)})
    empty = write(tmp_path / "c.parquet", {"id": pa.array([], pa.int64()), "kind": pa.array([], pa.float64())})
    schema = SequenceSchema("id", (), "nested", categorical=(CategoricalField("kind", "kind"),))
    learned, _ = learn_vocabularies([full, none, empty], schema, min_count=1)
    assert learned.vocabularies[0].values == ("u", "v")
