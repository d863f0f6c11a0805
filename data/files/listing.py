"""Find the Parquet files of an input: a file, a directory with hive partitions, a glob, or a URI that pyarrow opens.

These count as Parquet: a file that is named itself; files whose names end in ``.parquet``, ``.parq`` or ``.pq``, in
upper or lower case; and other files below a directory or matched by a glob that begin with Parquet's magic number. All
others are skipped and reported. Names that begin with ``_`` or ``.`` are skipped without a report, as in Spark and
Hive.
"""

import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from urllib.parse import unquote

from pyarrow import fs

from seqembed.data.errors import InputError, UsageError
from seqembed.data.files.globs import EVERYTHING, is_glob, literal, matches_any
from seqembed.data.files.inputs import (
    PARQUET_SUFFIXES,
    InputFile,
    filesystem_and_path,
    first_line,
    is_local,
    is_uri,
    is_utf8,
    location_of,
    printable,
)
from seqembed.data.files.secrets import without_secrets
from seqembed.data.files.table_formats import (
    DELTA,
    ICEBERG,
    Listing,
    Table,
    is_hidden,
    local_listing,
    refuse_table,
    table_above,
    what_else,
)
from seqembed.data.host import raise_host_fault
from seqembed.data.lake.delta import delta_files
from seqembed.data.lake.iceberg import METADATA_END, iceberg_files

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_MAGIC = (b"PAR1", b"PARE")  # PARE: an encrypted footer
_OTHER_FORMATS = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"\x28\xb5\x2f\xfd": "zstd",
}
# More than the magic number: pyarrow cannot repeat a read on S3 that is shorter than the server's error text.
_HEAD_BYTES = 1024
_READERS = 8


@dataclass(frozen=True, slots=True)
class Scope:
    """The set of files that an input refers to, existing or not.

    Attributes:
        root: Location of its directory.
        patterns: Globs below `root`; a file must match one of them. ``**`` matches everything at any depth.
    """

    root: str
    patterns: tuple[str, ...]

    def covers(self, location: str) -> bool:
        """Return whether a file at `location` (`InputFile.location`) would belong to the input."""
        root = self.root.rstrip("/")
        if location == root:
            return self.patterns == (EVERYTHING,)
        return location.startswith(root + "/") and matches_any(location[len(root) + 1 :], self.patterns)


@dataclass(frozen=True, slots=True)
class FoundInputs:
    """The files found for some inputs.

    Attributes:
        files: In the order of the inputs, sorted by name within each; of a table of another format, its live files.
        passed_over: Name and reason of each skipped file.
        passed_locations: Locations of the skipped files, as `InputFile.location`.
        scopes: One per input.
    """

    files: tuple[InputFile, ...]
    passed_over: tuple[tuple[str, str], ...]
    passed_locations: frozenset[str]
    scopes: tuple[Scope, ...]

    def reading(self, columns: Collection[str]) -> "FoundInputs":
        """Return the files for a job that reads only these columns: other columns of tables change no fingerprint."""
        files = (file if file.view is None else replace(file, view=file.view.reading(columns)) for file in self.files)
        return replace(self, files=tuple(files))

    def notes(self) -> list[str]:
        """Return a line about skipped files, if there are any."""
        if not self.passed_over:
            return []
        shown = ", ".join(f"{printable(name)} ({reason})" for name, reason in self.passed_over[:3])
        more = f" and {len(self.passed_over) - 3:,} more" if len(self.passed_over) > 3 else ""
        num = len(self.passed_over)
        return [f"passed over {num:,} {'file that is' if num == 1 else 'files that are'} not Parquet: {shown}{more}"]


@dataclass(slots=True)
class _Found:
    version: int | None = None
    tables: dict[str, tuple[InputFile, ...]] = field(default_factory=dict)
    files: list[InputFile] = field(default_factory=list)
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    passed_locations: set[str] = field(default_factory=set)
    scopes: list[Scope] = field(default_factory=list)


def resolve_inputs(inputs: Sequence[str], version: int | None = None) -> tuple[InputFile, ...]:
    """Return the files of `find_inputs`."""
    return find_inputs(inputs, version).files


def find_inputs(inputs: Sequence[str], version: int | None = None) -> FoundInputs:
    """Find the Parquet files of `inputs`.

    Args:
        inputs: Files, directories, globs or URIs.
        version: Version of the tables of other formats among them; None is the newest.

    Raises:
        InputError: An input has no files, a file is found twice (by name or through a link), an input is in a table of
            a format that is not read (`seqembed.data.files.table_formats`), or a file's name is not UTF-8.
        UsageError: There is a version, and no table.
    """
    found = _Found(version=version)
    for given in inputs:
        _find(given, found)
    if version is not None and all(file.view is None for file in found.files):
        raise UsageError(f"--version {version}: no input is a table that has versions. Leave it out.")
    _refuse_twice(found.files)
    passed = tuple(found.passed_over), frozenset(found.passed_locations)
    return FoundInputs(tuple(found.files), *passed, tuple(found.scopes))


def _refuse_twice(files: Sequence[InputFile]) -> None:
    met: dict[object, InputFile] = {}
    for file in files:
        other = met.setdefault(_identity(file), file)
        if other is file:
            continue
        if other.path == file.path:
            raise InputError(f"{file.location}: in the inputs twice, so its rows would count twice. Name it only once.")
        raise InputError(
            f"{other.location} and {file.location}: the same file under two names (a link), so its rows would count "
            "twice. Remove the link, or name the files one by one."
        )


def _identity(file: InputFile) -> object:
    """Return a value that is equal for two names of the same file."""
    if is_local(file.filesystem):
        try:
            status = os.stat(file.path)
        except OSError:
            return file.path  # an unreadable file is reported when it is opened
        return status.st_dev, status.st_ino
    return file.filesystem.type_name, file.path


def resolve_location(given: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem and path of a path, a URI, or a glob of either.

    Raises:
        InputError: The name is not UTF-8, or no filesystem opens the URI.
    """
    return filesystem_and_path(_escape_wildcards(given))


def _find(given: str, found: _Found) -> None:
    shown = without_secrets(given)
    filesystem, path = resolve_location(given)
    try:
        kind, scope = _scope(filesystem, path, given)
        table = table_above(filesystem, scope.root)
        if table is not None:
            metadata = path if kind == fs.FileType.File and path.endswith(METADATA_END) else None
            scope = scope if metadata is None else Scope(table.root, (EVERYTHING,))
            found.files += _live_files(filesystem, table, scope, given, found, metadata)
        elif kind == fs.FileType.File:
            found.files.append(_file(filesystem, path, scope.root))
        else:
            _list(filesystem, scope.root, scope.patterns, given, found)
    except OSError as error:
        raise_host_fault(error)
        raise InputError(
            f"{shown}: cannot be listed ({first_line(error)}). Fix the permissions, or try again."
        ) from error
    found.scopes.append(replace(scope, root=location_of(filesystem, scope.root)))


def _scope(filesystem: fs.FileSystem, path: str, given: str) -> tuple[fs.FileType, Scope]:
    """Return the type of an input and what it refers to; the root is a path on its filesystem.

    Raises:
        InputError: There is nothing of that name.
    """
    kind = _kind(filesystem, path, given)
    if kind == fs.FileType.File:
        return kind, Scope(str(PurePosixPath(path).parent), (literal(PurePosixPath(path).name),))
    if kind == fs.FileType.Directory:
        return kind, Scope(path, (EVERYTHING,))
    if kind == fs.FileType.NotFound and is_glob(path):
        names = PurePosixPath(path).parts
        fixed = next(index for index, name in enumerate(names) if is_glob(name))
        return kind, Scope(str(PurePosixPath(*names[:fixed])), _patterns("/".join(names[fixed:]), given))
    is_missing = kind == fs.FileType.NotFound
    what = "no such file or directory" if is_missing else f"{what_else(path)}, neither a file nor a directory"
    raise InputError(f"{without_secrets(given)}: {what}. Pass a Parquet file, a directory or a glob.")


def _live_files(
    filesystem: fs.FileSystem, table: Table, scope: Scope, given: str, found: _Found, metadata: str | None
) -> list[InputFile]:
    """Return the live files of a table that an input refers to: all, or those of a directory, glob or file in it.

    Raises:
        InputError: There is none, the table cannot be read, or its format is not supported.
    """
    location = location_of(filesystem, table.root)
    if table.kind not in (DELTA, ICEBERG):
        refuse_table(filesystem, table, without_secrets(given))
    if location not in found.tables:  # once, so that all inputs are of one version
        found.tables[location] = (
            delta_files(filesystem, table.root, given, found.version)
            if table.kind == DELTA
            else iceberg_files(filesystem, table.root, metadata, found.version)
        )
    files = [file for file in found.tables[location] if scope.covers(file.path)]
    if not files:
        raise InputError(
            f"{without_secrets(given)}: no live file of the {table.kind} table {location} lies there. Pass the "
            "directory of the table, or another --version."
        )
    return files


def _patterns(pattern: str, given: str) -> tuple[str, ...]:
    """Return the patterns of a glob.

    A glob that ends with a slash or a hive directory (``day=2026-*``) matches directories, and so all files below them.
    """
    if given.endswith("/"):
        return (f"{pattern}/{EVERYTHING}",)
    return (pattern, f"{pattern}/{EVERYTHING}") if "=" in pattern.split("/")[-1] else (pattern,)


def _kind(filesystem: fs.FileSystem, path: str, given: str) -> fs.FileType:
    """Return the type of a path; in an object store a key may be both an object and the prefix of others."""
    kind = filesystem.get_file_info(path).type
    if kind != fs.FileType.File or is_local(filesystem):
        return kind
    below = fs.FileSelector(path, recursive=False, allow_not_found=True)
    if not filesystem.get_file_info(below):
        return kind
    if given.partition("?")[0].endswith("/") or _not_parquet(_file(filesystem, path, "")) is not None:
        return fs.FileType.Directory
    raise InputError(
        f"{without_secrets(given)}: both a Parquet object and a directory. Pass the directory with a slash at its end, "
        "or move the object."
    )


def _escape_wildcards(given: str) -> str:
    # A URI parser treats "?" as the start of a query and refuses "[": escape them until the path is extracted.
    if not is_uri(given):
        return given
    scheme, rest = given.split("://", 1)
    path, mark, query = rest.partition("?")
    is_query = mark and "=" in query and "/" not in query
    hidden = path if is_query else rest.replace("?", "%3F")
    hidden = hidden.replace("*", "%2A").replace("[", "%5B").replace("]", "%5D")
    return f"{scheme}://{hidden}{mark + query if is_query else ''}"


def _list(filesystem: fs.FileSystem, root: str, patterns: tuple[str, ...], given: str, found: _Found) -> None:
    """Add the Parquet files below `root` that one of `patterns` matches."""
    recursive = any(EVERYTHING in pattern.split("/") for pattern in patterns)
    shown = without_secrets(given)
    listing = _listing(filesystem, root, patterns[-1].split("/"))
    candidates = []
    for path in sorted(listing.files, key=lambda path: path.split("/")):
        relative = path[len(root.rstrip("/")) + 1 :]
        if any(is_hidden(name) for name in relative.split("/")) or not matches_any(relative, patterns):
            continue
        if not is_utf8(path):
            raise InputError(f"{printable(path)}: the file's name is not UTF-8. Rename the file.")
        refuse_table(filesystem, listing.table_of(path), shown)
        candidates.append(_file(filesystem, path, root, recursive))
    files = _sorted_out(candidates, found)
    for path, what in listing.special:
        relative = path[len(root.rstrip("/")) + 1 :]
        if matches_any(relative, patterns):
            found.passed_over.append((relative, what))
            found.passed_locations.add(location_of(filesystem, path))
    if not files:
        looked = f"looked for names ending in {', '.join(PARQUET_SUFFIXES)} and for Parquet's first bytes below {root}"
        hint = " A glob matches files; end it with a slash to read everything below the directories it matches."
        raise InputError(f"{shown}: no Parquet file found ({looked}).{'' if patterns == (EVERYTHING,) else hint}")
    found.files += sorted(files, key=lambda file: file.name)


def _sorted_out(candidates: Sequence[InputFile], found: _Found) -> list[InputFile]:
    """Return the files that are Parquet by name or by content; record the others as skipped."""
    by_name = [file.name.lower().endswith(PARQUET_SUFFIXES) for file in candidates]
    others = [file for file, known in zip(candidates, by_name, strict=True) if not known]
    if not others:
        return list(candidates)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="head") as pool:
        reasons = dict(zip((file.path for file in others), pool.map(_not_parquet, others), strict=True))
    files = []
    for file in candidates:
        reason = reasons.get(file.path)
        if reason is None:
            files.append(file)
        else:
            found.passed_over.append((file.name, reason))
            found.passed_locations.add(file.location)
    return files


def _not_parquet(file: InputFile) -> str | None:
    """Return the format of a file by its first bytes, or None if it is Parquet."""
    try:
        with file.filesystem.open_input_file(file.path) as source:
            head: bytes = source.read_at(min(_HEAD_BYTES, source.size()), 0)
    except OSError as error:
        raise_host_fault(error)
        return None  # unknown: an error is reported when it is opened
    if head[:4] in _MAGIC:
        return None
    if not head:
        return "empty"
    return next((name for magic, name in _OTHER_FORMATS.items() if head.startswith(magic)), "by its first bytes")


def _listing(filesystem: fs.FileSystem, root: str, patterns: list[str]) -> Listing:
    if is_local(filesystem):
        return local_listing(root, patterns)
    listing = Listing()
    for info in filesystem.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True)):
        if info.type == fs.FileType.File:
            listing.add(info.path, root)
    return listing


def _file(filesystem: fs.FileSystem, path: str, root: str, recursive: bool = False) -> InputFile:
    name = "/".join([*_hive_end(root), path[len(root.rstrip("/")) + 1 :]])
    partitions: dict[str, str | None] = {}
    for directory in name.split("/")[:-1]:
        key, mark, text = directory.partition("=")
        if not (mark and key):
            continue
        key, value = _unquoted(key), None if text == _HIVE_NULL else _unquoted(text)
        if partitions.setdefault(key, value) != value:
            raise InputError(f"{path}: directories {key}={partitions[key]} and {key}={value} disagree. Rename one.")
    return InputFile(filesystem=filesystem, path=path, name=name, root=root, partitions=partitions, recursive=recursive)


def _unquoted(text: str) -> str:
    """Return text without percent escapes; unchanged if they are not UTF-8."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text


def _hive_end(root: str) -> list[str]:
    """Return the hive directories at the end of a path: they belong to the data, those further up to its location."""
    names = list(PurePosixPath(root).parts)
    start = len(names)
    while start and not names[start - 1].startswith("=") and "=" in names[start - 1]:
        start -= 1
    return names[start:]
