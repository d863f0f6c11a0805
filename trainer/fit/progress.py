"""Progress of a training: a bar on a terminal, one plain line per epoch in a log."""

from collections.abc import Callable, Mapping
from textwrap import wrap
from types import TracebackType
from typing import Any, Self

from rich.console import Console

from seqembed.data.display.progress import BAR, LEFT, Bar, Pace, ProgressStyle, duration, style_on

LINE_WIDTH = 100


class Progress:
    """Shows nothing; the base class."""

    def __enter__(self) -> Self:
        """Start showing progress."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing progress."""

    def note(self, text: str) -> None:
        """Show one line of text."""

    def training_starts(self, num_epochs: int, num_rows: int, epochs_done: int, unit: str = "epoch") -> None:
        """Announce the training: at most `num_epochs` times `num_rows` sequences.

        Args:
            num_epochs: Passes over the data, or intervals of a training that is measured in batches.
            num_rows: Sequences per epoch.
            epochs_done: Epochs that are already done.
            unit: Name of an epoch: ``epoch`` or ``interval``.
        """

    def epoch_starts(self, epoch: int) -> None:
        """Announce an epoch, from 1."""

    def batch_ends(self, num_rows: int, loss: float) -> None:
        """Count a batch's sequences; `loss` is the mean over the epoch so far."""

    def epoch_ends(self, record: Mapping[str, Any], best: bool) -> None:
        """Show an epoch's losses and metrics; `best` marks the best weights so far."""


class NotesAlone(Progress):
    """Shows notes about data and training, such as which columns are used, but no progress."""

    def __init__(self, echo: Callable[[str], object]) -> None:
        self._echo = echo

    def note(self, text: str) -> None:
        """Write a note, folded into lines for a log."""
        for line in folded(text):
            self._echo(line)


class PlainProgress(NotesAlone):
    """Shows one line per epoch, for logs."""

    def __init__(self, echo: Callable[[str], object]) -> None:
        super().__init__(echo)
        self._num_epochs, self._unit = 0, "epoch"
        self._pace = Pace(0)

    def training_starts(self, num_epochs: int, num_rows: int, epochs_done: int, unit: str = "epoch") -> None:
        """Remember the number of epochs, and start the clock."""
        self._num_epochs, self._unit = num_epochs, unit
        self._pace = Pace(num_epochs - epochs_done)

    def epoch_ends(self, record: Mapping[str, Any], best: bool) -> None:
        """Write the line."""
        self._pace.advance(1)
        left = duration(self._pace.seconds_left)
        start = f"{self._unit} {record['epoch']}/{self._num_epochs}"
        end = f"{record['rows_per_second']:,.0f} rows/s  at most {left} left" + ("  (best so far)" * best)
        shown = figures(record)
        while len("  ".join([start, *shown, end])) > LINE_WIDTH and len(shown) > 1:
            shown.pop()  # all of them are in history.json
        self._echo("  ".join([start, *shown, end]))


class BarProgress(Progress):
    """Shows a bar over all epochs on one line of a terminal."""

    def __init__(self, console: Console) -> None:
        texts = ("{task.fields[figures]}", "{task.fields[speed]}", "at most")
        self._bar = Bar(console, "{task.description}", BAR, *texts, LEFT, keep=True)
        self._num_epochs = self._num_rows = 0
        self._unit, self._last = "epoch", ""
        self._pace = Pace(0)

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar and release the terminal."""
        self._bar.__exit__(kind, error, trace)

    def note(self, text: str) -> None:
        """Print one note above the bar."""
        for line in folded(text):
            self._bar.print(line)

    def training_starts(self, num_epochs: int, num_rows: int, epochs_done: int, unit: str = "epoch") -> None:
        """Set the bar's length."""
        self._num_epochs, self._num_rows, self._unit = num_epochs, num_rows, unit
        self._bar.begin(unit, num_epochs * num_rows, epochs_done * num_rows, figures="", speed="")

    def epoch_starts(self, epoch: int) -> None:
        """Show the epoch's number."""
        self._pace = Pace(self._num_rows)
        self._bar.update(description=f"{self._unit} {epoch}/{self._num_epochs}")

    def batch_ends(self, num_rows: int, loss: float) -> None:
        """Move the bar."""
        self._pace.advance(num_rows)
        speed = f"{self._pace.rate:,.0f} rows/s"
        self._bar.update(advance=num_rows, figures=f"loss {loss:.4f}{self._last}", speed=speed)

    def epoch_ends(self, record: Mapping[str, Any], best: bool) -> None:
        """Show the epoch's losses."""
        self._last = f"  val_loss {record['val_loss']:.4f}" if "val_loss" in record else ""
        self._bar.update(completed=int(record["epoch"]) * self._num_rows, figures="  ".join(figures(record)[:2]))


def make_progress(style: ProgressStyle, console: Console, echo: Callable[[str], object]) -> Progress:
    """Return the progress for `--progress`: ``auto`` is a bar on a terminal, else plain lines."""
    style = style_on(console.is_terminal, style)
    if style == "bar":
        return BarProgress(console)
    return PlainProgress(echo) if style == "plain" else NotesAlone(echo)


def figures(record: Mapping[str, Any]) -> list[str]:
    """Return the losses and metrics of a record as text, the monitored ones first, without those of single outputs."""
    shown = (name for name in record if name not in ("epoch", "step", "rows_per_second") and "." not in name)
    names = sorted(shown, key=_rank)
    return [f"{name} {record[name]:.4f}" for name in names]


def folded(text: str) -> list[str]:
    """Fold a note into lines of at most `LINE_WIDTH` characters, with a hanging indent."""
    indent = " " * (len(text) - len(text.lstrip()) + 4)
    if len(text) <= LINE_WIDTH:
        return [text]
    return wrap(text, LINE_WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _rank(name: str) -> tuple[int, bool]:
    """Rank figures by importance: the losses that decide, accuracies, the terms of the losses."""
    first = ("loss", "val_loss")
    rank = first.index(name) if name in first else 2 if name.endswith("accuracy") else 3
    return rank, not name.startswith("val_")
