"""A job's process keeps the memory it frees."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np, pyarrow as pa
from runner.memory import keep_freed_memory

def faults_of_a_window():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 23, dtype=np.float32), pa.array(np.ones(1 << 22)).cast(pa.float32())
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = min(faults_of_a_window() for _ in range(8))
keep_freed_memory()
kept = min(faults_of_a_window() for _ in range(8))  # places are found for all arrays within some rounds
print(given_back, kept, pa.default_memory_pool().backend_name)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_what_was_freed_is_used_again_without_the_kernel() -> None:
    environment = {"NUMPY_MADVISE_HUGEPAGE": "0"}  # pages of one size, whose faults can be compared
    words = [sys.executable, "-c", SCRIPT]
    ended = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    given_back, kept, pool = ended.stdout.split()
    assert int(kept) < int(given_back) / 20
    assert pool == "system"
