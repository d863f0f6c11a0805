"""Bound the memory of a piece of code: a model may ask for gigabytes before it has seen a row."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_STATISTICS = "/proc/self/statm"
_ONE_AT_A_TIME = threading.Lock()  # the second of two would take the limit of the first for that of the process


@contextmanager
def memory_limited(num_bytes: int) -> Iterator[None]:
    """Let the process grow by at most `num_bytes` while the block runs; a larger request fails instead.

    The limit is that of the address space (RLIMIT_AS), which holds for native code too, and for every thread. It is not
    set where the system does not offer it (Windows, macOS), nor where a lower one holds already.

    Args:
        num_bytes: Beyond what the process has now.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    with _ONE_AT_A_TIME, _limited(resource, num_bytes):
        yield


@contextmanager
def _limited(resource: ModuleType, num_bytes: int) -> Iterator[None]:
    with open(_STATISTICS, encoding="ascii") as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([now + num_bytes, *limits]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
