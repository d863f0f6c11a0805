"""One Parquet file of the input: its location, and how it is opened.

`seqembed.data.files.listing` finds the files of an input; `seqembed.data.files.fingerprints` distinguishes versions
of a file.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from seqembed.data.errors import BadFileError, InputError, OutputError
from seqembed.data.files.secrets import without_secrets
from seqembed.data.host import raise_host_fault
from seqembed.data.parquet.int96 import int96_unit

PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
_URI = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
# With a read buffer per column, a huge row group is not loaded completely; 1 MiB is Parquet's usual page size.
_READ_BUFFER_BYTES = 1 << 20
# What a reader is told about a data file of a table that is gone or differs.
REMOVED = "{} lists it: if a VACUUM or another writer removed it since, run again to read the newest version."
# Raised by pyarrow for bytes that are not Parquet: ArrowInvalid is a ValueError, as are bad UTF-8 names.
UNREADABLE = (OSError, pa.ArrowException, ValueError, OverflowError, MemoryError)


class OpenedFile(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types
    """A Parquet file with its file handle, so that it need not be opened again.

    Attributes:
        source: The open file.
    """

    def __init__(self, source: pa.NativeFile, **options: object) -> None:
        """Open like `pyarrow.parquet.ParquetFile`."""
        super().__init__(source, **options)
        self.source = source


@dataclass(frozen=True, slots=True)
class TableVersion:
    """A version of a table of another format.

    Attributes:
        kind: ``Delta`` or ``Iceberg``.
        root: Location of its directory.
        version: Number of the version or snapshot.
    """

    kind: str
    root: str
    version: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"version {self.version} of the {self.kind} table {self.root}"


class View(Protocol):
    """What the rows of a data file are in its table; see `seqembed.data.lake.view`."""

    @property
    def table(self) -> TableVersion:
        """The version of the table."""

    @property
    def token(self) -> bytes:
        """What distinguishes this view from others of the same file, for fingerprints."""

    def reading(self, columns: Collection[str]) -> Self:
        """Return the view for a job that reads only these columns."""

    def shape(self, file: "InputFile", stored: pa.Schema, num_rows: int) -> tuple[pa.Schema, int]:
        """Return the columns and the number of rows in the table, of a file with these."""

    def source(self, file: "InputFile", stored: pa.Schema, opened: pa.NativeFile) -> pa.NativeFile:
        """Return a file to read through."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One Parquet file.

    Attributes:
        filesystem: Its filesystem.
        path: Path on that filesystem.
        name: Path relative to the input, preceded by the hive directories at the input's end; its name in messages and
            in the output.
        root: The directory of the input, on that filesystem.
        partitions: Hive keys in `name` (``day=3``) with their values as text, None for hive's null.
        recursive: Whether all files anywhere below `root` belong to the input.
        view: How a data file of a table of another format is to be read; None for plain Parquet.
    """

    filesystem: fs.FileSystem
    path: str
    name: str
    root: str
    partitions: dict[str, str | None]
    recursive: bool = False
    view: View | None = None

    @property
    def noun(self) -> str:
        """What it is, in one word, for messages."""
        return "file"

    @property
    def location(self) -> str:
        """Absolute path, or URI without credentials, equal for every run that reads this file."""
        return location_of(self.filesystem, self.path)

    def open(
        self,
        dictionaries: Sequence[str] = (),
        opened: pq.ParquetFile | None = None,
        source: pa.NativeFile | pa.PythonFile | None = None,
    ) -> "OpenedFile":
        """Open for streaming.

        Args:
            dictionaries: Leaf columns of strings to read as the dictionaries that Parquet stores: with 200 distinct
                values measured to be four times as fast as strings.
            opened: The same file, already opened, so that its footer need not be read again.
            source: Handle to read the file through, if it is already open.

        Raises:
            BadFileError: The file is missing, unreadable or not Parquet.
        """
        try:
            source = self.filesystem.open_input_file(self.path) if source is None else source
            # Page checksums, where the writer added them, detect bit rot; without them the codec may still detect it.
            options = {
                "read_dictionary": list(dictionaries) or None,
                "buffer_size": _READ_BUFFER_BYTES,
                "pre_buffer": False,
                "page_checksum_verification": True,
            }
            metadata = None if opened is None else opened.metadata
            parquet = OpenedFile(source, metadata=metadata, coerce_int96_timestamp_unit="us", **options)
            if self.view is not None and opened is None:
                source = self.view.source(self, parquet.schema_arrow, parquet.source)
                if source is not parquet.source:
                    return OpenedFile(source, **options)
            if int96_unit(parquet) == "ns":
                metadata = parquet.metadata
                parquet = OpenedFile(source, metadata=metadata, coerce_int96_timestamp_unit="ns", **options)
            return parquet
        except UNREADABLE as error:
            raise unreadable(self, error) from error

    def shape(self, stored: pq.FileMetaData) -> tuple[pa.Schema, int]:
        """Return the columns and the number of rows that `open` shows, from the footer alone."""
        schema, num_rows = stored.schema.to_arrow_schema(), stored.num_rows
        return (schema, num_rows) if self.view is None else self.view.shape(self, schema, num_rows)

    def footer(self) -> tuple[pa.Schema, int]:
        """Return the columns and the number of rows that `open` shows; no file of a table is copied for them.

        Raises:
            BadFileError: The file is missing, unreadable or not Parquet.
        """
        stored = replace(self, view=None).open()
        found = stored.schema_arrow, stored.metadata.num_rows
        return found if self.view is None else self.view.shape(self, *found)

    def open_bytes(self) -> pa.NativeFile:
        """Open for random access.

        Raises:
            BadFileError: The file is missing or unreadable.
        """
        try:
            return self.filesystem.open_input_file(self.path)
        except UNREADABLE as error:
            raise unreadable_bytes(self, error) from error

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
        except UNREADABLE as error:
            raise_host_fault(error)
            where = "" if row_groups is None else f" in row group {', '.join(map(str, row_groups))}"
            raise BadFileError(
                f"{self.name}: damaged Parquet data{where} ({first_line(error)}). Write the file again."
            ) from error


def unreadable(file: InputFile, error: BaseException) -> BadFileError:
    """Return the error for a file that pyarrow cannot open.

    Raises:
        HostError: The host is at fault, not the file.
    """
    raise_host_fault(error)
    if isinstance(error, FileNotFoundError):
        return unreadable_bytes(file, error)
    if "encrypted" in str(error):
        return BadFileError(f"{file.name}: the file is encrypted. Decrypt it first.")
    return BadFileError(f"{file.name}: cannot be read as Parquet ({first_line(error)}). Is the file complete?")


def unreadable_bytes(file: InputFile, error: BaseException) -> BadFileError:
    """Return the error for a file that is missing or may not be read.

    Raises:
        HostError: The host is at fault, not the file.
    """
    raise_host_fault(error)
    remedy = "" if file.view is None else f" {REMOVED.format(file.view.table)}"
    return BadFileError(f"{file.name}: cannot be read ({first_line(error)}).{remedy}")


def location_of(filesystem: fs.FileSystem, path: str) -> str:
    """Return the absolute path of a local file, or a URI without credentials.

    Links are not resolved: a directory that is linked to another target for each run is still the same input.
    """
    return os.path.abspath(path) if is_local(filesystem) else f"{filesystem.type_name}://{path}"


def is_local(filesystem: fs.FileSystem) -> bool:
    """Return whether a filesystem is local."""
    return isinstance(filesystem, fs.LocalFileSystem)


def is_uri(given: str) -> bool:
    """Return whether an input is a URI rather than a path."""
    return _URI.match(given) is not None


def filesystem_and_path(given: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem and path of a path or URI; local paths become absolute.

    Raises:
        InputError: The name is not UTF-8, or no filesystem opens the URI.
    """
    path = given if is_uri(given) else Path(given).absolute().as_posix()
    if not is_utf8(path):
        raise InputError(f"{printable(path)}: the name is not UTF-8. Rename the file or directory.")
    if not is_uri(given):
        return fs.LocalFileSystem(), path
    try:
        filesystem, path = fs.FileSystem.from_uri(given)
    except (ValueError, OSError, pa.ArrowException) as error:
        reason = first_line(error).replace(given, without_secrets(given))
        raise InputError(
            f"{without_secrets(given)}: the location cannot be opened ({reason}). Escape special characters in the URI "
            "(a slash in a password is %2F), or pass credentials in the environment."
        ) from None  # its text contains the URI with credentials
    return filesystem, path


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its class if it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]


def is_utf8(name: str) -> bool:
    """Return whether a file name is UTF-8; otherwise Python represents its bytes as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse_output_name(given: str | os.PathLike[str]) -> None:
    """Refuse an output whose name is not UTF-8, which Arrow, TensorFlow and other programs could not open.

    Raises:
        OutputError: The name of a path or URI, or of a directory above it, is not UTF-8.
    """
    path = os.fspath(given)
    path = path if is_uri(path) else os.path.abspath(path)
    if not is_utf8(path):
        raise OutputError(f"{printable(path)}: the name is not UTF-8. Pass another --out.")


def printable(name: str) -> str:
    """Return a file name with the bytes that are not UTF-8 escaped."""
    return name.encode(errors="backslashreplace").decode()
