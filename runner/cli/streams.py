"""Make standard streams safe: write errors are dropped, so that they do not end a command.

Otherwise a closed or full standard output would end a finished run with an error, and the descriptor of a closed one
would be reused by the next opened file, so that messages could be written into a part.
"""

import codecs
import errno
import io
import os
import select
import sys
from typing import Any, TextIO

# Replacements for characters of messages on terminals without Unicode; all others are escaped.
_PLAIN = {"…": "...", "·": "-", "×": "x", "→": "->", "±": "+/-", "≤": "<=", "–": "-", "—": "-"}
_ERRORS = "seqembed.plain"


class _Lenient(io.RawIOBase):
    """Writes to a descriptor, and drops data that cannot be written.

    Attributes:
        failure: The first write error, or None.
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
            except BlockingIOError:  # a full pipe that the other end made non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.failure = self.failure or error
                return len(content)


def settle_streams() -> None:
    """Replace the standard streams by ones that drop write errors, except streams replaced by others.

    Closed descriptors 0, 1 and 2 are opened on the null device.
    """
    _fill_closed()
    codecs.register_error(_ERRORS, _plainly)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _lenient(stream, descriptor))


def lost_output() -> OSError | None:
    """Return the write error of standard output; None if there was none, or the reader closed the pipe."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, _Lenient) else None
    return None if failure is None or failure.errno == errno.EPIPE else failure


def _fill_closed() -> None:
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, this one


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
    """Return replacements for characters that are not in a terminal's encoding."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end
