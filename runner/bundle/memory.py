"""Limit the memory of a block of code: a model may allocate gigabytes before it reads a row."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_STATISTICS = "/proc/self/statm"
_ONE_AT_A_TIME = threading.Lock()  # else the second of two blocks would later restore the limit of the first


@contextmanager
def memory_limited(num_bytes: int) -> Iterator[None]:
    """Let the process grow by at most `num_bytes` while the block runs; larger allocations fail.

    The address space is limited (RLIMIT_AS), which also applies to native code and to every thread. No limit is set
    where the system does not support it (Windows, macOS) or a lower one exists.

    Args:
        num_bytes: Bytes in addition to the current size of the process.
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
