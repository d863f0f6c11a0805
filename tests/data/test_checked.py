"""The cost of reading: opened files, requests, parsed bytes of a footer; the block size does not change the result."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from counting import counted

from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet import checked
from seqembed.data.parquet.footer import read_row_groups
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.parquet.thrift import CutShort, Malformed, ThriftReader
from seqembed.data.schema.schema import CategoricalField, Feature, SequenceSchema
from seqembed.data.schema.vocabulary import Vocabulary
from seqembed.data.sequences import concatenate

SCHEMA = SequenceSchema("id", (Feature("x", "x"), Feature("y", "y")), "nested")


def lists(num: int, steps: int, seed: int) -> pa.ListArray:
    numbers = pa.array(np.random.default_rng(seed).normal(size=num * steps))
    return pa.ListArray.from_arrays(pa.array(np.arange(num + 1) * steps, pa.int32()), numbers)


def test_each_byte_is_read_once_in_few_requests_through_one_handle(tmp_path: Path) -> None:
    num, steps = 2_000, 500
    table = pa.table({"id": np.arange(num), "x": lists(num, steps, 0), "y": lists(num, steps, 1)})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False)
    file, costs = counted(tmp_path / "a.parquet")
    size = (tmp_path / "a.parquet").stat().st_size
    blocks = list(read_blocks(file, SCHEMA))
    assert sum(block.num_sequences for block in blocks) == num
    expected = table["y"].combine_chunks().values.to_numpy().astype(np.float32)
    np.testing.assert_array_equal(concatenate(blocks).values[:, 1], expected)
    assert len(costs.opened) == 1
    assert len(costs.reads) <= 2 + 3 + size // checked._MAX_BLOCK_BYTES  # footers, columns, blocks
    assert sum(count for _, count in costs.reads) < size + 4 * (1 << 16)


def test_an_opened_file_is_not_opened_again(tmp_path: Path) -> None:
    words = Vocabulary("string", ("a",), (1,), 0, 0)
    schema = SequenceSchema("id", (Feature("x", "x"),), "nested", categorical=(CategoricalField("k", "k", words),))
    pq.write_table(pa.table({"id": [1], "x": [[1.0]], "k": [["a"]]}), tmp_path / "a.parquet")
    file, costs = counted(tmp_path / "a.parquet")
    opened = file.open()
    for _ in range(2):
        (block,) = read_blocks(file, schema, opened=opened)
        assert block.categories.tolist() == [[2]]
    assert len(costs.opened) == 1


def test_small_adjacent_columns_are_read_together(tmp_path: Path) -> None:
    names = [f"c{index}" for index in range(50)]
    table = pa.table({"id": np.arange(100), **{name: lists(100, 3, seed) for seed, name in enumerate(names)}})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=50)
    file, costs = counted(tmp_path / "a.parquet")
    block = concatenate(list(read_blocks(file, SequenceSchema("id", tuple(Feature(n, n) for n in names), "nested"))))
    assert block.values.shape == (300, 50)
    assert len(costs.reads) <= 2 + 2  # two looks at the end of the file, and one read per row group


OPTIONS = [
    {"data_page_version": "2.0"},
    {"use_dictionary": False, "compression": "none"},
    {"data_page_size": 64, "row_group_size": 700},
    {"write_page_checksum": True, "write_page_index": True, "compression": "zstd"},
    {"use_dictionary": ["id"], "dictionary_pagesize_limit": 100},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("block_bytes", [1, 100, 4096, 1 << 20])
def test_the_block_size_does_not_change_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], block_bytes: int
) -> None:
    rows = [[i / 7] * (i % 9) if i % 5 else None for i in range(3000)]
    pq.write_table(pa.table({"id": [f"row-{i}" for i in range(3000)], "x": rows, "y": rows}), tmp_path / "a", **options)
    (file,) = resolve_inputs([str(tmp_path / "a")])
    for name in ("_ALL_BLOCKS_BYTES", "_MAX_BLOCK_BYTES", "_MIN_BLOCK_BYTES"):
        monkeypatch.setattr(checked, name, block_bytes)
    block = concatenate(list(read_blocks(file, SCHEMA)))
    np.testing.assert_array_equal(block.values[:, 0], np.float32([x for row in rows for x in row or []]))
    assert block.ids.to_pylist() == [f"row-{i}" for i in range(3000)]


def wide(path: Path) -> Path:
    columns = {f"c{index}": np.random.default_rng(index).normal(size=20) for index in range(200)}
    pq.write_table(pa.table(columns), path, row_group_size=4)
    return path


def test_only_needed_columns_of_a_footer_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = resolve_inputs([str(wide(tmp_path / "a.parquet"))])
    parquet = file.open()
    expected = read_row_groups(file, parquet.source, parquet, range(200))
    looked_at = 0
    byte = ThriftReader._byte

    def counting(reader: ThriftReader) -> int:
        nonlocal looked_at
        looked_at += 1
        return byte(reader)

    monkeypatch.setattr(ThriftReader, "_byte", counting)
    groups = read_row_groups(file, parquet.source, parquet, {7, 9})
    content = (tmp_path / "a.parquet").read_bytes()
    assert looked_at < 0.1 * int.from_bytes(content[-8:-4], "little")
    assert [group.chunks for group in groups] == [{7: group.chunks[7], 9: group.chunks[9]} for group in expected]
    metadata = parquet.metadata
    for index, group in enumerate(expected):
        for column, chunk in group.chunks.items():
            expected_chunk = metadata.row_group(index).column(column)
            start = expected_chunk.dictionary_page_offset or expected_chunk.data_page_offset
            assert (chunk.num_values, chunk.start) == (expected_chunk.num_values, start)
            assert chunk.end - chunk.start == expected_chunk.total_compressed_size


def test_skipping_a_struct_ends_where_reading_it_does(tmp_path: Path) -> None:
    content = wide(tmp_path / "a.parquet").read_bytes()
    footer = content[-8 - int.from_bytes(content[-8:-4], "little") : -8][:20_000]
    random = np.random.default_rng(0)
    for number in range(150):
        damaged = np.frombuffer(footer, np.uint8).copy()
        damaged[random.integers(0, len(damaged), number % 5)] = random.integers(0, 256, number % 5)
        assert end_of(damaged.tobytes(), ThriftReader.struct) == end_of(damaged.tobytes(), ThriftReader.skip_struct)


def end_of(content: bytes, method) -> int | type[Exception]:
    reader = ThriftReader(content)
    try:
        method(reader)
    except (CutShort, Malformed) as error:
        return type(error)
    return reader.position
