"""The shipped recordings are the published ones, byte for byte and fact for fact."""

import hashlib
import re
from importlib import resources

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from seqembed.data.synthetic.japanese_vowels import SPLITS, shipped

COEFFICIENTS = [f"c{number:02d}" for number in range(1, 13)]
SAMPLES = resources.files("seqembed.data") / "samples"


def test_checksums_are_those_of_the_readme():
    stated = dict(
        re.findall(r"`(japanese_vowels_\w+\.parquet)` .*`([0-9a-f]{64})`", (SAMPLES / "README.md").read_text("utf-8"))
    )
    found = {name: hashlib.sha256((SAMPLES / name).read_bytes()).hexdigest() for name in stated}
    assert len(stated) == 2
    assert found == stated


def test_readme_names_source_citation_and_licence():
    text = (SAMPLES / "README.md").read_text("utf-8")
    assert all(words in text for words in ("10.24432/C5NS47", "Kudo", "CC BY 4.0", "make_japanese_vowels.py"))


@pytest.mark.parametrize(
    ("split", "utterances", "shortest", "longest"),
    [("train", [30] * 9, 7, 26), ("test", [31, 35, 88, 44, 29, 24, 40, 50, 29], 7, 29)],
)
def test_each_split_has_the_published_speakers_and_lengths(split, utterances, shortest, longest):
    table = shipped(split)
    assert table.column_names == ["id", "speaker", *COEFFICIENTS]
    assert table["speaker"].to_pylist() == [
        str(index + 1) for index, count in enumerate(utterances) for _ in range(count)
    ]
    assert table["id"].to_pylist() == [f"{split}-{number:03d}" for number in range(sum(utterances))]
    lengths = pc.list_value_length(table["c01"]).to_numpy()
    assert (lengths.min(), lengths.max()) == (shortest, longest)


@pytest.mark.parametrize("split", SPLITS)
def test_every_coefficient_is_a_finite_number_at_every_frame(split):
    table = shipped(split)
    lengths = pc.list_value_length(table["c01"])
    for name in COEFFICIENTS:
        assert table.schema.field(name).type == pa.list_(pa.field("element", pa.float32()))
        assert pc.list_value_length(table[name]).equals(lengths)
        values = table[name].combine_chunks().flatten()
        assert values.null_count == 0
        assert np.isfinite(values.to_numpy()).all()


@pytest.mark.parametrize("split", SPLITS)
def test_no_utterance_ends_in_padding(split):
    table = shipped(split)
    last_frames = np.array([[table[name][row].as_py()[-1] for name in COEFFICIENTS] for row in range(table.num_rows)])
    frames_before = np.array([[table[name][row].as_py()[-2] for name in COEFFICIENTS] for row in range(table.num_rows)])
    assert (last_frames != 0).any(axis=1).all()
    assert (last_frames != frames_before).any(axis=1).all()


def test_the_first_frame_is_the_one_of_the_original_file():
    first = [shipped("train")[name][0].as_py()[0] for name in COEFFICIENTS[:3]]
    np.testing.assert_array_equal(np.float32(first), np.float32([1.860936, -0.207383, 0.261557]))
