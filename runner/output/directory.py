"""The output directory: lock, publication and success marker, used by the process that holds the lock.

A part is staged (`seqembed.runner.output.staging`), closed, synced, read back, and only then renamed to its final name,
so that no reader sees an incomplete one.
"""

import errno
import os
import posixpath
import re
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pyarrow import fs

from seqembed.data.errors import OutputError
from seqembed.data.lock import LOCK, hold_lock
from seqembed.data.signals import not_interrupted
from seqembed.runner.output.history import add_to_history
from seqembed.runner.output.ledger import files_below, look_at_part, read_ledger
from seqembed.runner.output.parts import Ledger
from seqembed.runner.output.staging import TEMPORARY, StagedPart, Staging, quarantine_name
from seqembed.runner.output.storage import Storage

SUCCESS = "_SUCCESS"
RECORD = "_RUN"
_FIELD_OF_MARKERS = {SUCCESS: "seqembed", RECORD: "inputs"}  # what each always holds
_RUN_ID = re.compile(r"[0-9a-f]{12}")
_DEAD_AFTER_SECONDS = 7 * 86_400
_LAST_WRITES_SECONDS = 10.0


class OutputDirectory:
    """A directory of finished parts, on any filesystem of pyarrow.

    Attributes:
        storage: Its filesystem and path.
        staging: The temporary files of this run.
    """

    def __init__(self, given: str) -> None:
        """Set the directory; nothing is created yet.

        Raises:
            OutputError: The name is not UTF-8.
            InputError: No filesystem supports the URI.
        """
        self.storage = Storage.of(given)
        self.staging = Staging(self.storage, uuid.uuid4().hex[:12])
        self._pending: list[tuple[Literal["rename", "remove", "make room"], str, str]] = []
        self._taken: set[str] = set()

    @property
    def given(self) -> str:
        """The directory as the user wrote it, without credentials."""
        return self.storage.given

    @property
    def filesystem(self) -> fs.FileSystem:
        """Its filesystem."""
        return self.storage.filesystem

    @property
    def path(self) -> str:
        """Path on that filesystem."""
        return self.storage.path

    def read_ledger(self, names: Collection[str] = ()) -> Ledger:
        """Return the state of all files of the directory; `names` may be parts even if they begin with ``_`` or ``.``.

        Raises:
            OutputError: The directory, or a file in it, may not be read.
        """
        with self.storage.translated("list"):
            return read_ledger(self.filesystem, self.path, names, self._listed_parts)

    def _listed_parts(self) -> frozenset[str]:
        """Return the parts listed in the success marker: files that seqembed wrote, even if damaged now."""
        entries = (self.read_success() or {}).get("parts")
        names = [entry.get("name") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        return frozenset(name for name in names if isinstance(name, str))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Create the directory and lock it for this run; temporary files are removed at the end.

        Raises:
            OutputError: Another run writes here, or the directory cannot be written.
        """
        with ExitStack() as stack:
            with self.storage.translated("write to"):
                self.storage.make_directory("")
                if self.storage.is_local:
                    stack.enter_context(hold_lock(Path(self.path)))
            try:
                yield
            finally:
                with not_interrupted():
                    self._clean()

    def begin(self, record: dict[str, Any]) -> None:
        """Remove the success marker before anything changes, and record inputs and options of this run.

        Args:
            record: Record by which `inspect` finds out what a rerun would do, also after a crash.

        Raises:
            OutputError: The directory cannot be written.
        """
        with self.storage.translated("write to"):
            self._refuse_markers_of_others()
            self._clean()
            self.storage.make_directory(self.staging.directory)
            self.staging = replace(self.staging, begun=True)
            if self.storage.exists(SUCCESS):
                self.filesystem.delete_file(self.storage.at(SUCCESS))
                self.storage.sync_directory("")
            self._write_json(RECORD, record)

    def _refuse_markers_of_others(self) -> None:
        """Check that ``_SUCCESS`` and ``_RUN`` are not those of another program: Spark and Hadoop write the first, too.

        One that is damaged is known by the other.
        """
        present = [name for name in _FIELD_OF_MARKERS if self.storage.type(name) != fs.FileType.NotFound]
        files = [name for name in present if self.storage.type(name) == fs.FileType.File]
        is_known = any(_FIELD_OF_MARKERS[name] in (self.storage.read_json(name) or {}) for name in files)
        for name in present:
            if name not in files or not is_known:
                raise OutputError(
                    f"{self.storage.at(name)}: seqembed did not write it, and would replace it. Move it away, or "
                    "choose another --out."
                )

    def read_record(self) -> dict[str, Any] | None:
        """Return the record of the last run that began; None if there is none or it is damaged."""
        return self.storage.read_json(RECORD)

    def remove_published(self, name: str) -> None:
        """Remove a file of the directory, if it exists, at the next `publish`."""
        self._pending.append(("remove", name, ""))

    def free_path(self, name: str) -> None:
        """Remove a file and directories that become empty, at the next `publish`, since a part needs their path."""
        self._pending.append(("make room", name, ""))

    def take(self, part: StagedPart) -> bool:
        """Queue a staged part for the next `publish`: the first attempt whose files are complete.

        Returns:
            Whether it was queued; the files of any other attempt are removed.

        Raises:
            OutputError: The directory cannot be read or written.
        """
        is_complete = all(self.storage.size(file.staged) == file.num_bytes for file in part.files)
        if part.footer is None or part.name in self._taken or not is_complete:
            self._discard(part)
            return False
        self._taken.add(part.name)
        # The quarantine file is published before the part, so that after a kill in between the part is made again.
        if part.quarantined is None:
            self.remove_published(quarantine_name(part.name))
        self._pending += [("rename", file.name, file.staged) for file in part.files]
        return True

    def _discard(self, part: StagedPart) -> None:
        with self.storage.translated("write to"):
            for file in part.files:
                if self.storage.exists(file.staged):
                    self.filesystem.delete_file(self.storage.at(file.staged))

    def publish(self) -> None:
        """Rename queued parts to their final names and remove withdrawn files, in order.

        Raises:
            OutputError: A file that seqembed did not write exists there, or the directory cannot be written.
        """
        with self.storage.translated("write to"):
            for action, name, staged in self._pending:
                directory = posixpath.dirname(name)
                self._refuse_way_out(name)
                self._refuse_other(name)
                if action == "rename":
                    self.storage.make_directory(directory)
                    self.storage.move(staged, name)
                elif self.storage.exists(name):
                    self.filesystem.delete_file(self.storage.at(name))
                    directory = self.storage.remove_empty(directory) if action == "make room" else directory
                else:
                    continue
                self.storage.sync_directory(directory)
        self._pending.clear()

    def _refuse_other(self, name: str) -> None:
        """Check that a file written since the ledger was read, but not by seqembed, is not replaced or removed."""
        path = self.storage.at(name)
        is_there = os.path.lexists(path) if self.storage.is_local else self.storage.exists(name)
        is_other = is_there and look_at_part(self.filesystem, path) == "other"
        if is_other and self.storage.type(name) != fs.FileType.Directory:
            raise OutputError(
                f"{self.given}: {name} is a file that seqembed did not write, at the path of a part. "
                "Move it away, or choose another --out."
            )

    def _refuse_way_out(self, name: str) -> None:
        """Check that no symbolic link puts a part outside the directory."""
        self.storage.refuse_link(posixpath.dirname(name))

    def succeed(self, totals: dict[str, Any]) -> None:
        """Write the success marker atomically."""
        with self.storage.translated("write to"):
            self._write_json(SUCCESS, totals)

    def remember(self, record: dict[str, Any]) -> str:
        """Add the record of this run to the history of the directory; return its name.

        Raises:
            OutputError: The directory cannot be written.
        """
        temporary = posixpath.join(self.staging.directory, "history.json")
        return add_to_history(self.storage, self.staging.run_id, temporary, record)

    def forget(self, name: str) -> None:
        """Remove a record from the history.

        Raises:
            OutputError: The directory cannot be written.
        """
        with self.storage.translated("write to"):
            self.filesystem.delete_file(self.storage.at(name))

    def _write_json(self, name: str, value: dict[str, Any]) -> None:
        self.storage.write_json(name, value, temporary=posixpath.join(self.staging.directory, name))

    def _clean(self) -> None:
        """Remove temporary files; in a local directory those of all runs, since the lock excludes others.

        Files of other programs there, such as a Spark job writing to the same directory, are kept.
        """
        with self.storage.translated("clean"):
            self.storage.refuse_link(TEMPORARY)
            if not self.storage.is_local:
                self._clean_own()
            elif self.storage.type(TEMPORARY) == fs.FileType.Directory:
                temporary = self.storage.at(TEMPORARY)
                for name in filter(_RUN_ID.fullmatch, os.listdir(temporary)):
                    self._delete_directory(posixpath.join(temporary, name))
                self.storage.remove_empty(TEMPORARY)

    def _delete_directory(self, path: str) -> None:
        """Delete a local directory; again, for a while, if a worker of a stopped engine still writes files into it."""
        end = time.monotonic() + _LAST_WRITES_SECONDS
        while True:
            try:
                self.filesystem.delete_dir(path)
                return
            except OSError as error:
                if error.errno != errno.ENOTEMPTY or time.monotonic() > end:
                    raise
            time.sleep(0.02)

    def _clean_own(self) -> None:
        """Remove temporary files of this run, and of runs so old that they cannot be running."""
        temporary = self.storage.at(TEMPORARY)
        files = files_below(self.filesystem, temporary)
        newest: dict[str, int] = {}
        for info in files:
            run = info.path[len(temporary) + 1 :].split("/")[0]
            newest[run] = max(newest.get(run, 0), info.mtime_ns or 0)
        dead = {run for run, mtime in newest.items() if mtime < time.time_ns() - _DEAD_AFTER_SECONDS * 10**9}
        for run in dead | (newest.keys() & {self.staging.run_id}):
            self.filesystem.delete_dir(posixpath.join(temporary, run))
        # Remove the object that represents the directory in a store, once nothing is below it.
        if not files_below(self.filesystem, temporary) and self.storage.type(TEMPORARY) == fs.FileType.Directory:
            self.filesystem.delete_dir(temporary)

    def remove_leftovers(self) -> None:
        """Remove files left by a run killed after its last part; on object stores files of other runs are kept.

        Raises:
            OutputError: Another run writes here, or the directory cannot be written.
        """
        if not self.storage.is_local:
            return
        temporary = self.storage.at(TEMPORARY)
        left = os.path.isdir(temporary) and any(map(_RUN_ID.fullmatch, os.listdir(temporary)))
        if left or self.storage.type(LOCK) != fs.FileType.NotFound:
            with self.lock():
                pass  # leaving the lock removes them

    def read_success(self) -> dict[str, Any] | None:
        """Return the success marker of the last complete run; None if there is none or it is damaged."""
        return self.storage.read_json(SUCCESS)

    @property
    def has_record(self) -> bool:
        """Whether there is a record of a run, damaged or not."""
        return self.storage.exists(RECORD)

    @property
    def is_marked(self) -> bool:
        """Whether there is a success marker, damaged or not."""
        return self.storage.exists(SUCCESS)
