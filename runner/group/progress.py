"""Progress of a grouping: events read and events written, and the time that is left."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Protocol

from seqembed.data.display.progress import BAR, LEFT, Bar, Pace, ProgressStyle, duration, style_on

_PLAIN_EVERY_SECONDS = 10.0
logger = logging.getLogger("seqembed")


class EventProgress(Protocol):
    """Receives the events that are done."""

    def advance(self, what: str, events: int) -> None:
        """Count events that were read or written."""


@contextmanager
def show_events(style: ProgressStyle, total: int, file: IO[str]) -> Iterator[EventProgress]:
    """Show progress over `total` events, each of which counts when read and when written."""
    style = style_on(file.isatty(), style)
    if style != "bar":
        yield _Plain(total) if style == "plain" else _Silent()
        return
    from rich.console import Console

    with Bar(Console(file=file), "{task.description}", BAR, "{task.fields[rate]} · left", LEFT) as bar:
        yield _Shown(bar, total)


class Stages:
    """Progress of a job whose engine only says which share of each of its stages is finished, and may start anew."""

    def __init__(self, progress: EventProgress, events: Mapping[str, int]) -> None:
        """Begin.

        Args:
            progress: Told of the events.
            events: Events of each stage, by what it does, in order.
        """
        self._progress, self._events = progress, dict(events)
        self._done = dict.fromkeys(events, 0)

    def follow(self, shares: Sequence[float]) -> None:
        """Tell what is done since the last call.

        Args:
            shares: Finished share of the stages that have begun; a stage that starts anew tells nothing until it is
                further than before.
        """
        for (what, total), share in zip(self._events.items(), shares, strict=False):
            events = int(total * share)
            if events > self._done[what]:
                self._progress.advance(what, events - self._done[what])
                self._done[what] = events

    def finish(self) -> None:
        """Tell what was not told yet: every stage is finished."""
        self.follow([1.0] * len(self._events))


class _Silent:
    def advance(self, what: str, events: int) -> None:
        """Count nothing."""


class _Plain:
    def __init__(self, total: int) -> None:
        self._pace = Pace(total)

    def advance(self, what: str, events: int) -> None:
        self._pace.advance(events)
        if self._pace.is_due(_PLAIN_EVERY_SECONDS):
            share = self._pace.done / max(1, self._pace.total)
            logger.info("%s, %.0f%% done, %s left", what, 100 * share, duration(self._pace.seconds_left))


class _Shown:
    def __init__(self, bar: Bar, total: int) -> None:
        self._bar, self._pace = bar, Pace(total)
        bar.begin("reading", total, rate="…")

    def advance(self, what: str, events: int) -> None:
        self._pace.advance(events)
        self._bar.update(advance=events, description=what, rate=f"{self._pace.rate:,.0f} events/s")
