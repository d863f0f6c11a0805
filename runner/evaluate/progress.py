"""Show the progress of an evaluation: a bar on a terminal, or a log line per stage."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console

from seqembed.data.display.progress import BAR, COUNT, ELAPSED, Bar, ProgressStyle, style_on

logger = logging.getLogger("seqembed")


class Stages(Protocol):
    """Receives the stages of an evaluation."""

    def begin(self, name: str) -> None:
        """End the previous stage and begin this one."""


@contextmanager
def show_stages(style: ProgressStyle, num_stages: int, console: Console) -> Iterator[Stages]:
    """Show `num_stages` stages in the given style."""
    style = style_on(console.is_terminal, style)
    if style != "bar":
        yield _Lines(num_stages, silent=style == "none")
        return
    with Bar(console, "{task.description}", BAR, COUNT, ELAPSED) as bar:
        yield _Shown(bar, num_stages)


class _Lines:
    def __init__(self, num_stages: int, silent: bool) -> None:
        self._num_stages, self._silent = num_stages, silent
        self._stage = 0

    def begin(self, name: str) -> None:
        """Log the stage."""
        self._stage += 1
        if not self._silent:
            logger.info("%d of %d: %s", self._stage, self._num_stages, name)


class _Shown:
    def __init__(self, bar: Bar, num_stages: int) -> None:
        self._bar = bar
        self._begun = False
        bar.begin("", num_stages)

    def begin(self, name: str) -> None:
        """Advance the bar."""
        self._bar.update(advance=int(self._begun), description=name)
        self._begun = True
