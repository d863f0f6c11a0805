"""Slices of row groups whose rows differ in length: slices of several rows are within their limit."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet import reader, rows
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.schema import Feature, SequenceSchema

SCHEMA = SequenceSchema("id", (Feature("x", "x"), Feature("y", "y")), "nested")
VECTORS = SequenceSchema("id", tuple(Feature(f"v.{index}", "v", index) for index in range(3)), "nested")
LENGTHS = {
    "long at the end": [3] * 4000 + [5000] * 20,
    "long at the start": [5000] * 20 + [0] * 4000,
    "long between": [1, 700, 0] * 50 + [20_000] + [2] * 900,
    "all alike": [40] * 2000,
}
OPTIONS = {
    "plain": {"use_dictionary": False, "compression": "none"},
    "small pages": {"data_page_size": 300, "compression": "zstd"},
    "version 2": {"data_page_version": "2.0", "compression": "gzip"},
    "snappy": {},
}


def lists(lengths: list[int], values: pa.Array, mask: np.ndarray | None = None) -> pa.ListArray:
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, values, mask=None if mask is None else pa.array(mask))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("width", [None, 3])
def test_slices_of_rows_of_any_length_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: str, width: int | None
) -> None:
    monkeypatch.setattr(rows, "LARGE_GROUP_VALUES", 0)
    monkeypatch.setattr(reader, "_DECODE_VALUES", 10_000)
    lengths = np.array(LENGTHS[name])
    numbers = np.random.default_rng(0).normal(size=lengths.sum() * (width or 1)).astype(np.float32)
    null = (np.arange(len(lengths)) % 7 == 0) & (lengths == 0)
    columns = {"id": np.arange(len(lengths))}
    if width is None:
        columns |= {column: lists(lengths, pa.array(numbers), null) for column in "xy"}
    else:
        columns["v"] = lists(lengths, pa.FixedSizeListArray.from_arrays(pa.array(numbers), width), null)
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=10**6, **OPTIONS[options])
    (file,) = resolve_inputs([str(tmp_path / "a.parquet")])
    blocks = list(read_blocks(file, SCHEMA if width is None else VECTORS))
    assert np.concatenate([block.lengths for block in blocks]).tolist() == lengths.tolist()
    assert np.concatenate([block.ids.to_numpy() for block in blocks]).tolist() == list(range(len(lengths)))
    read = np.concatenate([block.values for block in blocks])
    np.testing.assert_array_equal(read, numbers.reshape(-1, width) if width else np.stack([numbers] * 2, axis=1))
    for block in blocks:
        assert block.num_sequences == 1 or block.values.size <= 10_000
    assert len(blocks) <= 2.5 * (2 * lengths.sum() + len(lengths)) / 10_000 + (lengths > 2_000).sum() + 2


def test_row_lengths_of_small_row_groups_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_row_lengths", None)  # calling it would fail
    pq.write_table(pa.table({"id": [1, 2], "x": [[1.0], []], "y": [[1.0], []]}), tmp_path / "a.parquet")
    (file,) = resolve_inputs([str(tmp_path / "a.parquet")])
    assert sum(block.num_sequences for block in read_blocks(file, SCHEMA)) == 2
