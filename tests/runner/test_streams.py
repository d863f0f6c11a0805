"""Standard streams that are full, closed, cut off or of another encoding: the job's own result decides how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nursery import Nursery, check_finished, contents
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
def test_a_run_is_done_whatever_its_streams_take(
    nursery: Nursery, words: tuple, tmp_path: Path, fault: str, descriptor: int
) -> None:
    done(*words, tmp_path / "whole")
    ended = nursery.run(*words, tmp_path / "out", prepare=fault.format(descriptor))
    assert ended.code == 0, ended.output
    check_finished(tmp_path / "out", contents(tmp_path / "whole"))
    if (fault, descriptor) == (FULL, 1):
        assert "standard output could not be written (No space left on device); the result is complete" in ended.output
    refused = nursery.run("run", tmp_path / "none", *words[2:], tmp_path / "other", prepare=fault.format(descriptor))
    assert refused.code == 3, refused.output


def test_inspect_prints_its_result_and_so_fails_where_it_cannot(nursery: Nursery, tiny: Tiny) -> None:
    assert nursery.run("inspect", tiny.bundle, prepare=FULL.format(1)).code == 6
    assert nursery.run("inspect", tiny.bundle, prepare=BROKEN.format(1)).code == 0
    assert nursery.run("--help", prepare=BROKEN.format(1)).code == 0


def test_a_process_born_without_streams_keeps_messages_out_of_parts(words: tuple, tmp_path: Path) -> None:
    done(*words, tmp_path / "whole")
    command = [SEQEMBED, *map(str, words), str(tmp_path / "out")]
    ended = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], check=False)
    assert ended.returncode == 0
    check_finished(tmp_path / "out", contents(tmp_path / "whole"))


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


def test_names_that_are_not_utf8_are_shown_and_refused(nursery: Nursery, words: tuple, tmp_path: Path) -> None:
    name = "M\udcfcller"
    os.rename(tmp_path / "in.parquet", tmp_path / f"{name}.parquet")
    ended = nursery.run("run", tmp_path / f"{name}.parquet", *words[2:], tmp_path / "out")
    assert (ended.code, "not UTF-8" in ended.output) == (3, True), ended.output
    os.rename(tmp_path / f"{name}.parquet", tmp_path / "in.parquet")
    ended = nursery.run(*words, tmp_path / name)
    assert (ended.code, "not UTF-8" in ended.output) == (6, True), ended.output
    # Somebody's file of such a name in the output is none of ours, and in nobody's way.
    done(*words, tmp_path / "out")
    (tmp_path / "out" / f"{name}.parquet").write_text("theirs")
    assert "0 parts made, 1 up to date" in done(*words, tmp_path / "out").output
