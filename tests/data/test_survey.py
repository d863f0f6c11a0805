"""One pass over the data: profile, sample, bad rows; and the sample file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.data.errors import BadRowError
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.sample_rows import read_sequences, write_sequences
from seqembed.data.schema.detect import detect_schema
from seqembed.data.schema.schema import Feature, SequenceSchema
from seqembed.data.sequences import LengthPolicy, concatenate
from seqembed.data.survey import survey


def test_survey_describes_and_samples_the_selected_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=n).tolist() for n in rng.integers(0, 9, size=500)]
    rows[17] = [1.0] * 50
    for number in range(2):
        table = pa.table({"id": range(250 * number, 250 * number + 250), "x": rows[250 * number : 250 * number + 250]})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=60)
    files = resolve_inputs([str(tmp_path)])
    schema = detect_schema(files)
    found = survey(files, schema, LengthPolicy(), seed=0, max_sample=40, select=lambda b: np.asarray(b.ids) % 2 == 1)
    assert (found.num_total, found.num_selected, found.max_length) == (500, 250, 50)
    assert found.sample.num_sequences in (40, 41)  # the longest joins the 40 drawn
    assert (found.sample.lengths.min(), found.sample.lengths.max()) == (1, 50)
    assert {int(i) % 2 for i in found.sample.ids.to_pylist()} == {1}
    selected = np.concatenate([np.array(row) for row in rows[1::2]])
    np.testing.assert_allclose(found.profile.mean, [selected.mean()], atol=1e-6)
    cut = survey(files, schema, LengthPolicy(4), seed=0)
    assert cut.max_length == 4
    assert cut.num_truncated == sum(len(row) > 4 for row in rows)


def test_the_first_bad_row_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "x": [[1.0], [float("inf")]]}), tmp_path / "x.parquet")
    files = resolve_inputs([str(tmp_path)])
    with pytest.raises(BadRowError, match=r"x\.parquet: row 1 \(id 'b'\): .*inf.*Fix or remove"):
        survey(files, detect_schema(files), LengthPolicy(), seed=0)


def test_a_bad_row_whose_id_is_not_utf8_is_named(tmp_path: Path) -> None:
    ids = pa.array([b"Meier", b"M\xfcller"]).view(pa.string())
    pq.write_table(pa.table({"id": ids, "x": [[1.0], [float("inf")]]}), tmp_path / "x.parquet")
    schema = SequenceSchema("id", (Feature("x", "x"),), "nested")
    with pytest.raises(BadRowError, match=r"row 1 \(id 'M\\xfcller'\)"):
        survey(resolve_inputs([str(tmp_path)]), schema, LengthPolicy(), seed=0)


def test_ids_and_labels_may_differ_in_type_from_file_to_file(tmp_path: Path) -> None:
    columns = [pa.array([1, 2]), pa.array(["a", "b"]), pa.array(["c", "d"], pa.string_view()), pa.nulls(2)]
    for index, column in enumerate(columns):
        ids = pa.array(["y", "z"]) if column.null_count else column
        pq.write_table(pa.table({"id": ids, "k": column, "x": [[1.0], [2.0]]}), tmp_path / f"{index}.parquet")
    schema = SequenceSchema("id", (Feature("x", "x"),), "nested")
    found = survey(resolve_inputs([str(tmp_path)]), schema, LengthPolicy(), seed=0, keep=["k"])
    assert sorted(found.sample.ids.to_pylist()) == ["1", "2", "a", "b", "c", "d", "y", "z"]
    assert found.sample.kept["k"].to_pylist() == ["1", "2", "a", "b", "c", "d", None, None]


def test_a_sample_survives_a_round_trip(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b", "c"], "s": [[{"x": 1.5, "y.z": None}], [], [{"x": 2.5, "y.z": 3.0}] * 2]})
    pq.write_table(table, tmp_path / "x.parquet")
    files = resolve_inputs([str(tmp_path / "x.parquet")])
    schema = detect_schema(files, features=["s.x"])
    block = concatenate(list(read_blocks(files[0], schema)))
    write_sequences(tmp_path / "sample.parquet", block, schema)
    again, again_schema = read_sequences(tmp_path / "sample.parquet")
    np.testing.assert_array_equal(again.values, block.values)
    np.testing.assert_array_equal(again.offsets, block.offsets)
    assert again.ids.equals(block.ids)
    assert again_schema.feature_names == schema.feature_names
