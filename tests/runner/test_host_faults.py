"""A lack of memory, descriptors or threads ends the run with exit 6, and no file is reported as damaged."""

import errno
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from child_runner import ChildRunner, check_finished, contents
from seqembed.data.errors import BadFileError
from seqembed.data.files.listing import find_inputs
from seqembed.data.host import host_fault
from seqembed_testing import Tiny, done, sequences, write_sequences

LIMIT = "resource.setrlimit(resource.RLIMIT_{0}, ({1}, {1}))"


@pytest.fixture
def words(tiny: Tiny, tmp_path: Path) -> tuple[object, ...]:
    for index in range(3):
        write_sequences(tmp_path / "in" / f"{index}.parquet", sequences(300, seed=index))
    return ("run", tmp_path / "in", "--model", tiny.bundle, "--on-bad-file", "skip", "--threads", 2, "--out")


@pytest.mark.parametrize("number", [1, 2])
def test_descriptors_that_run_out(child_runner: ChildRunner, words: tuple, tmp_path: Path, number: int) -> None:
    out, expected = tmp_path / "out", tmp_path / "expected"
    done(*words, expected)
    # From a step on no descriptor is available: further files cannot be opened, but are not damaged.
    code = "[os.dup(1) for _ in range(len(os.listdir('/proc/self/fd')) - 4)]; " + LIMIT.format("NOFILE", 3)
    ended = child_runner.run(*words, out, step="part checked", number=number, code=code)
    assert ended.code == 6, ended.output
    assert "this host lacks file descriptors" in ended.output, ended.output
    assert "Traceback" not in ended.output
    assert "SKIPPED" not in ended.output
    assert not (out / "_SUCCESS").exists()
    done(*words, out)
    check_finished(out, contents(expected))


def test_memory_that_runs_out(child_runner: ChildRunner, words: tuple, tmp_path: Path) -> None:
    big = {"id": list(range(80)), "x": [[1.0] * 20_000] * 80, "y": [[2.0] * 20_000] * 80}
    write_sequences(tmp_path / "in" / "big.parquet", big, use_dictionary=False, compression="none")
    out = tmp_path / "out"
    now = "int(open('/proc/self/statm').read().split()[0]) * 4096"
    code = f"size = {now} + (24 << 20); " + LIMIT.format("AS", "size")
    ended = child_runner.run(*words, out, step="locked", number=1, code=code)
    assert ended.code == 6, ended.output
    assert "this host lacks memory" in ended.output or "this host lacks threads" in ended.output, ended.output
    assert "Traceback" not in ended.output
    assert "SKIPPED" not in ended.output
    assert not (out / "_SUCCESS").exists()
    done(*words, out)
    assert json.loads((out / "_SUCCESS").read_text())["rows_in"] == 980


def test_memory_requested_by_a_damaged_file_is_not_an_error_of_the_host() -> None:
    assert host_fault(MemoryError("malloc of size 1000000 failed")) is not None
    assert host_fault(pa.ArrowMemoryError(f"malloc of size {1 << 50} failed")) is None
    assert host_fault(OSError(errno.EMFILE, "Too many open files")) is not None
    assert host_fault(OSError(errno.ENOENT, "No such file")) is None
    assert host_fault(RuntimeError("can't start new thread")) is not None
    assert host_fault(RuntimeError("dictionary changed size")) is None


def test_a_missing_file_is_still_a_bad_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1]}), tmp_path / "a.parquet")
    (file,) = find_inputs([str(tmp_path)]).files
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(BadFileError):
        file.open()
