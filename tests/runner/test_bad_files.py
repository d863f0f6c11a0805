"""Files that cannot be read: each is refused with exit 3 and its name, or skipped and listed."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from seqembed_testing import Tiny, done, seqembed, sequences, write_sequences

PLAIN = {"use_dictionary": False, "compression": "none", "write_page_checksum": True}


class Keys(pe.KmsClient):
    """Returns keys unencrypted, which suffices to write an encrypted file."""

    def __init__(self, configuration: pe.KmsConnectionConfig) -> None:
        super().__init__()

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return key_bytes.hex().encode()

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return bytes.fromhex(wrapped_key.decode())


def encrypted(path: Path, footer_too: bool) -> None:
    table = pa.table({name: pa.array(values) for name, values in sequences(9, seed=1).items()})
    configuration = pe.EncryptionConfiguration(
        footer_key="k", column_keys={"k": ["x.list.element"]}, plaintext_footer=not footer_too
    )
    properties = pe.CryptoFactory(Keys).file_encryption_properties(pe.KmsConnectionConfig(), configuration)
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)


def cut(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def flip_in_page(path: Path) -> None:
    """Flip one bit of a number in an uncompressed page, which only the checksum can detect."""
    content = bytearray(path.read_bytes())
    content[_values_of_x(path) + 100] ^= 4
    path.write_bytes(content)


def zero_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = pq.read_metadata(path).row_group(0).column(2).data_page_offset
    content[start : start + 300] = bytes(300)
    path.write_bytes(content)


def no_footer_length(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8] + b"\xff\xff\xff\x7fPAR1")


def compressed_rot(path: Path) -> None:
    write_sequences(path, sequences(60, seed=2), compression="gzip")
    content = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(0).column(2)
    end = chunk.data_page_offset + chunk.total_compressed_size
    content[end - 40 : end - 20] = bytes(20)
    path.write_bytes(content)


def _values_of_x(path: Path) -> int:
    chunk = pq.read_metadata(path).row_group(0).column(2)
    assert chunk.path_in_schema == "x.list.element"
    return int(chunk.data_page_offset + chunk.total_compressed_size // 2)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (lambda path: cut(path, 0.6), "not a Parquet file, or truncated"),
    "only its head": (lambda path: path.write_bytes(b"PAR1"), "not a Parquet file, or truncated"),
    "empty": (lambda path: path.write_bytes(b""), "not a Parquet file, or truncated"),
    "text": (lambda path: path.write_text("id,x\n" * 100), "not a Parquet file, or truncated"),
    "footer length": (no_footer_length, "cannot be read as Parquet"),
    "bit rot under a checksum": (flip_in_page, "damaged Parquet data in row group 0"),
    "zeroed page": (zero_page, "damaged page header"),
    "rot in a compressed page": (compressed_rot, "damaged Parquet data in row group 0"),
    "encrypted footer": (lambda path: encrypted(path, footer_too=True), "the file is encrypted. Decrypt it first"),
    "encrypted column": (
        lambda path: encrypted(path, footer_too=False),
        "column 'x.list.element' is encrypted. Decrypt the file first",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_read_fails_or_is_skipped_and_listed(tiny: Tiny, tmp_path: Path, name: str) -> None:
    breaks, message = BROKEN[name]
    write_sequences(tmp_path / "in" / "a.parquet", sequences(20, seed=1))
    bad = write_sequences(tmp_path / "in" / "bad.parquet", sequences(60, seed=2), **PLAIN)
    breaks(bad)
    command = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    refused = seqembed(*command)
    text = " ".join(refused.output.split())
    assert refused.exit_code == 3, text
    assert "bad.parquet: " in text
    assert message in text
    assert not (tmp_path / "out" / "bad.parquet").exists()
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    skipped = done(*command, "--on-bad-file", "skip")
    assert "SKIPPED FILE bad.parquet: " in skipped.output
    totals = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    assert [entry["name"] for entry in totals["skipped_files"]] == ["bad.parquet"]
    assert message in totals["skipped_files"][0]["reason"]
    assert totals["rows_in"] == 20
    assert [path.name for path in (tmp_path / "out").rglob("*.parquet")] == ["a.parquet"]
    write_sequences(bad, sequences(60, seed=2))
    healed = done(*command, "--on-bad-file", "skip")
    assert "SKIPPED" not in healed.output
    assert json.loads((tmp_path / "out" / "_SUCCESS").read_text())["rows_in"] == 80


def test_the_flipped_bit_is_detected_only_by_the_checksum(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(60, seed=2), **PLAIN | {"write_page_checksum": False})
    flip_in_page(data)
    done("run", data, "--model", tiny.bundle, "--out", tmp_path / "out")


def test_a_file_of_no_rows_makes_a_part_of_no_rows(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "in" / "a.parquet", sequences(0, seed=1))
    table = pq.read_table(tmp_path / "in" / "a.parquet")
    with pq.ParquetWriter(tmp_path / "in" / "b.parquet", table.schema) as writer:
        writer.write_table(table)  # with a row group of no rows
    done("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    assert [pq.read_metadata(tmp_path / "out" / name).num_rows for name in ("a.parquet", "b.parquet")] == [0, 0]
    totals = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    assert (totals["rows_in"], totals["rows_embedded"]) == (0, 0)
    assert "2 up to date" in done("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out").output


def test_a_run_with_unreadable_files_only_reports_no_rows(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"no")
    command = ("run", tmp_path / "bad.parquet", "--model", tiny.bundle, "--out", tmp_path / "out")
    assert seqembed(*command).exit_code == 3
    result = done(*command, "--on-bad-file", "skip")
    assert "SKIPPED FILE bad.parquet" in result.output
    assert "0 rows in" in result.output


def test_a_wrong_column_is_not_a_bad_file_and_is_never_skipped(tiny: Tiny, tmp_path: Path) -> None:
    write_sequences(tmp_path / "a.parquet", {"id": ["a"], "x": [[1.0]]})
    command = ("run", tmp_path / "a.parquet", "--model", tiny.bundle, "--out", tmp_path / "out")
    result = seqembed(*command, "--on-bad-file", "skip")
    assert (result.exit_code, "no column 'y'" in result.output) == (3, True)
