"""Show the progress of an evaluation: a bar on a terminal, or a log line per stage."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from seqembed.runner.options import ProgressStyle

logger = logging.getLogger("seqembed")


class Stages(Protocol):
    """Receives the stages of an evaluation."""

    def begin(self, name: str) -> None:
        """End the previous stage and begin this one."""


@contextmanager
def show_stages(style: ProgressStyle, num_stages: int, console: Console) -> Iterator[Stages]:
    """Show `num_stages` stages in the given style."""
    if style == "auto":
        style = "bar" if console.is_terminal else "plain"
    if style != "bar":
        yield _Lines(num_stages, silent=style == "none")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress, progress.add_task("", total=num_stages))


class _Lines:
    def __init__(self, num_stages: int, silent: bool) -> None:
        self._num_stages, self._silent = num_stages, silent
        self._stage = 0

    def begin(self, name: str) -> None:
        """Log the stage."""
        self._stage += 1
        if not self._silent:
            logger.info("%d of %d: %s", self._stage, self._num_stages, name)


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._begun = False

    def begin(self, name: str) -> None:
        """Advance the bar."""
        self._progress.update(self._task, advance=int(self._begun), description=name)
        self._begun = True
