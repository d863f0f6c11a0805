"""Distinguish what a host lacks from what a file or model does wrong.

Without this, a process that runs out of file descriptors or memory would call every file damaged, and a run that may
skip damaged files would end with nothing done and no error.
"""

import errno
import re

from seqembed.data.errors import HostError

_SHORTAGES = {
    errno.EMFILE: "file descriptors (`ulimit -n`)",
    errno.ENFILE: "file descriptors of the whole host",
    errno.ENOMEM: "memory",
    errno.ENOBUFS: "memory of the network",
}
# ONNX Runtime raises classes without a public base: its words alone tell.
_OF_ONNX_RUNTIME = ("Failed to allocate memory", "bad allocation", "std::bad_alloc")
_OF_THE_LOADER = ("failed to map segment", "annot allocate memory")
_ALLOCATION = re.compile(r"size:?\s+(\d+)")
# Nothing that is read asks for more at once (`seqembed.data.pages`): a larger request comes from what a damaged file
# claims.
_MAX_REQUEST_BYTES = 4 << 30


def host_fault(error: BaseException) -> HostError | None:
    """Return the error to raise where `error` is a fault of the host, else None.

    Args:
        error: What Python, pyarrow or ONNX Runtime raised.
    """
    lacking = _lacking(error)
    if lacking is None:
        return None
    return HostError(
        f"this host lacks {lacking} ({_first_line(error)}). Nothing that was finished is lost: give the process more, "
        "or run with fewer --threads or fewer processes beside it, and run again."
    )


def raise_host_fault(error: BaseException) -> None:
    """Raise the error for a fault of the host; return where `error` is none.

    Raises:
        HostError: The host lacks memory, descriptors or threads.
    """
    fault = host_fault(error)
    if fault is not None:
        raise fault from error


def _lacking(error: BaseException) -> str | None:
    if isinstance(error, HostError):
        return None
    if isinstance(error, MemoryError) or any(text in str(error) for text in _OF_ONNX_RUNTIME):
        size = _ALLOCATION.search(str(error))
        return None if size is not None and int(size[1]) > _MAX_REQUEST_BYTES else "memory"
    if isinstance(error, OSError) and error.errno in _SHORTAGES:
        return _SHORTAGES[error.errno]
    if isinstance(error, ImportError) and any(text in str(error) for text in _OF_THE_LOADER):
        return "memory"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "threads (`ulimit -u`, or the memory for their stacks)"
    return None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
