"""Files below an output directory, the same on a local disk and on object stores: made, moved, synced, read.

On object stores nothing rests on directories or on renaming one. There a move is a copy of one object on the server,
whose new name appears complete, and then a removal of the copied one; a run that dies in between leaves an object that
nobody looks at. Nothing removes the old object first: the copy replaces it at once, so a listing never lacks a name
and a GET answers with all of the old part or all of the new one. Writing under the final name would save the copy, but
the part would be read back only after everybody could see it, and an upload that was begun cannot be given up through
pyarrow: closing the stream after an error, or dropping it, completes the object, and half a part would be seen. S3
copies no object of more than 5 GiB at once, so no part there may be larger.
"""

import json
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
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
    """Where an output directory lies; small and picklable, credentials of its filesystem included.

    Names are paths below the directory.

    Attributes:
        filesystem: Any that pyarrow opens.
        path: The directory on that filesystem.
        given: The directory as the user wrote it, without credentials, for messages.
    """

    filesystem: fs.FileSystem
    path: str
    given: str

    @classmethod
    def of(cls, given: str) -> Self:
        """Name a directory by path or URI; nothing is created.

        Raises:
            OutputError: The name is not UTF-8.
            InputError: No filesystem opens the URI.
        """
        refuse_output_name(given)
        return cls(*filesystem_and_path(given), without_secrets(given))

    @property
    def is_local(self) -> bool:
        """Whether the directory is on this machine's own filesystem."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def at(self, *names: str) -> str:
        """Return the path of a name on the filesystem."""
        return posixpath.join(self.path, *names)

    def type(self, name: str) -> fs.FileType:
        """Return whether there is a file, a directory or nothing of that name."""
        with self.translated("read"):
            return self.filesystem.get_file_info(self.at(name)).type

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return bool(self.type(name) == fs.FileType.File)

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, None where there is none."""
        with self.translated("read"):
            size: int | None = self.filesystem.get_file_info(self.at(name)).size
        return size

    def make_directory(self, name: str) -> None:
        """Make a directory; object stores have none."""
        if self.filesystem.type_name not in _OBJECT_STORES:
            self.filesystem.create_dir(self.at(name), recursive=True)

    def remove_empty(self, name: str) -> str:
        """Remove a local directory and those above it as long as they are empty; return the first that stays."""
        while self.is_local and name and not os.listdir(self.at(name)):
            os.rmdir(self.at(name))
            name = posixpath.dirname(name)
        return name

    def refuse_link(self, name: str) -> None:
        """Refuse a directory that a symbolic link puts outside this one.

        Raises:
            OutputError: It does.
        """
        root = os.path.realpath(self.path)
        if self.is_local and os.path.commonpath([root, os.path.realpath(self.at(name))]) != root:
            raise OutputError(f"{self.at(name)}: a symbolic link leads out of the output directory. Remove the link.")

    def move(self, source: str, target: str) -> None:
        """Give a file its final name, at once; an object is looked at afterwards, as it was copied.

        Raises:
            OutputError: The copy is incomplete, or the object too large to be copied.
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
        """Write a file completely or not at all: under a temporary name first."""
        with self.filesystem.open_output_stream(self.at(temporary)) as stream:
            stream.write(json.dumps(value, indent=1).encode())
        self.sync_file(temporary)
        self.move(temporary, name)
        self.sync_directory("")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return what a file holds; None where there is none, or it is damaged."""
        if not self.exists(name):
            return None
        with self.translated("read"), self.filesystem.open_input_file(self.at(name)) as source:
            text = source.read()
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None  # a damaged marker marks nothing: the footers say what is finished
        return value if isinstance(value, dict) else None

    def sync_file(self, name: str) -> None:
        """Make what was written to a local file durable; object stores do so on their own."""
        if self.is_local:
            _fsync(self.at(name))

    def sync_directory(self, name: str) -> None:
        """Make renames below a directory durable, up to the output directory itself."""
        while self.is_local:
            _fsync(self.at(name) if name else self.path)
            if not name:
                return
            name = posixpath.dirname(name)

    @contextmanager
    def translated(self, verb: str) -> Iterator[None]:
        """Turn what the filesystem raises into an error that names the directory.

        Raises:
            OutputError: What is inside cannot be done, for the reason given.
            HostError: The host lacks memory or descriptors.
        """
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise_host_fault(error)
            what = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
            raise OutputError(
                f"{self.given}: cannot {verb} the output directory ({what}). Finished parts are untouched; "
                "make room or give another --out, and run again."
            ) from error


def _fsync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
