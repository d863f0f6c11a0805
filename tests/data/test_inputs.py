"""The files of an input: files, directories, hive partitions, globs, URIs; and fingerprints of files."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seqembed.data.errors import InputError
from seqembed.data.files.fingerprints import combined_fingerprint, fingerprint
from seqembed.data.files.listing import resolve_inputs

NAMES = [
    "a.parquet",
    "day=1/p.parquet",
    "day=2/p.parquet",
    "day=2/notes.txt",
    "_temporary/x.parquet",
    "day=2/.h.parquet",
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": [1], "x": [[1.0]]}), path)
    (tmp_path / "in" / "day=2" / "notes.txt").write_text("hello world, this is no parquet")
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("", ["a.parquet", "day=1/p.parquet", "day=2/p.parquet"]),
        ("/a.parquet", ["a.parquet"]),
        ("/day=2", ["day=2/p.parquet"]),
        ("/day=*/*.parquet", ["day=1/p.parquet", "day=2/p.parquet"]),
        ("/day=[2-9]/*.parquet", ["day=2/p.parquet"]),
        ("/**/*.parquet", ["a.parquet", "day=1/p.parquet", "day=2/p.parquet"]),
        ("/day=?/?.parquet", ["day=1/p.parquet", "day=2/p.parquet"]),
    ],
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_inputs_are_resolved(tree: Path, given: str, names: list[str], scheme: str) -> None:
    files = resolve_inputs([f"{scheme}{tree}{given}"])
    assert [file.name for file in files] == names
    assert all(file.open().metadata.num_rows == 1 for file in files)


def test_hive_keys_are_parsed(tree: Path) -> None:
    directory = tree / "city=S%C3%A3o%20Paulo" / "hour=__HIVE_DEFAULT_PARTITION__"
    directory.mkdir(parents=True)
    pq.write_table(pa.table({"id": [1]}), directory / "p.parquet")
    (file,) = resolve_inputs([str(directory / "p.parquet")])
    assert file.partitions["city"] == "São Paulo"
    assert file.partitions["hour"] is None


def test_missing_inputs_are_refused(tree: Path) -> None:
    (tree / "empty").mkdir()
    for given in ("/nope", "/nope*.parquet", "/empty"):
        with pytest.raises(InputError, match="no "):
            resolve_inputs([f"{tree}{given}"])


def test_a_file_named_twice_is_refused(tree: Path) -> None:
    with pytest.raises(InputError, match="in the inputs twice"):
        resolve_inputs([str(tree), str(tree / "a.parquet")])


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(InputError, match="nosuch"):
        resolve_inputs(["nosuch://bucket/x.parquet"])


def test_not_parquet_is_an_input_error(tree: Path) -> None:
    (file,) = resolve_inputs([str(tree / "day=2" / "notes.txt")])
    with pytest.raises(InputError, match="notes.txt"):
        file.open()
    with pytest.raises(InputError, match="not a Parquet file"):
        fingerprint(file)


def test_fingerprints_change_with_content_and_not_with_order(tree: Path) -> None:
    one, two, *_ = resolve_inputs([str(tree)])
    before = fingerprint(one)
    assert fingerprint(one) == before
    assert combined_fingerprint([one, two]) == combined_fingerprint([two, one])
    stat = os.stat(one.path)
    pq.write_table(pa.table({"id": [2], "x": [[2.0]]}), one.path)
    os.utime(one.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert os.stat(one.path).st_size == stat.st_size
    assert fingerprint(one) != before  # same size, same time: the footer's statistics tell
