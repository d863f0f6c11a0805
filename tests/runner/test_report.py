"""The report of a run: progress, and peak memory independent of the parent process."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import seqembed.runner.job.run
from seqembed_testing import Tiny, done, events_bundle, sequences, with_contract, write_events, write_sequences

ROOT = Path(__file__).parents[2]

SCHEDULER = """
import subprocess, sys
memory = bytearray(1 << 30)
memory[::4096] = bytes([1]) * len(memory[::4096])
job = "from seqembed.runner.report import peak_rss_bytes; print(peak_rss_bytes())"
sys.stdout.write(subprocess.run([sys.executable, "-c", job], capture_output=True, text=True, check=True).stdout)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count each process by itself")
def test_the_peak_memory_of_a_job_is_not_that_of_its_parent_process() -> None:
    printed = subprocess.run([sys.executable, "-c", SCHEDULER], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 10 << 20 < int(printed.stdout) < 512 << 20


class Meter:
    """A progress view that counts."""

    total = rows = 0

    def advance(self, rows: int, steps: int, padded_steps: int) -> None:
        self.rows += rows


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    meter = Meter()

    @contextmanager
    def show(style: str, total_rows: int, file: object) -> Iterator[Meter]:
        meter.total = total_rows
        yield meter

    monkeypatch.setattr(seqembed.runner.job.run, "show_progress", show)
    return meter


@pytest.mark.parametrize("limit", [None, 7, 1000])
@pytest.mark.parametrize("layout", ["nested", "events"])
def test_progress_ends_at_its_total(tiny: Tiny, tmp_path: Path, meter: Meter, layout: str, limit: int | None) -> None:
    """Truncated steps and bad rows count; with a limit sequences count, since only their number is known."""
    short = {"length_policy": {"max_length": 3, "truncate": "tail"}}
    bundle = with_contract(tiny.bundle, tmp_path / "short.onnx", **short)
    if layout == "nested":
        data = write_sequences(tmp_path / "in.parquet", sequences(40, seed=1))
    else:
        bundle = events_bundle(bundle, tmp_path / "events.onnx")
        data = write_events(tmp_path / "in.parquet", 40, seed=1)
    limited = [] if limit is None else ["--limit", limit]
    done("run", data, "--model", bundle, "--out", tmp_path / "out", *limited)
    if layout == "events" and limit == 1000:
        assert meter.rows == 40  # fewer sequences than the limit, which is not known in advance
    else:
        assert meter.rows == meter.total > 0
