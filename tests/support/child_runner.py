"""Run `seqembed` in child processes that can be killed, and check the output directory afterwards."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow.parquet as pq

from seqembed.runner.output.parts import FOOTER_KEY, PartFooter
from seqembed_testing import done

HERE = Path(__file__).parent
KILLED = -9
# Files with times and durations, which differ between runs.
_OF_THE_RUN = ("_SUCCESS", "_RUN", "_history/", "_report.html")


@dataclass(frozen=True)
class ChildResult:
    """Result of a child: exit code (negative: the signal that killed it), duration in seconds, output."""

    code: int
    seconds: float
    output: str


class ChildRunner:
    """A preloaded interpreter that forks a child per command line; use as a context manager."""

    def __init__(self, scratch: Path) -> None:
        """Start the interpreter; the output of children goes to a file in `scratch`."""
        self._log = scratch / "log"
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "fork_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1] / ".src"), str(HERE)])},
        )

    def __enter__(self) -> Self:
        """Return the runner."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the interpreter."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, *words: object, **options: Any) -> ChildResult:
        """Run a command line; `options` as in `fork_server.child` and `fork_server.serve`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        line = json.dumps({"words": [str(word) for word in words], "log": str(self._log), **options})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return ChildResult(answer["code"], answer["seconds"], self._log.read_text())


Contents = dict[str, bytes]


def contents(directory: Path) -> Contents:
    """Return name → bytes of every file below a directory, except those with times."""
    files = (path for path in directory.rglob("*") if path.is_file())
    named = {str(path.relative_to(directory)): path for path in files}
    return {name: path.read_bytes() for name, path in sorted(named.items()) if not name.startswith(_OF_THE_RUN)}


def visible(found: Contents) -> Contents:
    """Return the files that a reader sees: parts and quarantine files."""
    return {name: text for name, text in found.items() if not name.startswith(("_temporary/", "_lock"))}


def check_complete(directory: Path, *states: Contents) -> None:
    """Check that each visible file equals one of the files of `states`, and that parts are valid Parquet."""
    for name, text in visible(contents(directory)).items():
        allowed = [state[name] for state in states if name in state]
        assert text in allowed, f"{name}: {len(text)} bytes, of no undisturbed run"
        if name.startswith("_quarantine/"):
            continue
        table = pq.ParquetFile(directory / name)
        footer = PartFooter.from_json(table.metadata.metadata[FOOTER_KEY])
        assert table.read().num_rows == footer.counts.rows_in - footer.counts.rows_quarantined


def check_finished(directory: Path, new: Contents) -> None:
    """Check that a directory equals that of an undisturbed run, without temporary files."""
    assert contents(directory) == new
    assert (directory / "_SUCCESS").exists()
    assert not (directory / "_temporary").exists()
    assert not (directory / "_lock").exists()


def fresh_copy(state: Path | None, to: Path) -> Path:
    """Make `to` a copy of a directory with its times; remove it if `state` is None."""
    if to.exists():
        shutil.rmtree(to)
    if state is not None:
        shutil.copytree(state, to)
    return to


@dataclass(frozen=True)
class Scenario:
    """A job to be killed.

    Attributes:
        words: Its command line, without the output directory.
        before: The initial output directory, or None.
        old: Its content.
        new: The content after an undisturbed job.
        seconds: Duration of the undisturbed job.
    """

    words: tuple[object, ...]
    before: Path | None
    old: Contents
    new: Contents
    seconds: float = 0.0

    def begin(self, child_runner: ChildRunner, out: Path, **options: Any) -> ChildResult:
        """Start the job in a child that is to be killed; `options` as for `ChildRunner.run`."""
        return child_runner.run(*self.words, "--out", fresh_copy(self.before, out), **options)

    def finish(self, out: Path) -> None:
        """Check that a success marker is true, and that running again finishes a killed job."""
        if (out / "_SUCCESS").exists():
            assert visible(contents(out)) in (self.old, self.new), "a success marker beside unfinished files"
        done(*self.words, "--out", out)
        check_finished(out, self.new)


def kill_at_step(
    child_runner: ChildRunner,
    scenario: Scenario,
    out: Path,
    step: str,
    check: Callable[[Scenario, Path], None],
    *,
    every_call: bool = True,
) -> int:
    """Kill a job at a named step, at its first call or at every one; return how often.

    Args:
        child_runner: Runs the job.
        scenario: The job.
        out: Its output directory.
        step: Where to kill it, see `fork_server.STEPS`.
        check: Checks the output of a killed job, and that running again finishes it.
        every_call: Whether to go on with the later calls of the step, until the job ends undisturbed.
    """
    kills = 0
    while (ended := scenario.begin(child_runner, out, step=step, number=kills + 1)).code == KILLED:
        check(scenario, out)
        kills += 1
        if not every_call:
            return kills
    assert ended.code == 0, ended.output
    check_finished(out, scenario.new)
    assert kills, "the job never came by this step"
    return kills
