"""Full disk, quota, read-only directories, permissions: exit 6 with the path, finished parts kept, a rerun completes.

The small and the read-only filesystem are real (tmpfs) if this process may mount; limits and file modes, which need no
privilege, cause the same errors otherwise. The error of a quota also comes from the kernel, by a filter of system
calls, since filesystems with quotas are rarely available.
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

from child_runner import ChildResult, ChildRunner, check_complete, check_finished, contents
from seqembed_testing import Tiny, done, sequences, write_sequences

POWERLESS = {"prepare": "drop_capabilities()"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file, and one whose part has about 400 KB."""
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
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount; the limit and the file modes make the same faults")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def remount(directory: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(directory)], check=True, capture_output=True)


def check_refused(ended: ChildResult, out: Path) -> None:
    """Check that the user gets an error message without a traceback."""
    assert ended.code == 6, ended
    assert str(out) in ended.output
    assert "Traceback" not in ended.output
    assert "Exception ignored" not in ended.output


def check_first_part_stays(out: Path, new: dict[str, bytes]) -> None:
    check_complete(out, new)
    assert sorted(path.name for path in out.rglob("*.parquet")) == ["a.parquet"]
    assert not (out / "_SUCCESS").exists()
    assert not (out / "_temporary").exists()
    assert not (out / "_lock").exists()


def test_disk_full(small: Path, child_runner: ChildRunner, words: tuple, new: dict[str, bytes]) -> None:
    out = small / "out"
    ended = child_runner.run(*words, out)
    check_refused(ended, out)
    assert "No space left" in ended.output
    check_first_part_stays(out, new)
    remount(small, "size=4m")
    done(*words, out)
    check_finished(out, new)


def test_disk_full_before_the_first_byte(
    small: Path, child_runner: ChildRunner, words: tuple, new: dict[str, bytes]
) -> None:
    out = small / "out"
    check_refused(child_runner.run(*words, out), out)
    room = os.statvfs(small)
    (small / "filler").write_bytes(b"x" * room.f_bavail * room.f_bsize)
    check_refused(child_runner.run(*words, out), out)
    check_first_part_stays(out, new)
    (small / "filler").unlink()
    remount(small, "size=4m")
    done(*words, out)
    check_finished(out, new)


@pytest.mark.parametrize("limit", [400, 9_000, 100_000, 300_000])
def test_a_file_size_limit(
    child_runner: ChildRunner, words: tuple, new: dict[str, bytes], tmp_path: Path, limit: int
) -> None:
    out = tmp_path / "out"
    ended = child_runner.run(*words, out, prepare=f"limit_file_size({limit})")
    check_refused(ended, out)
    assert "File too large" in ended.output
    if limit > len(new["a.parquet"]):
        check_first_part_stays(out, new)
    else:
        assert not list(out.rglob("*.parquet"))
    done(*words, out)
    check_finished(out, new)


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="names system calls by number")
@pytest.mark.parametrize("call", ["write", "fsync"])  # NFS reports a quota only when a file is synced
@pytest.mark.parametrize("number", [1, 2])
def test_a_quota_that_is_used_up(
    child_runner: ChildRunner, words: tuple, new: dict[str, bytes], tmp_path: Path, call: str, number: int
) -> None:
    out = tmp_path / "out"
    code = f"fail_system_call({errno.EDQUOT}, {call!r})"
    ended = child_runner.run(*words, out, step="part opened", number=number, code=code)
    check_refused(ended, out)
    assert os.strerror(errno.EDQUOT) in ended.output
    check_complete(out, new)
    assert [path.name for path in out.rglob("*.parquet")] == ["a.parquet"][: number - 1]
    assert not (out / "_SUCCESS").exists()
    assert not (out / "_temporary").exists()
    done(*words, out)
    check_finished(out, new)


def test_a_read_only_filesystem(small: Path, child_runner: ChildRunner, words: tuple, new: dict[str, bytes]) -> None:
    remount(small, "size=4m")
    out = small / "out"
    done(*words, out)
    remount(small, "ro")
    finished = child_runner.run(*words, out)
    assert finished.code == 0, finished.output
    assert "0 parts made, 2 up to date" in finished.output
    check_refused(child_runner.run(*words, small / "other"), small / "other")
    remount(small, "rw")
    (out / "b.parquet").unlink()
    (out / "_SUCCESS").unlink()
    remount(small, "ro")
    ended = child_runner.run(*words, out)
    check_refused(ended, out)
    assert "Read-only" in ended.output
    check_first_part_stays(out, new)
    remount(small, "rw")
    done(*words, out)
    check_finished(out, new)


def test_a_directory_whose_mode_forbids_writing(
    child_runner: ChildRunner, words: tuple, new: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "above" / "out"
    out.parent.mkdir()
    out.parent.chmod(0o555)
    check_refused(child_runner.run(*words, out, **POWERLESS), out)
    assert not out.exists()
    out.parent.chmod(0o755)
    done(*words, out)
    (out / "b.parquet").unlink()
    (out / "_SUCCESS").unlink()
    out.chmod(0o555)
    ended = child_runner.run(*words, out, **POWERLESS)
    check_refused(ended, out)
    assert "Permission denied" in ended.output
    check_first_part_stays(out, new)
    out.chmod(0o755)
    done(*words, out)
    check_finished(out, new)


def test_a_directory_that_is_closed_in_the_middle(
    child_runner: ChildRunner, words: tuple, new: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    close = f"drop_capabilities(); os.chmod({str(out)!r}, 0o555)"
    check_refused(child_runner.run(*words, out, step="before rename", number=2, code=close), out)
    check_complete(out, new)
    out.chmod(0o755)
    done(*words, out)
    check_finished(out, new)


def test_parts_and_lists_that_may_not_be_read(
    child_runner: ChildRunner, words: tuple, new: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done(*words, out)
    for path in (out / "a.parquet", out):
        mode = path.stat().st_mode
        path.chmod(0)
        check_refused(child_runner.run(*words, out, **POWERLESS), out)
        path.chmod(mode)
    check_finished(out, new)


def test_a_part_with_a_damaged_footer_is_made_again(words: tuple, new: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done(*words, out)
    part = new["a.parquet"]
    for text in (b"", part[:100], part[:-40] + b"\xff" * 32 + part[-8:], b"PAR1" + b"\0" * 8):
        (out / "a.parquet").write_bytes(text)
        assert "1 part made, 1 up to date" in done(*words, out).output
        check_finished(out, new)


def test_an_input_that_may_not_be_read_is_an_input_error(
    tiny: Tiny, child_runner: ChildRunner, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "in")
    (tmp_path / "in" / "b.parquet").chmod(0)
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--out", tmp_path / "out")
    ended = child_runner.run(*words, **POWERLESS)
    assert ended.code == 3, ended.output
    assert "b.parquet" in ended.output
    assert "Permission denied" in ended.output
    ended = child_runner.run(*words, "--on-bad-file", "skip", **POWERLESS)
    assert ended.code == 0, ended.output
    assert pq.read_metadata(tmp_path / "out" / "a.parquet").num_rows == 300
