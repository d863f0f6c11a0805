"""A second engine, for tests of the interface between runs and workers, and a thread that kills workers."""

import os
import random
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pytest

from seqembed.runner.engines.engine import Engine
from seqembed.runner.engines.make import make_part
from seqembed.runner.engines.task import PartTask
from seqembed.runner.output.staging import StagedPart

ON_SPARK = [
    pytest.mark.skipif(shutil.which("java") is None, reason="Java is missing: Spark needs 17 or later"),
    # pyspark 4.3 warns of every pandas from 3 on, and leaves sockets to the collector.
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@dataclass(frozen=True)
class Job:
    """A run and the directory that `--engine local` wrote.

    Attributes:
        words: The command line without `--out`.
        expected: Its output, by the engine of this process.
    """

    words: tuple[object, ...]
    expected: Path


def check_vectors(found: pa.Table, expected: pa.Table) -> None:
    """Check that two tables have the same rows in the same order, and the same vectors within 1e-6."""
    plain = [name for name in expected.column_names if name != "embedding"]
    assert found.select(plain).to_pylist() == expected.select(plain).to_pylist()
    assert found["embedding"].is_null().to_pylist() == expected["embedding"].is_null().to_pylist()
    vectors = [np.array(table["embedding"].drop_null().to_pylist(), np.float32) for table in (found, expected)]
    np.testing.assert_allclose(*vectors, rtol=0, atol=1e-6)


class ProcessEngine(Engine):
    """Runs every task in another interpreter.

    Attributes:
        tasks: All tasks it was given.
    """

    def __init__(self, *of_local_engine: object) -> None:
        """Start the process; the arguments of `LocalEngine` are accepted and ignored."""
        self.tasks: list[PartTask] = []
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def map(self, tasks: Iterable[PartTask]) -> Iterator[StagedPart]:
        """Yield the reports in the order of the tasks."""
        self.tasks = list(tasks)
        return self._pool.map(make_part, self.tasks)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()


def descendants(title: str) -> list[int]:
    """Return the processes below this one whose command line contains `title`, so that tests kill their own alone."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdecimal() or title not in (line := _read(directory / "cmdline")):
            continue
        if _is_below_this(int(directory.name)) or (line.startswith(sys.executable) and _is_orphan(directory)):
            found.append(int(directory.name))
    return found


@contextmanager
def limited_memory(title: str, num_bytes: int) -> Iterator[None]:
    """Let workers below this process, and those that replace them, have so many bytes more than the largest of now.

    Args:
        title: In the command line of the workers; one of them that starts the others is left alone.
        num_bytes: Bytes of address space.
    """

    def workers() -> set[int]:
        found = descendants(title)
        return {*found} - {int(_read(Path(f"/proc/{process}/stat")).rpartition(")")[2].split()[1]) for process in found}

    def limit(processes: set[int], size: int) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                resource.prlimit(process, resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))

    def limit_new_ones() -> None:
        while not is_over.wait(0.02):
            limit(workers(), size)

    is_over = threading.Event()
    pages = [int(_read(Path(f"/proc/{process}/statm")).split()[0]) for process in workers()]
    size = max(pages) * resource.getpagesize() + num_bytes
    watcher = threading.Thread(target=limit_new_ones, daemon=True)
    limit(workers(), size)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
        limit(workers(), resource.RLIM_INFINITY)


def _is_orphan(directory: Path) -> bool:
    """Return whether a process lost its parent, as workers of Spark do whose daemon was killed, and began here."""
    status = _read(directory / "stat").rpartition(")")[2].split()
    return len(status) > 3 and int(status[1]) == 1 and int(status[3]) == os.getsid(0)


def _is_below_this(process: int) -> bool:
    while process > 1:
        status = _read(Path(f"/proc/{process}/stat"))
        process = int(status.rpartition(")")[2].split()[1]) if status else 0
        if process == os.getpid():
            return True
    return False


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace").replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


class Watcher(threading.Thread):
    """Acts once, as soon as something is true; use as a context manager.

    Attributes:
        has_acted: Whether it has.
    """

    def __init__(self, when: Callable[[], bool], act: Callable[[], None]) -> None:
        """Set condition and action."""
        super().__init__(daemon=True)
        self._when, self._act, self._over, self.has_acted = when, act, threading.Event(), False

    def run(self) -> None:
        """Watch."""
        while not self._over.wait(0.01):
            if self._when():
                self._act()
                self.has_acted = True
                return

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self._over.set()
        self.join()


class Killer(Watcher):
    """Kills processes below this one whose command line contains a title; use as a context manager.

    Attributes:
        num: Processes to kill.
        num_kills: Processes killed so far.
    """

    def __init__(self, title: str, num: int, pause_seconds: float) -> None:
        """Kill `num` processes, one after another, with at least a pause before each."""
        super().__init__(lambda: bool(descendants(title)), lambda: None)
        self._title, self.num, self._pause = title, num, pause_seconds
        self.num_kills = 0

    def run(self) -> None:
        """Kill."""
        while self.num_kills < self.num and not self._over.wait(self._pause):
            victims = descendants(self._title)
            while not victims and not self._over.wait(0.005):
                victims = descendants(self._title)
            with suppress(ProcessLookupError, IndexError):
                os.kill(random.choice(victims), signal.SIGKILL)
                self.num_kills += 1
