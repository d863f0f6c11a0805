"""File operations below an output directory, with the same interface for local disks and object stores.

On object stores nothing depends on directories or renaming. A move is a server-side copy, which appears complete under
the new name, and then the removal of the original; if the run is killed in between, an unused temporary object remains.
The copy replaces an old object atomically: a listing always contains the name, and a GET returns the old or the new
object. Writing to the final name would save the copy, but the part would be visible before it is read back, and pyarrow
cannot abort an upload: closing or dropping the stream after an error completes the object, and half a part would be
visible. S3 cannot copy an object of more than 5 GiB at once, so parts there must not be larger.
"""

import json
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
from pyarrow import fs

from seqembed.data.errors import OutputError
from seqembed.data.files.inputs import filesystem_and_path, refuse_output_name
from seqembed.data.files.secrets import without_secrets
from seqembed.data.host import raise_host_fault

_OBJECT_STORES = ("s3", "gcs", "abfs")
_MAX_S3_COPY_BYTES = 5 << 30


@dataclass(frozen=True, slots=True)
class Storage:
    """Filesystem and path of an output directory; small and picklable, with the credentials of its filesystem.

    Names are paths relative to the directory.

    Attributes:
        filesystem: Any filesystem of pyarrow.
        path: The directory on that filesystem.
        given: The directory as the user wrote it, without credentials, for messages.
    """

    filesystem: fs.FileSystem
    path: str
    given: str

    @classmethod
    def of(cls, given: str) -> Self:
        """Return the storage of a path or URI; nothing is created.

        Raises:
            OutputError: The name is not UTF-8.
            InputError: No filesystem supports the URI.
        """
        refuse_output_name(given)
        return cls(*filesystem_and_path(given), without_secrets(given))

    @property
    def is_local(self) -> bool:
        """Whether the directory is on a local filesystem."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def at(self, *names: str) -> str:
        """Return the path of a name on the filesystem."""
        return posixpath.join(self.path, *names)

    def type(self, name: str) -> fs.FileType:
        """Return whether a name is a file, a directory or nothing."""
        with self.translated("read"):
            return self.filesystem.get_file_info(self.at(name)).type

    def exists(self, name: str) -> bool:
        """Return whether a file exists."""
        return bool(self.type(name) == fs.FileType.File)

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, or None if it does not exist."""
        with self.translated("read"):
            size: int | None = self.filesystem.get_file_info(self.at(name)).size
        return size

    def make_directory(self, name: str, below: str = "") -> None:
        """Create a directory; object stores have none.

        Args:
            name: The directory.
            below: A directory above it that has to be there, on a local disk; empty creates all.

        Raises:
            OutputError: That directory is not there.
        """
        if not (below and self.is_local):
            if self.filesystem.type_name not in _OBJECT_STORES:
                self.filesystem.create_dir(self.at(name), recursive=True)
            return
        try:
            if not os.path.isdir(self.at(below)):
                os.scandir(self.path).close()  # a network file system may remember for a while what was not there
            for end in (index for index, letter in enumerate(f"{name}/") if letter == "/" and index > len(below)):
                with suppress(FileExistsError):
                    os.mkdir(self.at(name[:end]))
        except FileNotFoundError:
            raise OutputError(
                f"{self.given}: {below} is not there: the run has ended, or the host of this worker does not share the "
                "output directory with the one that started it. Name a directory that all hosts share, and run again."
            ) from None

    def remove_empty(self, name: str) -> str:
        """Remove a local directory and its parents as long as they are empty; return the first that is not."""
        while self.is_local and name and not os.listdir(self.at(name)):
            os.rmdir(self.at(name))
            name = posixpath.dirname(name)
        return name

    def refuse_link(self, name: str) -> None:
        """Check that no symbolic link puts a directory outside this one.

        Raises:
            OutputError: It does.
        """
        root = os.path.realpath(self.path)
        if self.is_local and os.path.commonpath([root, os.path.realpath(self.at(name))]) != root:
            raise OutputError(f"{self.at(name)}: a symbolic link leads out of the output directory. Remove the link.")

    def move(self, source: str, target: str) -> None:
        """Move a file to its final name atomically; the size of a copied object is checked afterwards.

        Raises:
            OutputError: The copy is incomplete, or the object is too large to copy.
        """
        if self.is_local:
            self.filesystem.move(self.at(source), self.at(target))
            return
        size = self.filesystem.get_file_info(self.at(source)).size
        if self.filesystem.type_name == "s3" and (size or 0) > _MAX_S3_COPY_BYTES:
            raise OutputError(
                f"{self.at(target)}: {size:,} bytes; S3 publishes at most {_MAX_S3_COPY_BYTES:,} at once. Split the "
                "input file."
            )
        self.filesystem.move(self.at(source), self.at(target))
        found = self.filesystem.get_file_info(self.at(target)).size
        if found != size:
            raise OutputError(f"{self.at(target)}: {found} bytes after publication, {size} before it. Run again.")

    def write_json(self, name: str, value: dict[str, Any], temporary: str) -> None:
        """Write a JSON file atomically, by a temporary name."""
        with self.filesystem.open_output_stream(self.at(temporary)) as stream:
            stream.write(json.dumps(value, indent=1).encode())
        self.sync_file(temporary)
        self.move(temporary, name)
        self.sync_directory("")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return the content of a JSON file; None if it does not exist or is damaged."""
        if not self.exists(name):
            return None
        with self.translated("read"), self.filesystem.open_input_file(self.at(name)) as source:
            text = source.read()
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None  # a damaged marker counts as missing; the footers show which parts are finished
        return value if isinstance(value, dict) else None

    def sync_file(self, name: str) -> None:
        """Flush a local file to disk; object stores do so by themselves."""
        if self.is_local:
            _fsync(self.at(name))

    def sync_directory(self, name: str) -> None:
        """Flush renames below a directory to disk, up to the output directory itself."""
        while self.is_local:
            _fsync(self.at(name) if name else self.path)
            if not name:
                return
            name = posixpath.dirname(name)

    @contextmanager
    def translated(self, verb: str) -> Iterator[None]:
        """Convert errors of the filesystem to an error that names the directory.

        Raises:
            OutputError: The operation in the block failed.
            HostError: The host lacks memory or descriptors.
        """
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise_host_fault(error)
            what = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
            raise OutputError(
                f"{self.given}: cannot {verb} the output directory ({what}). Finished parts are untouched; "
                "free space or choose another --out, and run again."
            ) from error


def _fsync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
