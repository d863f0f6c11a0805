"""What a run says of itself: its own memory, whoever started it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCHEDULER = """
import subprocess, sys
memory = bytearray(1 << 30)
memory[::4096] = bytes([1]) * len(memory[::4096])
job = "from runner.report import peak_rss_bytes; print(peak_rss_bytes())"
sys.stdout.write(subprocess.run([sys.executable, "-c", job], capture_output=True, text=True, check=True).stdout)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count each process by itself")
def test_the_peak_memory_of_a_job_is_not_that_of_the_process_that_started_it() -> None:
    told = subprocess.run([sys.executable, "-c", SCHEDULER], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 10 << 20 < int(told.stdout) < 512 << 20
