"""Which Parquet files an input names: a file, a directory with hive partitions, a glob, or a URI pyarrow can open."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from data.errors import BadFileError, InputError
from data.int96 import int96_unit
from data.secrets import without_secrets

PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
_URI = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
_WILDCARD = re.compile(r"[*?\[]")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
# One read buffer a column keeps a huge row group from being loaded whole; 1 MiB is Parquet's usual page size.
_READ_BUFFER_BYTES = 1 << 20
# Most footers fit. Small reads are to be shunned on S3: pyarrow cannot repeat a read that is shorter than the text of
# the error the server answered with (about 300 bytes).
_TAIL_BYTES = 1 << 16
# What pyarrow raises at bytes that are no Parquet: ArrowInvalid is a ValueError, as are bad UTF-8 names.
_UNREADABLE = (OSError, pa.ArrowException, ValueError, OverflowError, MemoryError)


class OpenedFile(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types
    """A Parquet file with the handle it is read through, so that it need not be opened again for another look.

    Attributes:
        source: The open file.
    """

    def __init__(self, source: pa.NativeFile, **options: object) -> None:
        """Open as `pyarrow.parquet.ParquetFile` does."""
        super().__init__(source, **options)
        self.source = source


@dataclass(frozen=True, slots=True)
class InputFile:
    """One Parquet file.

    Attributes:
        filesystem: Where it lies.
        path: Path on that filesystem.
        name: Path relative to the input it came from; names it in messages and in the output.
        root: The directory of that input, on that filesystem.
        partitions: Hive keys of the path (``day=3``) with their values as text, None where hive says null.
        recursive: Whether every file that appears anywhere below `root` would be input too.
    """

    filesystem: fs.FileSystem
    path: str
    name: str
    root: str
    partitions: dict[str, str | None]
    recursive: bool = False

    def open(
        self,
        dictionaries: Sequence[str] = (),
        opened: pq.ParquetFile | None = None,
        source: pa.NativeFile | pa.PythonFile | None = None,
    ) -> "OpenedFile":
        """Open for streaming.

        Args:
            dictionaries: Leaf columns of strings to read as the dictionaries that Parquet stores: measured on 200
                values, four times as fast as the strings themselves.
            opened: The same file, opened before, so that its footer need not be read again.
            source: What to read the file through, where it is open already.

        Raises:
            BadFileError: The file is missing, unreadable or not Parquet.
        """
        try:
            source = self.filesystem.open_input_file(self.path) if source is None else source
            # Where a writer put checksums on its pages, bit rot is found; without them a codec may still notice.
            options = {
                "read_dictionary": list(dictionaries) or None,
                "buffer_size": _READ_BUFFER_BYTES,
                "pre_buffer": False,
                "page_checksum_verification": True,
            }
            metadata = None if opened is None else opened.metadata
            parquet = OpenedFile(source, metadata=metadata, coerce_int96_timestamp_unit="us", **options)
            if int96_unit(parquet) == "ns":
                metadata = parquet.metadata
                parquet = OpenedFile(source, metadata=metadata, coerce_int96_timestamp_unit="ns", **options)
            return parquet
        except _UNREADABLE as error:
            if "encrypted" in str(error):
                raise BadFileError(f"{self.name}: the file is encrypted. Decrypt it first.") from error
            raise BadFileError(
                f"{self.name}: cannot be read as Parquet ({_first_line(error)}). Is the file complete?"
            ) from error

    def open_bytes(self) -> pa.NativeFile:
        """Open for reading at any place.

        Raises:
            BadFileError: The file is missing or unreadable.
        """
        try:
            return self.filesystem.open_input_file(self.path)
        except _UNREADABLE as error:
            raise BadFileError(f"{self.name}: cannot be read ({_first_line(error)}).") from error

    def batches(
        self, parquet: pq.ParquetFile, columns: Sequence[str], batch_size: int, row_groups: Sequence[int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield record batches of an opened file on the calling thread.

        Raises:
            BadFileError: A page is damaged.
        """
        options = {} if row_groups is None else {"row_groups": list(row_groups)}
        try:
            yield from parquet.iter_batches(batch_size, columns=list(columns), use_threads=False, **options)
        except _UNREADABLE as error:
            place = "" if row_groups is None else f" in row group {', '.join(map(str, row_groups))}"
            raise BadFileError(
                f"{self.name}: damaged Parquet data{place} ({_first_line(error)}). Write the file again."
            ) from error


def resolve_inputs(inputs: Sequence[str]) -> tuple[InputFile, ...]:
    """Find the Parquet files that `inputs` name, sorted by name within each input.

    Files and directories whose name begins with ``_`` or ``.`` are passed over, as Spark and Hive do.

    Raises:
        InputError: An input names nothing, or one file is named twice.
    """
    files: dict[tuple[str, str], InputFile] = {}
    for given in inputs:
        for file in _resolve(given):
            key = (file.filesystem.type_name, file.path)
            if key in files:
                raise InputError(f"{file.path}: named twice by the inputs, its rows would count twice. Name it once.")
            files[key] = file
    return tuple(files.values())


def fingerprint(file: InputFile) -> str:
    """Return what tells this version of the file from every other: a sha256 over its footer and its file times.

    What it reads is the footer and one stat: no data page. The footer holds offset, sizes and statistics of every
    column chunk. On a local filesystem the inode and the time of its last change (ctime) count too: the kernel sets
    that, so a file rewritten with its old size and its old modification time is still another one. Object stores set
    the modification time themselves.

    Raises:
        BadFileError: The file is missing, or too short to be Parquet.
    """
    return hashlib.sha256(_file_times(file) + _footer(file)).hexdigest()


def combined_fingerprint(files: Sequence[InputFile]) -> str:
    """Return one sha256 for what a set of files holds: sizes and footers, whatever their order, times and place."""
    digests = sorted(hashlib.sha256(_footer(file)).hexdigest() for file in files)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _file_times(file: InputFile) -> bytes:
    try:
        if isinstance(file.filesystem, fs.LocalFileSystem):
            stat = os.stat(file.path)
            return f"{stat.st_ino}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:".encode()
        return f"{file.filesystem.get_file_info(file.path).mtime_ns}:".encode()
    except OSError as error:
        raise BadFileError(f"{file.name}: cannot be read ({_first_line(error)}).") from error


def _footer(file: InputFile) -> bytes:
    """Return the file's size and its Parquet footer, as a rule with one read."""
    try:
        with file.filesystem.open_input_file(file.path) as source:
            size = source.size()
            start = max(0, size - _TAIL_BYTES)
            tail: bytes = source.read_at(size - start, start)
            if len(tail) < 12 or tail[-4:] not in (b"PAR1", b"PARE"):  # PARE: an encrypted footer
                raise BadFileError(f"{file.name}: not a Parquet file, or cut short. Write it again.")
            length = min(int.from_bytes(tail[-8:-4], "little"), size - 8)
            if length + 8 > len(tail):
                tail = source.read_at(length + 8, size - 8 - length)
            return f"{size}:".encode() + tail[-8 - length : -8]
    except OSError as error:
        raise BadFileError(f"{file.name}: cannot be read ({_first_line(error)}).") from error


def filesystem_and_path(given: str) -> tuple[fs.FileSystem, str]:
    """Return where a path or URI points; local paths become absolute.

    Raises:
        InputError: No filesystem opens the URI.
    """
    if not _URI.match(given):
        return fs.LocalFileSystem(), Path(given).absolute().as_posix()
    try:
        filesystem, path = fs.FileSystem.from_uri(given)
    except (ValueError, OSError, pa.ArrowException) as error:
        reason = _first_line(error).replace(given, without_secrets(given))
        raise InputError(
            f"{without_secrets(given)}: no such location can be opened ({reason}). Escape what is special in a URI (a "
            "slash in a password is %2F), or leave credentials to the environment."
        ) from None  # its text has the URI in it, credentials and all
    return filesystem, path


def _resolve(given: str) -> list[InputFile]:
    filesystem, path = filesystem_and_path(_escape_wildcards(given))
    try:
        info = filesystem.get_file_info(path)
        if info.type == fs.FileType.File:
            return [_file(filesystem, path, str(PurePosixPath(path).parent))]
        if info.type == fs.FileType.Directory:
            return _listing(filesystem, path, "*", given)
        if _WILDCARD.search(path):
            parts = PurePosixPath(path).parts
            fixed = next(index for index, part in enumerate(parts) if _WILDCARD.search(part))
            return _listing(filesystem, str(PurePosixPath(*parts[:fixed])), "/".join(parts[fixed:]), given)
    except OSError as error:
        raise InputError(f"{without_secrets(given)}: cannot be listed ({_first_line(error)})") from error
    raise InputError(
        f"{without_secrets(given)}: no such file or directory. Give a Parquet file, a directory or a glob."
    )


def _escape_wildcards(given: str) -> str:
    # A URI parser takes "?" for the start of a query and refuses "[": hide them until the path is cut out.
    if not _URI.match(given):
        return given
    scheme, rest = given.split("://", 1)
    path, mark, query = rest.partition("?")
    is_query = mark and "=" in query and "/" not in query
    hidden = path if is_query else rest.replace("?", "%3F")
    hidden = hidden.replace("*", "%2A").replace("[", "%5B").replace("]", "%5D")
    return f"{scheme}://{hidden}{mark + query if is_query else ''}"


def _listing(filesystem: fs.FileSystem, root: str, pattern: str, given: str) -> list[InputFile]:
    whole_directory = pattern == "*"
    found = []
    for path in _paths_below(filesystem, root, ["**"] if whole_directory else pattern.split("/")):
        relative = path[len(root.rstrip("/")) + 1 :]
        if any(_is_hidden(part) for part in relative.split("/")):
            continue
        if relative.endswith(PARQUET_SUFFIXES) if whole_directory else _matches(relative, pattern):
            found.append(_file(filesystem, path, root, recursive=whole_directory or "**" in pattern))
    if not found:
        looked = f"looked for {', '.join(PARQUET_SUFFIXES)} below {root}"
        raise InputError(f"{without_secrets(given)}: no Parquet file found there ({looked}).")
    return sorted(found, key=lambda file: file.name)


def _paths_below(filesystem: fs.FileSystem, root: str, patterns: list[str]) -> Iterator[str]:
    if isinstance(filesystem, fs.LocalFileSystem):
        yield from _local_paths(root, patterns, set())
        return
    for info in filesystem.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True)):
        if info.type == fs.FileType.File:
            yield info.path


def _local_paths(directory: str, patterns: list[str], seen: set[str]) -> Iterator[str]:
    """Yield what may be an input file, links that lead nowhere included: they are refused when they are opened.

    Only directories that `patterns`, one a level, allow are entered, and none twice: links may go in circles.
    """
    real = os.path.realpath(directory)
    if real in seen:
        raise InputError(
            f"{directory}: a link to a directory that was met before; its rows would count twice. Remove the link."
        )
    seen.add(real)
    if not os.path.isdir(directory):
        return
    deeper = patterns if patterns[0] == "**" else patterns[1:]
    with os.scandir(directory) as entries:
        for entry in entries:
            path = f"{directory.rstrip('/')}/{entry.name}"
            if entry.is_dir():
                if (
                    deeper
                    and not _is_hidden(entry.name)
                    and (deeper is patterns or fnmatchcase(entry.name, patterns[0]))
                ):
                    yield from _local_paths(path, deeper, seen)
            elif entry.is_file() or entry.is_symlink():
                yield path


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _matches(relative: str, pattern: str) -> bool:
    names, patterns = relative.split("/"), pattern.split("/")
    if "**" in patterns:
        place = patterns.index("**")
        head, tail = patterns[:place], patterns[place + 1 :]
        if not all(fnmatchcase(name, part) for name, part in zip(names, head, strict=False)):
            return False
        return any(_matches("/".join(names[cut:]), "/".join(tail)) for cut in range(len(head), len(names)))
    return len(names) == len(patterns) and all(map(fnmatchcase, names, patterns))


def _file(filesystem: fs.FileSystem, path: str, root: str, recursive: bool = False) -> InputFile:
    partitions: dict[str, str | None] = {}
    for part in PurePosixPath(path).parts[:-1]:
        key, mark, value = part.partition("=")
        if mark and key:
            partitions[unquote(key)] = None if value == _HIVE_NULL else unquote(value)
    name = path[len(root.rstrip("/")) + 1 :]
    return InputFile(filesystem=filesystem, path=path, name=name, root=root, partitions=partitions, recursive=recursive)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
