"""SIGTERM and Ctrl-C: exit 143 and 130, temporary files removed, finished parts kept, lock released."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from child_runner import ChildRunner, check_complete, check_finished, contents
from seqembed.runner.output.directory import OutputDirectory
from seqembed_testing import Tiny, done, sequences, write_sequences

ROOT = Path(__file__).parents[2]
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("stop") / "in"
    for index in range(3):
        write_sequences(data / f"{index}.parquet", sequences(40, seed=index))
    return data


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize(
    ("step", "call", "num_parts"),
    [
        ("locked", 1, 0),
        ("old marker removed", 1, 0),
        ("part opened", 2, 1),
        ("rows on disk", 2, 1),
        ("part checked", 3, 2),
        ("after rename or removal", 3, 2),  # the first is of _RUN
        ("before _SUCCESS", 1, 3),
        ("before cleaning", 2, 3),
    ],
)
def test_a_stopped_run_cleans_up_and_the_rerun_finishes(
    tiny: Tiny,
    child_runner: ChildRunner,
    data: Path,
    tmp_path: Path,
    number: signal.Signals,
    step: str,
    call: int,
    num_parts: int,
) -> None:
    words = ("run", data, "--model", tiny.bundle, "--threads", 2, "--out")
    done(*words, tmp_path / "undisturbed")
    new = contents(tmp_path / "undisturbed")
    out = tmp_path / "out"
    ended = child_runner.run(*words, out, step=step, number=call, signal=number)
    assert ended.code == CODES[number], ended.output
    assert "Traceback" not in ended.output
    assert len(list(out.glob("*.parquet"))) == num_parts
    assert not (out / "_temporary").exists()
    assert not (out / "_lock").exists()
    check_complete(out, new)
    done(*words, out)
    check_finished(out, new)


@pytest.mark.parametrize("number", CODES)
def test_a_real_process_is_stopped_in_the_middle(tiny: Tiny, tmp_path: Path, number: signal.Signals) -> None:
    for index in range(60):
        write_sequences(tmp_path / "in" / f"{index:02}.parquet", sequences(40, seed=index))
    out = tmp_path / "out"
    words = ["run", tmp_path / "in", "--model", tiny.bundle, "--out", out]
    process = subprocess.Popen(
        [sys.executable, "-c", "from seqembed.runner.cli import main; main()", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT / ".src")},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not list(out.glob("*.parquet")):
        time.sleep(0.002)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == CODES[number], output + errors
    assert "Traceback" not in errors
    assert {143: "terminated", 130: "interrupted"}[process.returncode] in errors
    kept = {name: text for name, text in contents(out).items() if name.endswith(".parquet")}
    assert 0 < len(kept) < 60
    assert not (out / "_temporary").exists()
    assert not (out / "_lock").exists()
    assert not (out / "_SUCCESS").exists()
    result = done(*words)
    assert f"{60 - len(kept)} parts made, {len(kept)} up to date" in result.output
    assert kept.items() <= contents(out).items()


FINALISED = """
import signal, time, weakref
from seqembed.data.signals import stopped_by_signals

class Writer:
    def __del__(self):
        signal.raise_signal(signal.{name})

class Cell:
    pass

def on_delete(reference):
    signal.raise_signal(signal.{name})

with stopped_by_signals():
    {statement}
    time.sleep(20)  # a moment is enough, unless the signal is lost
print("went on to the end")
"""


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("statement", ["Writer()", "cell = Cell(); seen = weakref.ref(cell, on_delete); del cell"])
def test_a_signal_that_comes_while_an_object_is_finalised_is_not_lost(number: signal.Signals, statement: str) -> None:
    script = FINALISED.format(name=number.name, statement=statement)
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT / ".src")},
        capture_output=True,
        text=True,
        check=False,
    )
    # Python itself ends by SIGINT if KeyboardInterrupt is not caught; the command exits with 130.
    assert ended.returncode == {signal.SIGTERM: 143, signal.SIGINT: -signal.SIGINT}[number], ended.stderr
    assert "went on" not in ended.stdout
    assert "ignored" not in ended.stderr


def test_a_worker_that_writes_for_another_moment_is_cleaned_up_after(tmp_path: Path) -> None:
    """Workers of Spark end after the job was cancelled."""
    output = OutputDirectory(str(tmp_path / "out"))
    staged, count = tmp_path / "out" / output.staging.directory, 0

    def write() -> None:
        nonlocal count
        end = time.monotonic() + 0.3
        with suppress(FileNotFoundError):
            while time.monotonic() < end:
                (staged / str(count)).touch()
                count += 1

    with output.lock():
        output.begin({})
        worker = threading.Thread(target=write)
        worker.start()
        while count < 300:
            time.sleep(0.001)
    worker.join()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_RUN"]
