"""List directories, and recognise tables of other formats: Delta Lake, Apache Iceberg, Apache Hudi.

The directory of such a table also holds files that an update, a deletion or a compaction removed; only the table's log
lists the live files. Read as plain Parquet, deleted rows would come back and changed rows would count twice. Live files
of Delta and Iceberg tables are read (`seqembed.data.lake`); Hudi has no reader outside Spark and Flink.

Marker files: ``_delta_log`` (Delta, PROTOCOL.md), ``metadata/*.metadata.json`` (Iceberg, spec.md, "File System
Tables"), ``.hoodie`` and ``.hoodie_partition_metadata`` (Hudi, technical specification).
"""

import os
import posixpath
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from pyarrow import fs

from seqembed.data.errors import InputError
from seqembed.data.files.inputs import location_of

DELTA, ICEBERG, HUDI = "Delta", "Iceberg", "Hudi"
_MARKS = {"_delta_log": DELTA, ".hoodie": HUDI, ".hoodie_partition_metadata": HUDI}
_ICEBERG_DIRECTORY, _ICEBERG_ENDS = "metadata", (".metadata.json", ".metadata.json.gz")
_READERS = 8
_REMEDIES = {
    DELTA: "pass TABLE itself as the input, whose live files are read",
    ICEBERG: "pass TABLE itself as the input, whose live files are read",
    HUDI: "write its current snapshot as plain Parquet first, e.g. in Spark: "
    "spark.read.format('hudi').load('TABLE').write.parquet('plain')",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of another format.

    Attributes:
        kind: ``Delta``, ``Iceberg`` or ``Hudi``.
        root: Its directory.
        mark: The marker file or directory by which it was recognised.
    """

    kind: str
    root: str
    mark: str


@dataclass(slots=True)
class Listing:
    """The content of a directory.

    Attributes:
        files: Paths of files, including broken links, which are refused when they are opened.
        special: Paths and types of pipes, sockets and devices.
        tables: Tables of other formats, by root.
    """

    files: list[str] = field(default_factory=list)
    special: list[tuple[str, str]] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)

    def add(self, path: str, root: str) -> None:
        """Add a file of an object store, where directories are only visible in paths."""
        self.files.append(path)
        names = path[len(root.rstrip("/")) + 1 :].split("/")
        for index, name in enumerate(names):
            directory = posixpath.join(root, *names[:index])
            if name in _MARKS:
                self._table(directory, _MARKS[name], name)
            elif name == _ICEBERG_DIRECTORY and index == len(names) - 2 and names[-1].endswith(_ICEBERG_ENDS):
                self._table(directory, ICEBERG, f"{name}/{names[-1]}")

    def look(self, directory: str, names: Iterable[str]) -> None:
        """Recognise a local directory as a table by the names of its entries."""
        for name in names:
            if name in _MARKS:
                self._table(directory, _MARKS[name], name)
            elif name == _ICEBERG_DIRECTORY:
                mark = _iceberg_mark(f"{directory.rstrip('/')}/{name}")
                if mark is not None:
                    self._table(directory, ICEBERG, mark)

    def table_of(self, path: str) -> Table | None:
        """Return the table that contains a file, if any."""
        for parent in PurePosixPath(path).parents if self.tables else ():
            if (table := self.tables.get(str(parent))) is not None:
                return table
        return None

    def _table(self, directory: str, kind: str, mark: str) -> None:
        root = str(PurePosixPath(directory))
        self.tables[root] = Table(kind, root, mark)


def refuse_table(filesystem: fs.FileSystem, table: Table | None, shown: str) -> None:
    """Refuse to read a table of another format as plain files: one that cannot be read, or lies below an input.

    Args:
        filesystem: Filesystem of the table.
        table: The table, or None.
        shown: The input as given by the user, without credentials.

    Raises:
        InputError: There is a table.
    """
    if table is not None:
        root = location_of(filesystem, table.root)
        raise InputError(
            f"{shown}: {root} is {'an' if table.kind == ICEBERG else 'a'} {table.kind} table (it holds "
            f"{table.mark}). Its directory also holds files of deleted and outdated rows, so it is not read as plain "
            f"Parquet; {_REMEDIES[table.kind].replace('TABLE', root)}."
        )


def table_above(filesystem: fs.FileSystem, directory: str) -> Table | None:
    """Return the table that a directory belongs to: the directory itself, or one of its parents.

    Without permission to look at the parents, as with access to a single prefix of a bucket, nothing is found there.
    """
    directories = [str(path) for path in (PurePosixPath(directory), *PurePosixPath(directory).parents)]
    if isinstance(filesystem, fs.LocalFileSystem):
        found = (_local_table(path) for path in directories)
        return next((table for table in found if table is not None), None)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="marks") as pool:
        named = [path for path in directories if path != "."]
        tables = list(pool.map(lambda path: _remote_table(filesystem, path), named))
    return next((table for table in tables if table is not None), None)


def _local_table(directory: str) -> Table | None:
    listing = Listing()
    marks = [name for name in (*_MARKS, _ICEBERG_DIRECTORY) if os.path.lexists(os.path.join(directory, name))]
    listing.look(directory, marks)
    return next(iter(listing.tables.values()), None)


def _iceberg_mark(directory: str) -> str | None:
    try:
        names = os.listdir(directory)
    except OSError:
        return None  # a file of that name, or no permission: there is no visible marker
    return next((f"{_ICEBERG_DIRECTORY}/{name}" for name in names if name.endswith(_ICEBERG_ENDS)), None)


def _remote_table(filesystem: fs.FileSystem, directory: str) -> Table | None:
    try:
        for name, kind in _MARKS.items():
            if filesystem.get_file_info(posixpath.join(directory, name)).type != fs.FileType.NotFound:
                return Table(kind, directory, name)
        metadata = posixpath.join(directory, _ICEBERG_DIRECTORY)
        for info in filesystem.get_file_info(fs.FileSelector(metadata, allow_not_found=True)):
            if info.base_name.endswith(_ICEBERG_ENDS):
                return Table(ICEBERG, directory, f"{_ICEBERG_DIRECTORY}/{info.base_name}")
    except OSError:
        return None  # see `table_above`
    return None


def local_listing(root: str, patterns: list[str]) -> Listing:
    """List a local directory.

    Only directories that match `patterns`, one per level, are entered, and none twice, since links may form cycles.

    Args:
        root: The directory.
        patterns: Globs; ``**`` matches every directory from there on.

    Raises:
        InputError: A directory is found twice.
    """
    listing = Listing()
    _walk(root, patterns, set(), listing)
    return listing


def _walk(directory: str, patterns: list[str], seen: set[str], listing: Listing) -> None:
    real = os.path.realpath(directory)
    if real in seen:
        raise InputError(
            f"{directory}: a link to a directory that is also read itself, so its rows would count twice. Remove the "
            "link."
        )
    seen.add(real)
    if not os.path.isdir(directory):
        return
    deeper = patterns if patterns[0] == "**" else patterns[1:]
    with os.scandir(directory) as scan:
        entries = list(scan)
    listing.look(directory, (entry.name for entry in entries))
    for entry in entries:
        path = f"{directory.rstrip('/')}/{entry.name}"
        if entry.is_dir():
            allowed = deeper is patterns or fnmatchcase(entry.name, patterns[0])
            if deeper and allowed and not is_hidden(entry.name):
                _walk(path, deeper, seen, listing)
        elif entry.is_file() or (entry.is_symlink() and not os.path.exists(path)):
            listing.files.append(path)
        elif not is_hidden(entry.name):
            listing.special.append((path, what_else(path)))


def what_else(path: str) -> str:
    """Return the type of a path that is neither a file nor a directory."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return "not accessible"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def is_hidden(name: str) -> bool:
    """Return whether a name is skipped without a report."""
    return name.startswith(("_", "."))
