"""A lock for one run or training at a time per directory, which is released when its process ends.

The kernel holds the lock (flock; on NFS, Linux turns it into a byte-range lock on the server), so a crash releases it,
and a remaining lock file has no effect. Object stores have no locks: there, complete parts are published under their
final names, and two runs of the same job write the same bytes.
"""

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from seqembed.data.errors import OutputError
from seqembed.data.signals import not_interrupted

LOCK = "_lock"
_LOOKS, _LOOK_SECONDS = 20, 0.01
logger = logging.getLogger("seqembed")


@contextmanager
def hold_lock(directory: Path) -> Iterator[None]:
    """Hold the lock of an existing output directory; on leaving, the lock file is removed.

    Raises:
        OutputError: Another process holds the lock; the message names it.
    """
    path = directory / LOCK
    descriptor: int | None = None
    try:
        with not_interrupted():
            descriptor = _acquire(path)
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        if descriptor is not None:
            with not_interrupted():
                _release(path, descriptor)


def _release(path: Path, descriptor: int) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s: cannot be removed (%s); it has no effect once this run has ended", path, error.strerror)
    finally:
        os.close(descriptor)


def _acquire(path: Path) -> int:
    """Return an open descriptor that holds the lock of the file at `path`."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, descriptor):
                return descriptor
            os.close(descriptor)  # its last holder removed the file after we opened it: lock the new one
        except OSError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise OutputError(
                f"{path.parent}: another run is writing here ({holder}). Wait for it, or stop it; "
                "a crashed run holds no lock."
            ) from error


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    for _ in range(_LOOKS):
        try:
            value = json.loads(os.pread(descriptor, 4096, 0))
            return f"process {value['pid']} on {value['host']}, since {value['since']}"
        except (ValueError, KeyError, TypeError):
            time.sleep(_LOOK_SECONDS)  # it has just taken the lock, and is about to write its name
    return "its process is unknown"
