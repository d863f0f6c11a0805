"""Progress of a run: rows, their rate, and how much of the computed steps is padding."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol

from seqembed.data.display.progress import BAR, COUNT, LEFT, Bar, Pace, ProgressStyle, duration, style_on

_PLAIN_EVERY_SECONDS = 10.0
logger = logging.getLogger("seqembed")


class ProgressView(Protocol):
    """Receives the rows that are done."""

    def advance(self, rows: int, steps: int, padded_steps: int) -> None:
        """Count rows done, their steps, and the steps computed for them."""


@contextmanager
def show_progress(style: ProgressStyle, total_rows: int, file: IO[str]) -> Iterator[ProgressView]:
    """Show progress over `total_rows` rows of input in the given style, a bar on `file` where that is a terminal."""
    style = style_on(file.isatty(), style)
    if style != "bar":
        yield _Plain(total_rows) if style == "plain" else _Silent()
        return
    from rich.console import Console

    layout = ("embedding", BAR, COUNT, "{task.fields[rate]} · padding {task.fields[padding]} · left", LEFT)
    with Bar(Console(file=file), *layout) as bar:
        yield _Shown(bar, total_rows)


class _Silent:
    def advance(self, rows: int, steps: int, padded_steps: int) -> None:
        """Count nothing."""


class _Meter:
    """Rows, rate and padding so far."""

    def __init__(self, total_rows: int) -> None:
        self.pace = Pace(total_rows)
        self._steps = self._padded_steps = 0

    def advance(self, rows: int, steps: int, padded_steps: int) -> None:
        self.pace.advance(rows)
        self._steps += steps
        self._padded_steps += padded_steps
        self.show(rows)

    def show(self, rows: int) -> None:
        """Show that `rows` more are done."""
        raise NotImplementedError

    @property
    def rate(self) -> str:
        return f"{self.pace.rate:,.0f} rows/s"

    @property
    def padding(self) -> str:
        return f"{self.padding_share:.1%}"

    @property
    def padding_share(self) -> float:
        """Share of padding in the computed steps."""
        return 1 - self._steps / self._padded_steps if self._padded_steps else 0.0


class _Plain(_Meter):
    def show(self, rows: int) -> None:
        if self.pace.is_due(_PLAIN_EVERY_SECONDS):
            done, total, left = self.pace.done, self.pace.total, duration(self.pace.seconds_left)
            said = "%d of %d rows, %s, padding %s, %s left"
            logger.info(said, done, total, self.rate, self.padding, left, extra=self._event())

    def _event(self) -> dict[str, Any]:
        """Return what a log in JSON shows instead of the line."""
        fields = {"rows_done": int(self.pace.done), "rows_total": int(self.pace.total)}
        numbers = {"rows_per_second": self.pace.rate, "seconds_left": self.pace.seconds_left}
        rounded = {name: round(number, 1) for name, number in numbers.items()}
        return {"event": "progress", "fields": {**fields, **rounded, "padding_share": round(self.padding_share, 5)}}


class _Shown(_Meter):
    def __init__(self, bar: Bar, total_rows: int) -> None:
        super().__init__(total_rows)
        self._bar = bar
        bar.begin("", total_rows, rate="…", padding="…")

    def show(self, rows: int) -> None:
        self._bar.update(advance=rows, rate=self.rate, padding=self.padding)
