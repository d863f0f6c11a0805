"""Standard streams that are full, closed, cut off or of another encoding do not change the result of a run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from child_runner import ChildRunner, check_finished, contents
from seqembed_testing import Tiny, done, sequences, write_sequences

FULL = "os.dup2(os.open('/dev/full', os.O_WRONLY), {0})"
BROKEN = "r, w = os.pipe(); os.dup2(w, {0}); os.close(r); os.close(w)"
SEQEMBED = Path(sys.executable).parent / "seqembed"


@pytest.fixture
def words(tiny: Tiny, tmp_path: Path) -> tuple[object, ...]:
    data = write_sequences(tmp_path / "in.parquet", sequences(30, seed=1))
    return ("run", data, "--model", tiny.bundle, "--out")


@pytest.mark.parametrize("descriptor", [1, 2])
@pytest.mark.parametrize("fault", [FULL, BROKEN, "os.close({0})"])
def test_a_run_succeeds_whatever_its_streams_accept(
    child_runner: ChildRunner, words: tuple, tmp_path: Path, fault: str, descriptor: int
) -> None:
    done(*words, tmp_path / "expected")
    ended = child_runner.run(*words, tmp_path / "out", prepare=fault.format(descriptor))
    assert ended.code == 0, ended.output
    check_finished(tmp_path / "out", contents(tmp_path / "expected"))
    if (fault, descriptor) == (FULL, 1):
        assert "standard output could not be written (No space left on device); the result is complete" in ended.output
    refused = child_runner.run(
        "run", tmp_path / "none", *words[2:], tmp_path / "other", prepare=fault.format(descriptor)
    )
    assert refused.code == 3, refused.output


def test_inspect_fails_if_its_result_cannot_be_printed(child_runner: ChildRunner, tiny: Tiny) -> None:
    assert child_runner.run("inspect", tiny.bundle, prepare=FULL.format(1)).code == 6
    assert child_runner.run("inspect", tiny.bundle, prepare=BROKEN.format(1)).code == 0
    assert child_runner.run("--help", prepare=BROKEN.format(1)).code == 0


def test_a_process_started_without_streams_writes_no_messages_into_parts(words: tuple, tmp_path: Path) -> None:
    done(*words, tmp_path / "expected")
    command = [SEQEMBED, *map(str, words), str(tmp_path / "out")]
    ended = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], check=False)
    assert ended.returncode == 0
    check_finished(tmp_path / "out", contents(tmp_path / "expected"))


def test_a_terminal_without_unicode_gets_plain_text(tiny: Tiny, words: tuple, tmp_path: Path) -> None:
    for encoding in ("latin-1", "cp437"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        shown = subprocess.run(
            [SEQEMBED, "inspect", tiny.bundle], env=environment, capture_output=True, check=True
        ).stdout.decode(encoding)
        assert "sha256 " in shown
        assert "..." in shown
        table = subprocess.run(
            [SEQEMBED, *map(str, words), str(tmp_path / "out"), "--dry-run"],
            env=environment,
            capture_output=True,
            check=True,
        ).stdout.decode(encoding)
        assert "make" in table


def test_names_that_are_not_utf8_are_shown_and_refused(child_runner: ChildRunner, words: tuple, tmp_path: Path) -> None:
    name = "M\udcfcller"
    os.rename(tmp_path / "in.parquet", tmp_path / f"{name}.parquet")
    ended = child_runner.run("run", tmp_path / f"{name}.parquet", *words[2:], tmp_path / "out")
    assert (ended.code, "not UTF-8" in ended.output) == (3, True), ended.output
    os.rename(tmp_path / f"{name}.parquet", tmp_path / "in.parquet")
    ended = child_runner.run(*words, tmp_path / name)
    assert (ended.code, "not UTF-8" in ended.output) == (6, True), ended.output
    # A file with such a name in the output was not written by seqembed, and is not the path of a part.
    done(*words, tmp_path / "out")
    (tmp_path / "out" / f"{name}.parquet").write_text("users_file")
    assert "0 parts made, 1 up to date" in done(*words, tmp_path / "out").output
