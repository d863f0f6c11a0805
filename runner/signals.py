"""SIGTERM stops a run as Ctrl-C does: temporary files removed, finished parts kept, the lock given back."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 143


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Turn SIGTERM into `SystemExit` (143) on the main thread, once; a second one no longer disturbs the clean-up."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
