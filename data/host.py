"""Distinguish faults of the host, such as too little memory, from faults of a file or model.

Without this, a process that runs out of file descriptors or memory would report every file as damaged, and a run that
may skip damaged files would end without output and without an error.
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
# ONNX Runtime raises classes without a public base, so they are recognised by their text.
_OF_ONNX_RUNTIME = ("Failed to allocate memory", "bad allocation", "std::bad_alloc")
_OF_THE_LOADER = ("failed to map segment", "annot allocate memory")
_ALLOCATION = re.compile(r"size:?\s+(\d+)")
# No valid read requests more at once (`seqembed.data.parquet.pages`): a larger request comes from a damaged file.
_MAX_REQUEST_BYTES = 4 << 30


def host_fault(error: BaseException) -> HostError | None:
    """Return the error to raise if `error` is a fault of the host, else None.

    Args:
        error: Raised by Python, pyarrow or ONNX Runtime.
    """
    lacking = _lacking(error)
    if lacking is None:
        return None
    return HostError(
        f"this host lacks {lacking} ({_first_line(error)}). Finished work is kept: give the process more, or use fewer "
        "--threads or fewer other processes, and run again."
    )


def raise_host_fault(error: BaseException) -> None:
    """Raise if `error` is a fault of the host, else return.

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
        return None if size is not None and int(size[1]) > _MAX_REQUEST_BYTES else f"memory{_limit()}"
    if isinstance(error, OSError) and error.errno in _SHORTAGES:
        return _SHORTAGES[error.errno]
    if isinstance(error, ImportError) and any(text in str(error) for text in _OF_THE_LOADER):
        return "memory"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "threads (`ulimit -u`, or the memory for their stacks)"
    return None


def _limit() -> str:
    """Return how much memory the process may take, where its address space is limited."""
    try:
        import resource
    except ImportError:  # Windows
        return ""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return ""
    return f" beyond the {limit / 2**20:,.0f} MiB to which this process is limited by `ulimit -v` or its like"


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
