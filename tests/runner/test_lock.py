"""One run at a time per output directory; a dead run holds no lock."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from child_runner import KILLED, ChildRunner, check_finished, contents
from seqembed.data.lock import LOCK, hold_lock
from seqembed_testing import Tiny, done, seqembed, sequences, write_sequences

ROOT = Path(__file__).parents[2]
# Acquires the lock repeatedly; creating a directory inside fails if another process is there too.
_CONTENDER = """
import os, sys, time
from pathlib import Path
from seqembed.data.errors import OutputError
from seqembed.data.lock import hold_lock
directory, rounds = Path(sys.argv[1]), int(sys.argv[2])
inside = directory.parent / "inside"
held = refused = 0
(directory.parent / f"ready{os.getpid()}").touch()
while not (directory.parent / "go").exists():
    time.sleep(0.001)
while held < rounds:
    try:
        with hold_lock(directory):
            os.mkdir(inside)
            time.sleep(0.001)
            held += 1
            os.rmdir(inside)
    except OutputError as error:
        assert "another run is writing here" in str(error), error
        refused += 1
print(refused)
"""


@pytest.fixture(scope="module")
def second_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChildRunner]:
    """A second interpreter, for concurrent runs."""
    with ChildRunner(tmp_path_factory.mktemp("second_runner")) as second_runner:
        yield second_runner


def test_a_second_run_is_refused_at_once_and_names_the_first(tiny: Tiny, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(20, seed=1))
    out = tmp_path / "out"
    out.mkdir()
    with hold_lock(out):
        refused = seqembed("run", data, "--model", tiny.bundle, "--out", out)
        assert refused.exit_code == 6
        assert f"process {os.getpid()} on {socket.gethostname()}" in refused.output
        assert str(out) in refused.output
        assert sorted(os.listdir(out)) == [LOCK]
    done("run", data, "--model", tiny.bundle, "--out", out)
    assert not (out / LOCK).exists()


def test_the_lock_dies_with_its_process(tiny: Tiny, child_runner: ChildRunner, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(20, seed=1))
    words = ("run", data, "--model", tiny.bundle, "--out")
    done(*words, tmp_path / "undisturbed")
    out = tmp_path / "out"
    assert child_runner.run(*words, out, step="part opened", number=1).code == KILLED
    assert json.loads((out / LOCK).read_text())["host"] == socket.gethostname()
    assert (out / "_temporary").exists()
    done(*words, out)
    check_finished(out, contents(tmp_path / "undisturbed"))


@pytest.mark.parametrize("left", [b"", b"{", b'{"pid": 1, "host": "gone"}', b"\xff" * 5000])
def test_a_lock_file_without_a_lock_is_ignored(tiny: Tiny, tmp_path: Path, left: bytes) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(20, seed=1))
    out = tmp_path / "out"
    out.mkdir()
    (out / LOCK).write_bytes(left)
    done("run", data, "--model", tiny.bundle, "--out", out)
    assert not (out / LOCK).exists()


def test_processes_that_race_for_the_lock_hold_it_one_at_a_time(tmp_path: Path) -> None:
    directory = tmp_path / "out"
    directory.mkdir()
    contenders = [
        subprocess.Popen(
            [sys.executable, "-c", _CONTENDER, str(directory), "100"],
            env={**os.environ, "PYTHONPATH": str(ROOT / ".src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    while len(list(tmp_path.glob("ready*"))) < 3 and all(process.poll() is None for process in contenders):
        time.sleep(0.01)
    (tmp_path / "go").touch()
    ends = [process.communicate(timeout=120) for process in contenders]
    assert [process.returncode for process in contenders] == [0, 0, 0], ends
    assert sum(int(output) for output, _ in ends) > 0, "they never met"
    assert list(directory.iterdir()) == []


def test_a_run_in_another_process_is_named(tiny: Tiny, child_runner: ChildRunner, tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "in.parquet", sequences(20, seed=1))
    out = tmp_path / "out"
    words = ("run", data, "--model", tiny.bundle, "--out", out)
    go = tmp_path / "go"
    wait = f"while not os.path.exists({str(go)!r}): time.sleep(0.01)"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(child_runner.run, *words, step="old marker removed", number=1, code=wait)
        while not (out / "_RUN").exists() and not first.done():
            time.sleep(0.01)
        holder = json.loads((out / LOCK).read_text())
        refused = seqembed(*words)
        go.touch()
        assert first.result().code == 0, first.result().output
    assert refused.exit_code == 6
    assert f"process {holder['pid']} on {socket.gethostname()}, since" in refused.output
    assert holder["pid"] != os.getpid()


def test_concurrent_runs_write_what_one_writes(
    tiny: Tiny, child_runner: ChildRunner, second_runner: ChildRunner, tmp_path: Path
) -> None:
    for index in range(3):
        write_sequences(tmp_path / "in" / f"{index}.parquet", sequences(40, seed=index))
    words = ("run", tmp_path / "in", "--model", tiny.bundle, "--threads", 1, "--out")
    done(*words, tmp_path / "undisturbed")
    new = contents(tmp_path / "undisturbed")
    with ThreadPoolExecutor(2) as pool:
        for number in range(12):
            out = tmp_path / f"out{number}"
            ends = list(pool.map(lambda one, out=out: one.run(*words, out), (child_runner, second_runner)))
            assert sorted(ended.code for ended in ends) in ([0, 0], [0, 6]), ends
            for ended in ends:
                assert ended.code == 0 or re.search(r"process \d+ on \S+, since", ended.output), ended.output
            check_finished(out, new)
