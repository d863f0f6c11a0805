"""Progress, alike in every command: a bar on a terminal, plain lines in a log, and the time that is left.

rich is imported only for a bar: a scheduled job shows none, and importing it takes a sixth of the time that 50 rows
take.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from rich.console import Console

ProgressStyle = Literal["auto", "bar", "plain", "none"]
PROGRESS_STYLES: tuple[ProgressStyle, ...] = ("auto", "bar", "plain", "none")
BAR, COUNT, LEFT, ELAPSED = "<bar>", "<count>", "<left>", "<elapsed>"


def style_on(terminal: bool, style: ProgressStyle) -> ProgressStyle:
    """Return ``bar``, ``plain`` or ``none``: ``auto`` is a bar on a terminal, else plain lines."""
    if style == "auto":
        return "bar" if terminal else "plain"
    return style


class Pace:
    """How much of some work is done, how fast, and how long the rest takes at that speed; the clock starts here.

    Attributes:
        total: Amount of work.
        done: Amount done so far.
    """

    def __init__(self, total: float) -> None:
        self.total, self.done = total, 0.0
        self._start = self._last_line = time.perf_counter()

    def advance(self, amount: float) -> None:
        """Count work done."""
        self.done += amount

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    @property
    def rate(self) -> float:
        """Amount per second."""
        return self.done / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Seconds for the rest."""
        return self.seconds * max(0.0, self.total - self.done) / max(self.done, 1e-9)

    def is_due(self, every_seconds: float) -> bool:
        """Return whether the last time that this was true is so long ago."""
        now = time.perf_counter()
        if now - self._last_line < every_seconds:
            return False
        self._last_line = now
        return True


class Bar:
    """One bar on one line of a terminal, shown between `__enter__` and `__exit__`.

    Args:
        console: The terminal.
        layout: What stands on the line, in order: `BAR`, `COUNT`, `LEFT`, `ELAPSED`, or text with rich's fields, as in
            ``{task.description}`` and ``{task.fields[speed]}``.
        keep: Whether the line stays when the bar ends.
    """

    def __init__(self, console: "Console", *layout: str, keep: bool = False) -> None:
        from rich import progress as rich

        special: dict[str, Callable[[], rich.ProgressColumn]] = {
            BAR: lambda: rich.BarColumn(bar_width=24 if keep else 40),
            COUNT: rich.MofNCompleteColumn,
            LEFT: rich.TimeRemainingColumn,
            ELAPSED: rich.TimeElapsedColumn,
        }
        columns = [special[part]() if part in special else rich.TextColumn(part) for part in layout]
        self._progress = rich.Progress(*columns, console=console, transient=not keep)
        self._task: rich.TaskID | None = None

    def __enter__(self) -> Self:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar, or leave it as it is, and release the terminal."""
        self._progress.stop()

    def begin(self, description: str, total: int, done: int = 0, **texts: Any) -> None:
        """Set the bar's length, and the fields of its layout; an earlier bar makes room."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(description, total=total, completed=done, **texts)

    def update(self, **changes: Any) -> None:
        """Change ``advance``, ``completed``, ``description`` or a field of the layout; nothing before `begin`."""
        if self._task is not None:
            self._progress.update(self._task, **changes)

    def print(self, line: str) -> None:
        """Print a line above the bar, as it is."""
        self._progress.console.print(line, markup=False, highlight=False)


def duration(seconds: float) -> str:
    """Format a duration with a readable unit."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
