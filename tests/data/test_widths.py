"""Text and bytes are bounded: no slice, window or hash of them needs more memory than its limit."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.data import sequences
from seqembed.data.decode import hashing
from seqembed.data.decode.hashing import hash_ids
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet import reader, widths
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.parquet.sizes import row_bytes
from seqembed.data.schema.schema import Feature, SequenceSchema
from seqembed.data.sequences import SequenceBlock, concatenate, windows

SCHEMA = SequenceSchema("id", (Feature("x", "x"),), "nested")
ROWS = 600
TEXTS = {
    "all alike": ["a" * 1000] * ROWS,
    "short, then long": ["b"] * 500 + ["a" * 1000] * 100,
    "some null": ["a" * 1000, None, "c"] * 200,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "dictionary": {},
    "no dictionary": {"use_dictionary": False, "data_page_size": 2000, "write_batch_size": 2, "compression": "zstd"},
    "dictionary too large": {"dictionary_pagesize_limit": 500, "data_page_size": 2000, "write_batch_size": 2},
    "not compressed": {"compression": "none"},
    "version 2": {"data_page_version": "2.0", "compression": "gzip"},
}
KINDS = {
    "text": pa.string(),
    "large bytes": pa.large_binary(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "list": pa.list_(pa.string()),
}


def column(texts: list[str | None], kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.array([None if text is None else [text] for text in texts], kind)
    if pa.types.is_dictionary(kind):
        return pa.array(texts).dictionary_encode()
    return pa.array(texts).cast(kind)


def write(path: Path, pay: pa.Array, **options: Any) -> Path:
    x = pa.array([[1.0]] * len(pay), pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": np.arange(len(pay)), "x": x, "pay": pay}), path, row_group_size=10**6, **options)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("texts", TEXTS)
def test_slices_of_kept_text_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: str, options: str, kind: str
) -> None:
    monkeypatch.setattr(widths, "SLICE_BYTES", 10_000)
    path = write(tmp_path / "a.parquet", column(TEXTS[texts], KINDS[kind]), **OPTIONS[options])
    (file,) = resolve_inputs([str(path)])
    blocks = list(read_blocks(file, SCHEMA, keep=["pay"]))
    read = pa.concat_arrays([block.kept["pay"] for block in blocks])
    assert read.to_pylist() == pq.read_table(path)["pay"].to_pylist()
    for block in blocks:
        sizes = row_bytes([block.kept["pay"]])
        assert sizes is not None
        # Besides the dictionary's values, the other pages come to as much again at most.
        assert sizes.sum() <= 30_000


def test_a_dictionary_of_one_long_text_does_not_overflow(tmp_path: Path) -> None:
    zeros = pa.array(np.zeros(45_000, dtype=np.int32))
    path = write(tmp_path / "a.parquet", pa.DictionaryArray.from_arrays(zeros, pa.array(["a" * 50_000])))
    (file,) = resolve_inputs([str(path)])
    block = next(read_blocks(file, SCHEMA, keep=["pay"]))
    assert block.kept["pay"].nbytes < 70 << 20
    assert block.kept["pay"][0].as_py() == "a" * 50_000


def test_slices_of_prefix_encoded_text_start_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SLICE_BYTES", 100_000)
    monkeypatch.setattr(reader, "_FIRST_ROWS", 10)
    texts = ["b"] * 300 + ["a" * 1000] * 600
    path = write(
        tmp_path / "a.parquet", pa.array(texts), use_dictionary=False, column_encoding={"pay": "DELTA_BYTE_ARRAY"}
    )
    (file,) = resolve_inputs([str(path)])
    blocks = list(read_blocks(file, SCHEMA, keep=["pay"]))
    assert pa.concat_arrays([block.kept["pay"] for block in blocks]).to_pylist() == texts
    sizes = [block.num_sequences for block in blocks]
    assert sizes[:5] == [10, 20, 40, 80, 160]
    assert max(sizes[6:]) <= 100


def test_ordinary_slices_are_unchanged(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.array([f"customer {index}" for index in range(30_000)]))
    (file,) = resolve_inputs([str(path)])
    assert [block.num_sequences for block in read_blocks(file, SCHEMA, keep=["pay"])] == [30_000]


@pytest.mark.parametrize("where", ["ids", "kept"])
def test_windows_are_limited_in_bytes_however_blocks_are_cut(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(sequences, "_WINDOW_BYTES", 100)
    lengths = np.array([30, 0, 70, 1, 250, 0, 0, 99, 1, 1, 40, 40, 40])
    wide = pa.array([str(index)[0] * length for index, length in enumerate(lengths)])
    number = pa.array(np.arange(len(lengths)))
    block = SequenceBlock(
        np.ones((len(lengths), 1), np.float32),
        np.arange(len(lengths) + 1),
        wide if where == "ids" else number,
        {"pay": number if where == "ids" else wide},
    )
    for cuts in ([], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [4], [5], [5, 9]):
        edges = [0, *cuts, len(lengths)]
        pieces = [block.slice(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True)]
        made = list(windows(iter(pieces), 100, 100))
        assert [window.num_sequences for window in made] == [3, 1, 1, 4, 3, 1], cuts
        assert concatenate(made).ids.equals(block.ids)


IDS = {
    "text": pa.array(["", "a", "abcdefg", "x" * 30, None, "ab", "abcdefgh", "y" * 14]),
    "list": pa.array([[1, 2], [], None, list(range(20)), [7] * 7, [7] * 8]),
}


@pytest.mark.parametrize("name", IDS)
def test_hashes_do_not_depend_on_pieces(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    expected = hash_ids(IDS[name])
    monkeypatch.setattr(hashing, "_PIECE", 7)
    np.testing.assert_array_equal(hash_ids(IDS[name]), expected)


def test_row_bytes_are_those_of_the_values() -> None:
    text = pa.array(["xx", "", None, "yyy"])
    masked = pa.array([False, False, False, True])
    columns = {
        "text": (text, [2, 0, 0, 3]),
        "list": (pa.array([["ab", "c"], None, [], [None, "d"]]), [3, 0, 0, 1]),
        "numbers": (pa.array([[1, 2], None, [], [3]], pa.list_(pa.int32())), [8, 0, 0, 4]),
        "struct": (pa.StructArray.from_arrays([text], ["s"], mask=masked), [2, 0, 0, 0]),
        "map": (pa.array([[("a", "bc")], [], None, []], pa.map_(pa.string(), pa.string())), [3, 0, 0, 0]),
        "wide": (pa.array([b"z" * 100, None, None, b"z" * 100], pa.binary(100)), [100, 0, 0, 100]),
    }
    for name, (values, expected) in columns.items():
        sizes = row_bytes([values])
        sliced = row_bytes([values[1:]])
        assert sizes is not None and sliced is not None
        assert (sizes.tolist(), sliced.tolist()) == (expected, expected[1:]), name
    assert row_bytes([pa.array([1, 2]), pa.array([1.5, None]), pa.nulls(2)]) is None
