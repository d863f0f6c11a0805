"""Commands timed as complete processes."""

import json
import os
import subprocess
import sys

SEQEMBED = (sys.executable, "-c", "from seqembed.runner.cli import main; main()")

# A process inherits its parent's peak memory, so a small one starts each, and reports seconds, MiB and exit code.
LAUNCHER = """
import json, os, sys, time
report, words = int(sys.argv[1]), sys.argv[2:]
start = time.perf_counter()
_, status, used = os.wait4(os.posix_spawnp(words[0], words, os.environ), 0)
measured = [time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, status]
os.write(report, json.dumps(measured).encode())
"""


def timed(words, **options):
    """Run one process; return wall seconds, processor seconds, most memory of it or a child (MiB) and its output."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a run normally starts from compiled modules
    reader, writer = os.pipe()
    launcher = [sys.executable, "-S", "-c", LAUNCHER, str(writer), *map(str, words)]
    done = subprocess.run(launcher, capture_output=True, text=True, env=environment, pass_fds=[writer], **options)
    os.close(writer)
    with open(reader) as report:
        *measured, status = json.loads(report.read())
    if status:
        raise SystemExit(f"{words} failed:\n{done.stderr}")
    return *measured, done.stdout
