"""The claims of a Parquet file are checked before it is decoded: crafted lengths need no memory."""

import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.data.errors import BadFileError
from seqembed.data.files.listing import resolve_inputs
from seqembed.data.parquet import pages
from seqembed.data.parquet.reader import read_blocks
from seqembed.data.schema.schema import Feature, SequenceSchema

SCHEMA = SequenceSchema("id", (Feature("x", "x"),), "nested")
STEPS = 1_100_003  # as a zigzag varint four bytes long, like every number up to the bound


def varint(number: int) -> bytes:
    """Return a Thrift compact i32 or i64."""
    number, out = number << 1, b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def craft(path: Path, in_footer: int, in_pages: int) -> Path:
    """Write one row of `STEPS` equal numbers, and then change the numbers that footer and pages claim."""
    column = pa.array([[1.0] * STEPS], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ["a"], "x": column}), path, store_schema=False, compression="none")
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    footer, body = content[-8 - length : -8], content[: -8 - length]
    assert footer.count(varint(STEPS)) >= 1
    assert body.count(varint(STEPS)) >= 1
    footer = footer.replace(varint(STEPS), varint(in_footer))
    body = body.replace(varint(STEPS), varint(in_pages))
    path.write_bytes(body + footer + struct.pack("<I", len(footer)) + b"PAR1")
    assert path.stat().st_size < 20_000
    return path


def read(path: Path) -> int:
    (file,) = resolve_inputs([str(path)])
    return sum(block.num_sequences for block in read_blocks(file, SCHEMA))


def test_the_crafted_file_is_read_if_its_claims_are_true(tmp_path: Path) -> None:
    assert read(craft(tmp_path / "a.parquet", STEPS, STEPS)) == 1


@pytest.mark.parametrize(
    ("in_footer", "in_pages", "message"),
    [
        (1_000_000_000, STEPS, r"a.parquet: row group 0 has 1,000,000,001 values per row; at most 134,217,728"),
        (STEPS, 134_000_003, r"row group 0, column 'x.list.element': the footer says 1,100,003 values, the pages"),
        (10, STEPS, r"the footer says 10 values, the pages say 1,100,003. Write the file again"),
        (0, STEPS, r"0 values for 1 rows"),
    ],
)
def test_false_or_excessive_claims_are_refused_before_decoding(
    tmp_path: Path, in_footer: int, in_pages: int, message: str
) -> None:
    before = pa.total_allocated_bytes()
    with pytest.raises(BadFileError, match=message):
        read(craft(tmp_path / "a.parquet", in_footer, in_pages))
    assert pa.total_allocated_bytes() - before < 10 << 20


def test_a_page_of_too_many_values_or_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"id": [str(i) for i in range(50)], "x": pa.array([[1.0] * 100] * 50, pa.list_(pa.float64()))})
    pq.write_table(rows, tmp_path / "a.parquet", use_dictionary=False)
    assert read(tmp_path / "a.parquet") == 50
    monkeypatch.setattr(pages, "MAX_VALUES", 4_000)
    with pytest.raises(BadFileError, match="a page of 5,000 values and .* at most 4,000"):
        read(tmp_path / "a.parquet")
    monkeypatch.setattr(pages, "MAX_VALUES", 5_000)
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 40_000)
    with pytest.raises(BadFileError, match="smaller pages"):
        read(tmp_path / "a.parquet")


def test_all_page_formats_are_read(tmp_path: Path) -> None:
    rows = {"id": [f"row-{i}" for i in range(3000)], "x": [[i / 7] * (i % 9) if i % 5 else None for i in range(3000)]}
    for number, options in enumerate(
        [
            {"data_page_version": "2.0"},
            {"use_dictionary": False, "compression": "none"},
            {"data_page_size": 64, "row_group_size": 700},
            {"write_page_checksum": True, "write_page_index": True, "compression": "zstd"},
            {"write_statistics": True, "use_dictionary": ["id"], "dictionary_pagesize_limit": 100},
        ]
    ):
        pq.write_table(pa.table(rows), tmp_path / f"{number}.parquet", **options)
        assert read(tmp_path / f"{number}.parquet") == 3000


def test_long_statistics_in_a_page_header_are_skipped(tmp_path: Path) -> None:
    rows = {"id": ["a" * 4000, "b" * 4000], "x": [[1.0], [2.0]]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet", use_dictionary=False)
    assert read(tmp_path / "a.parquet") == 2
