"""The files of an input: Parquet by name or by content, no duplicates, no tables of other formats, no pipes."""

import gzip
import os
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from seqembed.data.errors import InputError
from seqembed.data.files.listing import find_inputs
from seqembed.data.files.table_formats import table_above


def parquet(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": [1], "x": [[1.0]]}), path)
    return path


def names(*given: object) -> list[str]:
    return [file.name for file in find_inputs([str(one) for one in given]).files]


def test_parquet_is_recognised_by_name_in_any_case_or_by_content(tmp_path: Path) -> None:
    for name in (
        "a.parquet",
        "B.PARQUET",
        "000000_0",
        "d.snappy",
        "e.pq",
        "part-0.parquet.snappy",
        "_SUCCESS",
        ".x.crc",
    ):
        parquet(tmp_path / name)
    (tmp_path / "c.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").touch()
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:20])
    found = find_inputs([str(tmp_path)])
    assert [file.name for file in found.files] == [
        "000000_0",
        "B.PARQUET",
        "a.parquet",
        "cut.parquet",
        "d.snappy",
        "e.pq",
        "part-0.parquet.snappy",
    ]
    assert dict(found.passed_over) == {"c.parquet.gz": "gzip", "notes.txt": "by its first bytes", "empty": "empty"}
    assert found.notes() == [
        "passed over 3 files that are not Parquet: c.parquet.gz (gzip), empty (empty), notes.txt (by its first bytes)"
    ]


def test_a_glob_and_a_single_file_follow_the_same_rule(tmp_path: Path) -> None:
    parquet(tmp_path / "day=1" / "000000_0")
    (tmp_path / "day=1" / "log.txt").write_text("hello")
    assert names(tmp_path / "day=*" / "*") == ["day=1/000000_0"]
    assert names(tmp_path / "day=1" / "log.txt") == ["day=1/log.txt"]  # named by itself: refused when it is opened
    with pytest.raises(InputError, match="no Parquet file"):
        find_inputs([str(tmp_path / "day=1" / "*.txt")])


def test_a_star_matches_one_level_and_hive_globs_and_slashes_match_directories(tmp_path: Path) -> None:
    for name in ("a.parquet", "old/b.parquet", "day=1/c.parquet", "day=2/deep/d.parquet", "x=1.parquet"):
        parquet(tmp_path / name)
    assert names(tmp_path / "*") == ["a.parquet", "x=1.parquet"]
    assert names(tmp_path / "**") == names(tmp_path)
    assert names(tmp_path / "*.parquet") == ["a.parquet", "x=1.parquet"]
    assert names(tmp_path / "x=*.parquet") == ["x=1.parquet"]
    assert names(tmp_path / "day=*") == ["day=1/c.parquet", "day=2/deep/d.parquet"]
    assert names(tmp_path / "day=[2-9]") == ["day=2/deep/d.parquet"]
    assert names(f"{tmp_path}/ol*/") == ["old/b.parquet"]
    assert names(f"{tmp_path}/day=?/") == ["day=1/c.parquet", "day=2/deep/d.parquet"]
    with pytest.raises(InputError, match="end it with a slash"):
        find_inputs([str(tmp_path / "ol*")])


def test_a_hive_key_with_two_values_is_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "v=1" / "v=2" / "p.parquet")
    with pytest.raises(InputError, match="v=1 and v=2"):
        find_inputs([str(tmp_path)])


def test_hive_directories_at_the_end_of_the_given_path_count(tmp_path: Path) -> None:
    parquet(tmp_path / "device=7" / "lake" / "year=2026" / "day=2" / "p.parquet")
    lake = tmp_path / "device=7" / "lake"
    for given, name in {
        "": "year=2026/day=2/p.parquet",
        "year=2026": "year=2026/day=2/p.parquet",
        "year=2026/day=2": "year=2026/day=2/p.parquet",
        "year=2026/day=2/p.parquet": "year=2026/day=2/p.parquet",
        "year=*/day=2/*.parquet": "year=2026/day=2/p.parquet",
        "year=2026/day=*/*.parquet": "year=2026/day=2/p.parquet",
    }.items():
        (file,) = find_inputs([str(lake / given)]).files
        assert (file.name, file.partitions) == (name, {"year": "2026", "day": "2"}), given
        assert file.location == str(lake / "year=2026" / "day=2" / "p.parquet")


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_under_two_names_is_refused(tmp_path: Path, link: object) -> None:
    parquet(tmp_path / "a.parquet")
    link(tmp_path / "a.parquet", tmp_path / "latest.parquet")  # type: ignore[operator]
    with pytest.raises(InputError, match="the same file under two names"):
        find_inputs([str(tmp_path)])
    assert names(tmp_path / "latest.parquet") == ["latest.parquet"]


def test_a_table_of_another_format_is_refused_at_above_and_below_its_root(tmp_path: Path) -> None:
    root = tmp_path / "lake" / "t"
    parquet(root / "day=1" / "part-0.parquet")
    (root / ".hoodie").mkdir()
    parquet(tmp_path / "lake" / "plain" / "p.parquet")
    (file,) = [path for path in root.rglob("part-0.parquet")]
    for given in (tmp_path / "lake", root, file.parent, file, tmp_path / "lake" / "*" / "**" / "*.parquet"):
        with pytest.raises(InputError, match=f"{root} is a Hudi table") as refused:
            find_inputs([str(given)])
        assert "write its current" in str(refused.value)
        assert str(root) in str(refused.value).split("; ")[1]
    assert names(tmp_path / "lake" / "plain") == ["p.parquet"]
    assert names(tmp_path / "lake" / "plain" / "*.parquet") == ["p.parquet"]


def test_directories_that_only_look_like_a_table_are_read(tmp_path: Path) -> None:
    parquet(tmp_path / "metadata" / "part.parquet")
    parquet(tmp_path / "p.parquet")
    assert names(tmp_path) == ["metadata/part.parquet", "p.parquet"]


def test_no_permission_for_parent_directories_is_accepted() -> None:
    class Closed(fs.FileSystemHandler):  # only what is asked for here
        def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
            raise PermissionError(13, "Access Denied")

    Closed.__abstractmethods__ = frozenset()
    assert table_above(fs.PyFileSystem(Closed()), "bucket/a/b") is None


def test_pipes_and_sockets_are_skipped_and_never_opened(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "b.parquet").symlink_to(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path)
        try:
            server.bind("s")  # a short name: those of sockets are bounded
        finally:
            os.chdir(here)
        found = find_inputs([str(tmp_path)])
        assert [file.name for file in found.files] == ["a.parquet"]
        assert dict(found.passed_over) == {"pipe": "a pipe", "b.parquet": "a pipe", "s": "a socket"}
    for given in ("pipe", "b.parquet"):
        with pytest.raises(InputError, match="neither a file nor a directory"):
            find_inputs([str(tmp_path / given)])


def test_names_that_are_not_utf8_are_refused_with_their_bytes(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet").rename(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.parquet"))
    for given in (str(tmp_path), os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.parquet")):
        with pytest.raises(InputError, match="not UTF-8") as refused:
            find_inputs([given])
        str(refused.value).encode()


def test_a_scope_covers_the_files_of_its_input(tmp_path: Path) -> None:
    parquet(tmp_path / "in" / "day=1" / "a.parquet")
    there, other = str(tmp_path / "in" / "day=1" / "a.parquet"), str(tmp_path / "in" / "day=2" / "a.parquet")
    for given, expected in {
        "in": (True, True),
        "in/day=1": (True, False),
        "in/day=*/*.parquet": (True, True),
        "in/day=1/a.parquet": (True, False),
    }.items():
        (scope,) = find_inputs([str(tmp_path / given)]).scopes
        assert (scope.covers(there), scope.covers(other)) == expected, given
