"""The output directory: staging, publication and the success marker.

A part is written under ``_temporary/<run id>/``, closed, synced, read back, and only then renamed to its place, so
that nobody ever sees half of one.

The same on object stores, file by file: nothing rests on directories or on renaming one. There a move is a copy of one
object on the server, whose new name appears whole, and then a removal of the copied one; a run that dies in between
leaves an object that nobody looks at. Nothing removes the old object first: the copy takes its place at once, so a
listing never lacks a name and a GET answers with all of the old part or all of the new one. Writing under the final
name would save the copy, but the part would be read back only after everybody could see it, and an upload that was
begun cannot be given up through pyarrow: closing the stream after an error, or dropping it, completes the object, and
half a part would be seen. S3 copies no object of more than 5 GiB at once, so no part there may be larger.
"""

import json
import os
import posixpath
import re
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from data.errors import OutputError
from data.host import raise_host_fault
from data.inputs import filesystem_and_path, refuse_output_name
from data.lock import LOCK, hold_lock
from data.secrets import without_secrets
from data.signals import not_interrupted
from runner.output.ledger import files_below, look_at_part, read_ledger
from runner.output.parts import FOOTER_KEY, Ledger
from runner.output.write_out import WriteOut
from runner.output.writer import PartWriter

SUCCESS = "_SUCCESS"
RECORD = "_RUN"
_TEMPORARY = "_temporary"
_RUN_ID = re.compile(r"[0-9a-f]{12}")
_OBJECT_STORES = ("s3", "gcs", "abfs")
_MAX_S3_COPY_BYTES = 5 << 30
_DEAD_AFTER_SECONDS = 7 * 86_400


class OutputDirectory:
    """A directory of finished parts, on any filesystem pyarrow opens.

    Attributes:
        filesystem: Where it lies.
        path: Path on that filesystem.
        given: The directory as the user wrote it, without credentials.
    """

    def __init__(self, given: str) -> None:
        """Name a directory; nothing is created yet.

        Raises:
            OutputError: The name is not UTF-8.
            InputError: No filesystem opens the URI.
        """
        refuse_output_name(given)
        self.given = without_secrets(given)
        self.filesystem, self.path = filesystem_and_path(given)
        self._run_id = uuid.uuid4().hex[:12]
        self._pending: list[tuple[Literal["rename", "remove", "make room"], str]] = []

    @property
    def is_local(self) -> bool:
        """Whether the directory is on this machine's own filesystem."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def read_ledger(self, names: Collection[str] = ()) -> Ledger:
        """Return what the files of the directory say of themselves; `names` may be parts whatever they begin with.

        Raises:
            OutputError: The directory, or a file in it, may not be read.
        """
        with self._translated("list"):
            return read_ledger(self.filesystem, self.path, names, self._listed_parts)

    def _listed_parts(self) -> frozenset[str]:
        """Return the names of the parts that the success marker lists: files that seqembed wrote, damaged or not."""
        entries = (self.read_success() or {}).get("parts")
        names = [entry.get("name") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        return frozenset(name for name in names if isinstance(name, str))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the directory and be the only run that writes to it; on leaving, temporary files are gone.

        Raises:
            OutputError: Another run writes here, or the directory cannot be written.
        """
        with ExitStack() as stack:
            with self._translated("write to"):
                self._make_directory("")
                if self.is_local:
                    stack.enter_context(hold_lock(Path(self.path)))
            try:
                yield
            finally:
                with not_interrupted():
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
            self._make_directory(posixpath.join(_TEMPORARY, self._run_id))
            if self._exists(SUCCESS):
                self.filesystem.delete_file(self._at(SUCCESS))
                self._sync_directory("")
            self._write_json(RECORD, record)

    def read_record(self) -> dict[str, Any] | None:
        """Return what the last run that began was asked for, None where there was none or it is damaged."""
        return self._read_json(RECORD)

    def withdraw(self, name: str) -> None:
        """Remove a file of the directory, if it is there, at the next `publish`."""
        self._pending.append(("remove", name))

    def make_room(self, name: str) -> None:
        """Remove a file, and the directories it leaves empty, at the next `publish`: a part needs their place."""
        self._pending.append(("make room", name))

    @contextmanager
    def stage(self, name: str, schema: pa.Schema) -> Iterator[PartWriter]:
        """Open a writer for a part's temporary file; on leaving, the file is closed, synced and checked.

        Raises:
            OutputError: The disk is full or not writable, or the file does not read back as it was written.
        """
        path = self._at(_TEMPORARY, self._run_id, name)
        with ExitStack() as stack:
            with self._translated("write to"):
                place = posixpath.join(_TEMPORARY, self._run_id, posixpath.dirname(name))
                self._refuse_link(place)
                self._make_directory(place)
                write_out = stack.enter_context(WriteOut(path)) if self.is_local else None
                guard = partial(self._translated, "write to")
                writer = PartWriter(self.filesystem, path, schema, guard, write_out)
            try:
                yield writer
                writer.close()
            finally:
                writer.abandon()
        with self._translated("write to"):
            self._sync_file(path)
            self._verify(path, writer.num_rows)
        self._pending.append(("rename", name))

    def publish(self) -> None:
        """Rename every staged file to its place and remove what was withdrawn, in the order that was asked for.

        Raises:
            OutputError: A file that seqembed did not write stands there, or the directory cannot be written.
        """
        with self._translated("write to"):
            for action, name in self._pending:
                place = posixpath.dirname(name)
                self._refuse_way_out(name)
                self._refuse_other(name)
                if action == "rename":
                    self._make_directory(posixpath.dirname(name))
                    self._move(self._at(_TEMPORARY, self._run_id, name), self._at(name))
                elif self._exists(name):
                    self.filesystem.delete_file(self._at(name))
                    place = self._remove_empty(place) if action == "make room" else place
                else:
                    continue
                self._sync_directory(place)
        self._pending.clear()

    def _refuse_other(self, name: str) -> None:
        """Refuse to replace or remove a file that came since the ledger was read, and is none of ours."""
        is_there = os.path.lexists(self._at(name)) if self.is_local else self._exists(name)
        is_other = is_there and look_at_part(self.filesystem, self._at(name)) == "other"
        if is_other and self._type(name) != fs.FileType.Directory:
            raise OutputError(
                f"{self.given}: {name} is a file that seqembed did not write, and stands where a part belongs. "
                "Move it away, or give another --out."
            )

    def _remove_empty(self, name: str) -> str:
        """Remove a directory and those above it as long as they are empty; return the first that stays."""
        while self.is_local and name and not os.listdir(self._at(name)):
            os.rmdir(self._at(name))
            name = posixpath.dirname(name)
        return name

    def _refuse_way_out(self, name: str) -> None:
        """Refuse a part whose place a symbolic link puts outside the directory."""
        self._refuse_link(posixpath.dirname(name))

    def _refuse_link(self, place: str) -> None:
        root = os.path.realpath(self.path)
        if self.is_local and os.path.commonpath([root, os.path.realpath(self._at(place))]) != root:
            raise OutputError(f"{self._at(place)}: a symbolic link leads out of the output directory. Remove the link.")

    def _make_directory(self, place: str) -> None:
        """Make a directory below this one; object stores have none."""
        if self.filesystem.type_name not in _OBJECT_STORES:
            self.filesystem.create_dir(self._at(place), recursive=True)

    def _move(self, source: str, target: str) -> None:
        """Give a file its final name, at once; an object is looked at afterwards, as it was copied."""
        if self.is_local:
            self.filesystem.move(source, target)
            return
        size = self.filesystem.get_file_info(source).size
        if self.filesystem.type_name == "s3" and (size or 0) > _MAX_S3_COPY_BYTES:
            raise OutputError(
                f"{target}: {size:,} bytes; S3 publishes at most {_MAX_S3_COPY_BYTES:,} at once. Split the input file."
            )
        self.filesystem.move(source, target)
        found = self.filesystem.get_file_info(target).size
        if found != size:
            raise OutputError(f"{target}: {found} bytes after publication, {size} before it. Run again.")

    def succeed(self, totals: dict[str, Any]) -> None:
        """Write the success marker, whole or not at all."""
        with self._translated("write to"):
            self._write_json(SUCCESS, totals)

    def _write_json(self, name: str, value: dict[str, Any]) -> None:
        temporary = self._at(_TEMPORARY, self._run_id, name)
        with self.filesystem.open_output_stream(temporary) as stream:
            stream.write(json.dumps(value, indent=1).encode())
        self._sync_file(temporary)
        self._move(temporary, self._at(name))
        self._sync_directory("")

    def _clean(self) -> None:
        """Remove temporary files of runs: on a local directory of all, for who holds the lock has no rival.

        What others keep there, such as a Spark job that writes beside, stays.
        """
        with self._translated("clean"):
            self._refuse_link(_TEMPORARY)
            if not self.is_local:
                self._clean_own()
            elif self._type(_TEMPORARY) == fs.FileType.Directory:
                place = self._at(_TEMPORARY)
                for name in filter(_RUN_ID.fullmatch, os.listdir(place)):
                    self.filesystem.delete_dir(posixpath.join(place, name))
                self._remove_empty(_TEMPORARY)

    def _clean_own(self) -> None:
        """Remove this run's temporary files, and those of runs so old that they must be dead."""
        place = self._at(_TEMPORARY)
        files = files_below(self.filesystem, place)
        newest: dict[str, int] = {}
        for info in files:
            run = info.path[len(place) + 1 :].split("/")[0]
            newest[run] = max(newest.get(run, 0), info.mtime_ns or 0)
        dead = {run for run, mtime in newest.items() if mtime < time.time_ns() - _DEAD_AFTER_SECONDS * 10**9}
        for run in dead | (newest.keys() & {self._run_id}):
            self.filesystem.delete_dir(posixpath.join(place, run))
        # What stands for a directory in a store, left behind by the last removal, goes once nothing is below it.
        if not files_below(self.filesystem, place) and self._type(_TEMPORARY) == fs.FileType.Directory:
            self.filesystem.delete_dir(place)

    def tidy(self) -> None:
        """Remove what a run left that was killed after its last part; other runs' files stay on object stores.

        Raises:
            OutputError: Another run writes here, or the directory cannot be written.
        """
        place = self._at(_TEMPORARY)
        left = self.is_local and os.path.isdir(place) and any(map(_RUN_ID.fullmatch, os.listdir(place)))
        if left or (self.is_local and self._type(LOCK) != fs.FileType.NotFound):
            with self.lock():
                pass  # leaving the lock cleans

    def read_success(self) -> dict[str, Any] | None:
        """Return what the last complete run wrote, None where there was none or it is damaged."""
        return self._read_json(SUCCESS)

    @property
    def has_record(self) -> bool:
        """Whether a run left what it was asked for, damaged or not."""
        return self._exists(RECORD)

    @property
    def is_marked(self) -> bool:
        """Whether there is a success marker, damaged or not."""
        return self._exists(SUCCESS)

    def _read_json(self, name: str) -> dict[str, Any] | None:
        if not self._exists(name):
            return None
        with self._translated("read"), self.filesystem.open_input_file(self._at(name)) as source:
            text = source.read()
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None  # a damaged marker marks nothing: the footers tell what is finished
        return value if isinstance(value, dict) else None

    def _verify(self, path: str, num_rows: int) -> None:
        metadata = pq.read_metadata(path, filesystem=self.filesystem)
        if metadata.num_rows != num_rows or FOOTER_KEY not in (metadata.metadata or {}):
            raise OutputError(
                f"{path}: read back {metadata.num_rows} rows, wrote {num_rows}. "
                "The disk or network loses data; check it."
            )

    def _at(self, *names: str) -> str:
        return posixpath.join(self.path, *names)

    def _exists(self, name: str) -> bool:
        return bool(self._type(name) == fs.FileType.File)

    def _type(self, name: str) -> fs.FileType:
        with self._translated("read"):
            return self.filesystem.get_file_info(self._at(name)).type

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
