"""SIGTERM stops a run as Ctrl-C does: temporary files removed, finished parts kept, the lock given back."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

TERMINATED = 143


class _Stop:
    """The signal that came, and whether it has to wait."""

    depth = 0
    waiting: int | None = None


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Turn SIGTERM into `SystemExit` (143) on the main thread, once; a second one no longer disturbs the clean-up."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if _Stop.depth:
            _Stop.waiting = number
        else:
            _raise(number)

    before: dict[int, Any] = {}
    for caught in (signal.SIGTERM, signal.SIGINT):
        # What a shell or nohup had us ignore stays ignored; handlers belong to the main thread.
        if signal.getsignal(caught) is not signal.SIG_IGN and threading.current_thread() is threading.main_thread():
            before[caught] = signal.signal(caught, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def not_interrupted() -> Iterator[None]:
    """Finish what is inside before a signal stops the run; for cleaning up, which is short."""
    _Stop.depth += 1
    try:
        yield
    finally:
        _Stop.depth -= 1
        number, _Stop.waiting = _Stop.waiting, None
        if number is not None:
            _raise(number)


def _raise(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(TERMINATED)
