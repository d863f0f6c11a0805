"""The output directory: staging, publication and the success marker.

A part is written under ``_temporary/<run id>/``, closed, synced, read back, and only then renamed to its place, so
that nobody ever sees half of one.
"""

import json
import os
import posixpath
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from data.errors import OutputError
from data.inputs import filesystem_and_path
from runner.lock import hold_lock
from runner.parts import PartFooter
from runner.writer import PartWriter

SUCCESS = "_SUCCESS"
RECORD = "_RUN"
_TEMPORARY = "_temporary"


class OutputDirectory:
    """A directory of finished parts, on any filesystem pyarrow opens.

    Attributes:
        filesystem: Where it lies.
        path: Path on that filesystem.
        given: The directory as the user wrote it.
    """

    def __init__(self, given: str) -> None:
        """Name a directory; nothing is created yet."""
        self.given = given
        self.filesystem, self.path = filesystem_and_path(given)
        self._run_id = uuid.uuid4().hex[:12]
        self._staged: list[str] = []
        self._withdrawn: list[str] = []

    @property
    def is_local(self) -> bool:
        """Whether the directory is on this machine's own filesystem."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def footers(self) -> dict[str, PartFooter]:
        """Return what each finished part says of itself, by name; files of other makers are passed over."""
        found: dict[str, PartFooter] = {}
        with self._translated("list"):
            for info in self.filesystem.get_file_info(fs.FileSelector(self.path, recursive=True, allow_not_found=True)):
                name = info.path[len(self.path.rstrip("/")) + 1 :]
                if info.type != fs.FileType.File or any(part[0] in "_." for part in name.split("/")):
                    continue
                footer = self._footer(info.path)
                if footer is not None:
                    found[name] = footer
        return found

    def _footer(self, path: str) -> PartFooter | None:
        try:
            return PartFooter.from_metadata(pq.read_metadata(path, filesystem=self.filesystem).metadata)
        except (pa.ArrowInvalid, KeyError, TypeError, ValueError):
            return None  # not Parquet, or not ours: it is not a finished part, so it is made anew

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the directory and be the only run that writes to it; on leaving, temporary files are gone.

        Raises:
            OutputError: Another run writes here, or the directory cannot be written.
        """
        with ExitStack() as stack:
            with self._translated("write to"):
                self.filesystem.create_dir(self.path, recursive=True)
                if self.is_local:
                    stack.enter_context(hold_lock(Path(self.path)))
            try:
                yield
            finally:
                self._clean()

    def begin(self, record: dict[str, Any]) -> None:
        """Take the success marker away before anything changes, and note what this run was asked for.

        Args:
            record: What `inspect` needs to tell what a rerun would do, also after a crash.

        Raises:
            OutputError: The directory cannot be written.
        """
        with self._translated("write to"):
            self._clean()
            self.filesystem.create_dir(self._at(_TEMPORARY, self._run_id), recursive=True)
            if self._exists(SUCCESS):
                self.filesystem.delete_file(self._at(SUCCESS))
                self._sync_directory("")
            self._write_json(RECORD, record)

    def read_record(self) -> dict[str, Any] | None:
        """Return what the last run that began was asked for, None where there was none."""
        return self._read_json(RECORD)

    def withdraw(self, name: str) -> None:
        """Remove a file of the directory, if it is there, at the next `publish`."""
        self._withdrawn.append(name)

    @contextmanager
    def stage(self, name: str, schema: pa.Schema) -> Iterator[PartWriter]:
        """Open a writer for a part's temporary file; on leaving, the file is closed, synced and checked.

        Raises:
            OutputError: The disk is full or not writable, or the file does not read back as it was written.
        """
        path = self._at(_TEMPORARY, self._run_id, name)
        with self._translated("write to"):
            self.filesystem.create_dir(posixpath.dirname(path), recursive=True)
            writer = PartWriter(self.filesystem, path, schema, lambda: self._translated("write to"))
        try:
            yield writer
            writer.close()
        finally:
            writer.abandon()
        with self._translated("write to"):
            self._sync_file(path)
            self._verify(path, writer.num_rows)
        self._staged.append(name)

    def publish(self) -> None:
        """Rename every staged part to its place, and remove what was withdrawn."""
        with self._translated("write to"):
            for name in self._staged:
                target = self._at(name)
                self._refuse_way_out(name)
                self.filesystem.create_dir(posixpath.dirname(target), recursive=True)
                self.filesystem.move(self._at(_TEMPORARY, self._run_id, name), target)
                self._sync_directory(posixpath.dirname(name))
            for name in self._withdrawn:
                if self._exists(name):
                    self.filesystem.delete_file(self._at(name))
                    self._sync_directory(posixpath.dirname(name))
        self._staged.clear()
        self._withdrawn.clear()

    def _refuse_way_out(self, name: str) -> None:
        """Refuse a part whose place a symbolic link puts outside the directory."""
        root = os.path.realpath(self.path)
        if self.is_local and not os.path.realpath(self._at(posixpath.dirname(name))).startswith(root):
            raise OutputError(f"{self._at(name)}: a symbolic link leads out of the output directory. Remove the link.")

    def succeed(self, totals: dict[str, Any]) -> None:
        """Write the success marker, whole or not at all."""
        with self._translated("write to"):
            self._write_json(SUCCESS, totals)

    def _write_json(self, name: str, value: dict[str, Any]) -> None:
        temporary = self._at(_TEMPORARY, self._run_id, name)
        with self.filesystem.open_output_stream(temporary) as stream:
            stream.write(json.dumps(value, indent=1).encode())
        self._sync_file(temporary)
        self.filesystem.move(temporary, self._at(name))
        self._sync_directory("")

    def _clean(self) -> None:
        """Remove temporary files: on a local directory all, for who holds the lock has no rival; else this run's."""
        with self._translated("clean"):
            doomed = self._at(_TEMPORARY) if self.is_local else self._at(_TEMPORARY, self._run_id)
            if self.filesystem.get_file_info(doomed).type == fs.FileType.Directory:
                self.filesystem.delete_dir(doomed)

    def read_success(self) -> dict[str, Any] | None:
        """Return what the last complete run wrote, None where there was none."""
        return self._read_json(SUCCESS)

    def _read_json(self, name: str) -> dict[str, Any] | None:
        if not self._exists(name):
            return None
        with self._translated("read"), self.filesystem.open_input_file(self._at(name)) as source:
            text = source.read()
        try:
            value: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise OutputError(
                f"{self._at(name)}: not the JSON seqembed writes. Remove the file and run again."
            ) from error
        return value

    def _verify(self, path: str, num_rows: int) -> None:
        metadata = pq.read_metadata(path, filesystem=self.filesystem)
        if metadata.num_rows != num_rows or PartFooter.from_metadata(metadata.metadata) is None:
            raise OutputError(
                f"{path}: read back {metadata.num_rows} rows, wrote {num_rows}. "
                "The disk or network loses data; check it."
            )

    def _at(self, *names: str) -> str:
        return posixpath.join(self.path, *names)

    def _exists(self, name: str) -> bool:
        return bool(self.filesystem.get_file_info(self._at(name)).type == fs.FileType.File)

    def _sync_file(self, path: str) -> None:
        if self.is_local:
            _fsync(path)

    def _sync_directory(self, name: str) -> None:
        """Make renames below `name` durable, up to the output directory itself."""
        while self.is_local:
            _fsync(self._at(name) if name else self.path)
            if not name:
                return
            name = posixpath.dirname(name)

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
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
