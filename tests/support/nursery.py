"""Children that run `seqembed` and die on order, and what must hold of the directory they leave behind."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow.parquet as pq

from seqembed.runner.output.parts import FOOTER_KEY, PartFooter

HERE = Path(__file__).parent
KILLED = -9
# Files that say when and how long a run was, and so differ from run to run.
_OF_THE_RUN = ("_SUCCESS", "_RUN")


@dataclass(frozen=True)
class Ended:
    """How a child ended: exit code (negative: the signal that killed it), seconds it took, what it printed."""

    code: int
    seconds: float
    output: str


class Nursery:
    """A warmed interpreter that forks a child for each command line; use as a context manager."""

    def __init__(self, scratch: Path) -> None:
        """Start it; what children print goes to a file in `scratch`."""
        self._log = scratch / "log"
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "doomed.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1] / ".src"), str(HERE)])},
        )

    def __enter__(self) -> Self:
        """Return the nursery."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the warmed interpreter."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, *words: object, **order: Any) -> Ended:
        """Run a command line; `order` as in `doomed.child` and `doomed.serve`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        line = json.dumps({"words": [str(word) for word in words], "log": str(self._log), **order})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Ended(answer["code"], answer["seconds"], self._log.read_text())


Contents = dict[str, bytes]


def contents(directory: Path) -> Contents:
    """Return name → bytes of every file below a directory, but for what tells of the run itself."""
    files = (path for path in directory.rglob("*") if path.is_file())
    named = {str(path.relative_to(directory)): path for path in files}
    return {name: path.read_bytes() for name, path in sorted(named.items()) if name not in _OF_THE_RUN}


def visible(found: Contents) -> Contents:
    """Return what a reader of the directory sees: parts, and quarantined rows."""
    return {name: text for name, text in found.items() if not name.startswith(("_temporary/", "_lock"))}


def check_whole(directory: Path, *states: Contents) -> None:
    """Check that each visible file is one of the files of `states`, byte for byte, and that parts open as Parquet."""
    for name, text in visible(contents(directory)).items():
        allowed = [state[name] for state in states if name in state]
        assert text in allowed, f"{name}: {len(text)} bytes, of no undisturbed run"
        if name.startswith("_quarantine/"):
            continue
        table = pq.ParquetFile(directory / name)
        footer = PartFooter.from_json(table.metadata.metadata[FOOTER_KEY])
        assert table.read().num_rows == footer.counts.rows_in - footer.counts.rows_quarantined


def check_finished(directory: Path, new: Contents) -> None:
    """Check that a directory equals an undisturbed run's, and that nothing temporary is left."""
    assert contents(directory) == new
    assert (directory / "_SUCCESS").exists()
    assert not (directory / "_temporary").exists()
    assert not (directory / "_lock").exists()


def fresh_copy(state: Path | None, to: Path) -> Path:
    """Make `to` a copy of a directory, times included; of nothing where `state` is None."""
    if to.exists():
        shutil.rmtree(to)
    if state is not None:
        shutil.copytree(state, to)
    return to
