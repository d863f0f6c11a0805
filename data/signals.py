"""Handle SIGTERM like Ctrl-C: temporary files are removed, finished parts are kept, the lock is released."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

TERMINATED = 143


class _Stop:
    """The received signal, whether it is deferred, and the exception raised for it."""

    depth = 0
    waiting: int | None = None
    raised: BaseException | None = None
    number = 0
    again: threading.Timer | None = None


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Turn SIGTERM into `SystemExit` (143) on the main thread, once; further signals do not disturb the clean-up.

    If a signal arrives while an object is being finalised (`__del__`, a weak reference's callback), Python reports the
    exception and continues. Then the signal is sent again a moment later, so that it is not lost.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if _Stop.depth:
            _Stop.waiting = number
        else:
            _raise(number)

    def swallowed(unraisable: Any) -> None:
        if _Stop.raised is None or unraisable.exc_value is not _Stop.raised:
            hook_before(unraisable)
            return
        # Do not raise here: exceptions in this hook are swallowed, too.
        _Stop.raised = None
        signal.signal(_Stop.number, stop)
        _Stop.again = threading.Timer(0.01, os.kill, (os.getpid(), _Stop.number))
        _Stop.again.daemon = True
        _Stop.again.start()

    before: dict[int, Any] = {}
    hook_before = sys.unraisablehook
    for caught in (signal.SIGTERM, signal.SIGINT):
        # Signals that a shell or nohup set to be ignored stay ignored; only the main thread may set handlers.
        if signal.getsignal(caught) is not signal.SIG_IGN and threading.current_thread() is threading.main_thread():
            before[caught] = signal.signal(caught, stop)
    if before:
        sys.unraisablehook = swallowed
    try:
        yield
    finally:
        if _Stop.again is not None:
            _Stop.again.cancel()
        _Stop.raised = None  # its traceback keeps all frames alive
        sys.unraisablehook = hook_before
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def kept_signal_handlers() -> Iterator[None]:
    """Restore the handlers of SIGTERM and SIGINT at the end; others would change the exit code of a stopped run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def not_interrupted() -> Iterator[None]:
    """Defer signals inside the context; for short clean-ups."""
    _Stop.depth += 1
    try:
        yield
    finally:
        _Stop.depth -= 1
        number, _Stop.waiting = _Stop.waiting, None
        if number is not None:
            _raise(number)


def _raise(number: int) -> None:
    _Stop.number = number
    _Stop.raised = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(TERMINATED)
    raise _Stop.raised


def interruption() -> BaseException:
    """Return the exception for the signal that ended a call of a library, which reports it as an error of its own."""
    return _Stop.raised or KeyboardInterrupt()
