"""Keep files open between planning and checking, since opening one on an object store again costs a request."""

import resource
import threading

import pyarrow as pa

from seqembed.data.files.inputs import InputFile, is_local

_MAX_LOCAL = 4096
_MAX_REMOTE = 1 << 14  # these need no descriptor, but some kilobytes each


class OpenFiles:
    """Open files by location, limited in number; safe to use from several threads."""

    def __init__(self) -> None:
        """Begin without files."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # A quarter of the descriptors allowed for this process, usually 1,024.
        self._max_local = _MAX_LOCAL if soft == resource.RLIM_INFINITY else min(_MAX_LOCAL, soft // 4)
        self._lock = threading.Lock()
        self._files: dict[str, pa.NativeFile] = {}

    def keep(self, file: InputFile, source: pa.NativeFile) -> None:
        """Keep an open file, unless the limit is reached."""
        with self._lock:
            if len(self._files) < (self._max_local if is_local(file.filesystem) else _MAX_REMOTE):
                self._files[file.location] = source

    def take(self, file: InputFile) -> pa.NativeFile | None:
        """Remove a file and return it, or None if it was not kept."""
        with self._lock:
            return self._files.pop(file.location, None)

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            self._files.clear()
