"""Progress of a run: a bar on a terminal, a plain line now and then in a log."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Protocol

from seqembed.runner.options import ProgressStyle

if TYPE_CHECKING:
    from rich.progress import Progress

_PLAIN_EVERY_SECONDS = 10.0
logger = logging.getLogger("seqembed")


class ProgressView(Protocol):
    """Somebody who wants to see rows go by."""

    def advance(self, rows: int, steps: int, padded_steps: int) -> None:
        """Count rows done, their steps, and the steps computed for them."""


@contextmanager
def show_progress(style: ProgressStyle, total_rows: int, file: IO[str]) -> Iterator[ProgressView]:
    """Show progress over `total_rows` rows of input in the given style, a bar on `file` where that is a terminal."""
    if style == "auto":
        style = "bar" if file.isatty() else "plain"
    if style == "none":
        yield _Silent()
    elif style == "plain":
        yield _Plain(total_rows)
    else:
        with _bar(file) as progress:
            yield _Bar(progress, total_rows)


def _bar(file: IO[str]) -> "Progress":
    # Imported here: a scheduled job shows no bar, and rich takes a sixth of the time that 50 rows take.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("embedding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} · padding {task.fields[padding]} · left"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(file=file), transient=True)


class _Meter:
    """Rows, rate and padding so far."""

    def __init__(self, total_rows: int) -> None:
        self.total_rows = total_rows
        self.rows = self.steps = self.padded_steps = 0
        self._start = time.perf_counter()

    def count(self, rows: int, steps: int, padded_steps: int) -> None:
        self.rows += rows
        self.steps += steps
        self.padded_steps += padded_steps

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    @property
    def rate(self) -> str:
        return f"{self.rows / max(self.seconds, 1e-9):,.0f} rows/s"

    @property
    def padding(self) -> str:
        return f"{1 - self.steps / self.padded_steps:.1%}" if self.padded_steps else "0.0%"


class _Silent:
    def advance(self, rows: int, steps: int, padded_steps: int) -> None:
        """Count nothing: nobody looks."""


class _Plain(_Meter):
    _last = 0.0

    def advance(self, rows: int, steps: int, padded_steps: int) -> None:
        self.count(rows, steps, padded_steps)
        seconds = self.seconds
        if seconds - self._last >= _PLAIN_EVERY_SECONDS:
            self._last = seconds
            left = seconds * (self.total_rows - self.rows) / max(self.rows, 1)
            logger.info(
                "%d of %d rows, %s, padding %s, %.0f s left", self.rows, self.total_rows, self.rate, self.padding, left
            )


class _Bar(_Meter):
    def __init__(self, progress: "Progress", total_rows: int) -> None:
        super().__init__(total_rows)
        self._progress = progress
        self._task = progress.add_task("", total=total_rows, rate="…", padding="…")

    def advance(self, rows: int, steps: int, padded_steps: int) -> None:
        self.count(rows, steps, padded_steps)
        self._progress.update(self._task, advance=rows, rate=self.rate, padding=self.padding)
