"""Files kept open between two looks at them: on an object store, opening one once more is a request."""

import resource
import threading

import pyarrow as pa

from seqembed.data.files.inputs import InputFile, is_local

_MAX_LOCAL = 4096
_MAX_REMOTE = 1 << 14  # these hold no descriptor, but some kilobytes each


class HeldFiles:
    """Open files by their location, as many as a process may well hold; safe to use from several threads."""

    def __init__(self) -> None:
        """Hold none."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # A quarter of the descriptors that this process may have, of which 1,024 are usual.
        self._max_local = _MAX_LOCAL if soft == resource.RLIM_INFINITY else min(_MAX_LOCAL, soft // 4)
        self._lock = threading.Lock()
        self._files: dict[str, pa.NativeFile] = {}

    def keep(self, file: InputFile, source: pa.NativeFile) -> None:
        """Hold an open file, unless too many are held already."""
        with self._lock:
            if len(self._files) < (self._max_local if is_local(file.filesystem) else _MAX_REMOTE):
                self._files[file.location] = source

    def take(self, file: InputFile) -> pa.NativeFile | None:
        """Hand a file over, None where it is not held."""
        with self._lock:
            return self._files.pop(file.location, None)

    def close(self) -> None:
        """Let go of all files."""
        with self._lock:
            self._files.clear()
