"""Disk full, quota, read-only directories, permissions: exit 6, the path named, earlier parts whole, a rerun finishes.

The small and the read-only filesystem are real ones (tmpfs), where this process may mount; limits and file modes, which
need no such right, make the same faults in any case. A quota's error comes from the kernel too, by a filter of system
calls: few kernels that tests run on have filesystems with quotas.
"""

import errno
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from nursery import Ended, Nursery, check_finished, check_whole, contents
from seqembed_testing import Tiny, done, sequences, write_sequences

POWERLESS = {"prepare": "give_up_powers()"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file, and one whose part has some 400 KB."""
    data = tmp_path_factory.mktemp("faults") / "in"
    write_sequences(data / "a.parquet", sequences(300, seed=1, longest=3))
    write_sequences(data / "b.parquet", sequences(20_000, seed=2, longest=2))
    return data


@pytest.fixture(scope="module")
def words(tiny: Tiny, data: Path) -> tuple[object, ...]:
    return ("run", data, "--model", tiny.bundle, "--threads", 2, "--out")


@pytest.fixture(scope="module")
def new(words: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done(*words, out)
    found = contents(out)
    assert len(found["b.parquet"]) > 350_000
    return found


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount; the limit and the file modes make the same faults")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True, capture_output=True)


def check_refused(ended: Ended, out: Path) -> None:
    """Check that the user is told, and sees no inside of ours."""
    assert ended.code == 6, ended
    assert str(out) in ended.output
    assert "Traceback" not in ended.output
    assert "Exception ignored" not in ended.output


def check_first_part_stays(out: Path, new: dict[str, bytes]) -> None:
    check_whole(out, new)
    assert sorted(path.name for path in out.rglob("*.parquet")) == ["a.parquet"]
    assert not (out / "_SUCCESS").exists()
    assert not (out / "_temporary").exists()
    assert not (out / "_lock").exists()


def test_disk_full(small: Path, nursery: Nursery, words: tuple, new: dict[str, bytes]) -> None:
    out = small / "out"
    ended = nursery.run(*words, out)
    check_refused(ended, out)
    assert "No space left" in ended.output
    check_first_part_stays(out, new)
    remount(small, "size=4m")
    done(*words, out)
    check_finished(out, new)


def test_disk_full_before_the_first_byte(small: Path, nursery: Nursery, words: tuple, new: dict[str, bytes]) -> None:
    out = small / "out"
    check_refused(nursery.run(*words, out), out)
    room = os.statvfs(small)
    (small / "filler").write_bytes(b"x" * room.f_bavail * room.f_bsize)
    check_refused(nursery.run(*words, out), out)
    check_first_part_stays(out, new)
    (small / "filler").unlink()
    remount(small, "size=4m")
    done(*words, out)
    check_finished(out, new)


@pytest.mark.parametrize("limit", [400, 9_000, 100_000, 300_000])
def test_no_file_may_grow_further(
    nursery: Nursery, words: tuple, new: dict[str, bytes], tmp_path: Path, limit: int
) -> None:
    out = tmp_path / "out"
    ended = nursery.run(*words, out, prepare=f"limit_file_size({limit})")
    check_refused(ended, out)
    assert "File too large" in ended.output
    if limit > len(new["a.parquet"]):
        check_first_part_stays(out, new)
    else:
        assert not list(out.rglob("*.parquet"))
    done(*words, out)
    check_finished(out, new)


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="names system calls by number")
@pytest.mark.parametrize("call", ["write", "fsync"])  # NFS tells of a quota only when a file is synced
@pytest.mark.parametrize("number", [1, 2])
def test_a_quota_that_is_used_up(
    nursery: Nursery, words: tuple, new: dict[str, bytes], tmp_path: Path, call: str, number: int
) -> None:
    out = tmp_path / "out"
    code = f"answer_with({errno.EDQUOT}, {call!r})"
    ended = nursery.run(*words, out, step="part opened", number=number, code=code)
    check_refused(ended, out)
    assert os.strerror(errno.EDQUOT) in ended.output
    check_whole(out, new)
    assert [path.name for path in out.rglob("*.parquet")] == ["a.parquet"][: number - 1]
    assert not (out / "_SUCCESS").exists()
    assert not (out / "_temporary").exists()
    done(*words, out)
    check_finished(out, new)


def test_a_read_only_filesystem(small: Path, nursery: Nursery, words: tuple, new: dict[str, bytes]) -> None:
    remount(small, "size=4m")
    out = small / "out"
    done(*words, out)
    remount(small, "ro")
    finished = nursery.run(*words, out)
    assert finished.code == 0, finished.output
    assert "0 parts made, 2 up to date" in finished.output
    check_refused(nursery.run(*words, small / "other"), small / "other")
    remount(small, "rw")
    (out / "b.parquet").unlink()
    (out / "_SUCCESS").unlink()
    remount(small, "ro")
    ended = nursery.run(*words, out)
    check_refused(ended, out)
    assert "Read-only" in ended.output
    check_first_part_stays(out, new)
    remount(small, "rw")
    done(*words, out)
    check_finished(out, new)


def test_a_directory_whose_mode_forbids_writing(
    nursery: Nursery, words: tuple, new: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "above" / "out"
    out.parent.mkdir()
    out.parent.chmod(0o555)
    check_refused(nursery.run(*words, out, **POWERLESS), out)
    assert not out.exists()
    out.parent.chmod(0o755)
    done(*words, out)
    (out / "b.parquet").unlink()
    (out / "_SUCCESS").unlink()
    out.chmod(0o555)
    ended = nursery.run(*words, out, **POWERLESS)
    check_refused(ended, out)
    assert "Permission denied" in ended.output
    check_first_part_stays(out, new)
    out.chmod(0o755)
    done(*words, out)
    check_finished(out, new)


def test_a_directory_that_is_closed_in_the_middle(
    nursery: Nursery, words: tuple, new: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    close = f"give_up_powers(); os.chmod({str(out)!r}, 0o555)"
    check_refused(nursery.run(*words, out, step="before rename", number=2, code=close), out)
    check_whole(out, new)
    out.chmod(0o755)
    done(*words, out)
    check_finished(out, new)


def test_parts_and_lists_that_may_not_be_read(
    nursery: Nursery, words: tuple, new: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done(*words, out)
    for place in (out / "a.parquet", out):
        mode = place.stat().st_mode
        place.chmod(0)
        check_refused(nursery.run(*words, out, **POWERLESS), out)
        place.chmod(mode)
    check_finished(out, new)


def test_a_part_with_a_damaged_footer_is_made_anew(words: tuple, new: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done(*words, out)
    part = new["a.parquet"]
    for text in (b"", part[:100], part[:-40] + b"\xff" * 32 + part[-8:], b"PAR1" + b"\0" * 8):
        (out / "a.parquet").write_bytes(text)
        assert "1 part made, 1 up to date" in done(*words, out).output
        check_finished(out, new)


def test_an_input_that_may_not_be_read_is_an_input_error(
    tiny: Tiny, nursery: Nursery, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "in")
    (tmp_path / "in" / "b.parquet").chmod(0)
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    ended = nursery.run(*words, **POWERLESS)
    assert ended.code == 3, ended.output
    assert "b.parquet" in ended.output
    assert "Permission denied" in ended.output
    ended = nursery.run(*words, "--on-bad-file", "skip", **POWERLESS)
    assert ended.code == 0, ended.output
    assert pq.read_metadata(tmp_path / "out" / "a.parquet").num_rows == 300
