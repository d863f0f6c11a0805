"""Standard streams that never decide how a command ends: what they cannot take is dropped, and the job goes on.

A closed or full standard output would otherwise end a finished job with an error, and a closed one would hand its
descriptor to the next file that is opened, so that a stray message lands in a part.
"""

import codecs
import errno
import io
import os
import select
import sys
from typing import Any, TextIO

# What terminals without Unicode show for the characters that messages use; everything else is escaped.
_PLAIN = {"…": "...", "·": "-", "×": "x", "→": "->", "±": "+/-", "≤": "<=", "–": "-", "—": "-"}
_ERRORS = "seqembed.plain"


class _Lenient(io.RawIOBase):
    """Writes to a descriptor, and drops what that cannot take.

    Attributes:
        failure: The first error of a write, None where there was none.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        content = memoryview(data).cast("B")
        while True:
            try:
                return os.write(self._descriptor, content)
            except BlockingIOError:  # a pipe that its other end made non-blocking, and that is full
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.failure = self.failure or error
                return len(content)


def settle_streams() -> None:
    """Give this process standard streams that take everything; those that something replaced stay.

    Descriptors 0, 1 and 2 that are closed are opened on the null device.
    """
    _fill_closed()
    codecs.register_error(_ERRORS, _plainly)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _lenient(stream, descriptor))


def lost_output() -> OSError | None:
    """Return why standard output could not be written, None where it was, or where its reader had enough."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, _Lenient) else None
    return None if failure is None or failure.errno == errno.EPIPE else failure


def _fill_closed() -> None:
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest descriptor that is free: this one


def _lenient(stream: TextIO | None, descriptor: int) -> TextIO:
    encoding = "utf-8" if stream is None else stream.encoding
    if stream is not None:
        stream.flush()
    is_error = descriptor == 2
    return io.TextIOWrapper(
        io.BufferedWriter(_Lenient(descriptor)),
        encoding=encoding,
        errors=_ERRORS,
        line_buffering=is_error or os.isatty(descriptor),
    )


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that a terminal's encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end
