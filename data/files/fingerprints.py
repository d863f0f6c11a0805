"""Fingerprints that distinguish versions of a file, computed from its footer and its times with one open."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.errors import BadFileError
from seqembed.data.files.inputs import UNREADABLE, InputFile, is_local, unreadable, unreadable_bytes

# Most footers fit. Small reads must be avoided on S3: pyarrow cannot repeat a read that is shorter than the server's
# error text (about 300 bytes).
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class FileState:
    """The state of a file at one moment.

    Attributes:
        file: The file.
        fingerprint: As returned by `fingerprint`.
        content: As returned by `content_fingerprint`.
        footer: The bytes of its Parquet footer, including its length and the magic number.
    """

    file: InputFile
    fingerprint: str
    content: str
    footer: bytes

    def metadata(self) -> pq.FileMetaData:
        """Parse the footer, without opening the file again.

        Raises:
            BadFileError: The footer is damaged or encrypted.
        """
        try:
            return pq.read_metadata(pa.BufferReader(b"PAR1" + self.footer))
        except UNREADABLE as error:
            raise unreadable(self.file, error) from error


def look_at(file: InputFile, source: pa.NativeFile | None = None) -> FileState:
    """Return the state of a file, with one open and one stat.

    Args:
        file: The file.
        source: The file if it is already open. On a local filesystem the open version may have been replaced since;
            then the stat differs.

    Raises:
        BadFileError: The file is missing, or too short to be Parquet.
    """
    size, footer = _footer(file, source)
    token = b"" if file.view is None else file.view.token
    content = f"{size}:".encode() + footer[:-8] + token
    return FileState(
        file, hashlib.sha256(_file_times(file) + content).hexdigest(), hashlib.sha256(content).hexdigest(), footer
    )


def fingerprint(file: InputFile, source: pa.NativeFile | None = None) -> str:
    """Return a sha256 over footer and file times, which differs for every version of a file or its rows in a table.

    It reads the footer and one stat, no data page. The footer holds offsets, sizes and statistics of every column
    chunk. On a local filesystem the inode and its change time (ctime) are included: the kernel sets the ctime, so a
    file rewritten with the same size and modification time still differs. Object stores set the modification time
    themselves. `source` is the file if it is already open.

    Raises:
        BadFileError: The file is missing, or too short to be Parquet.
    """
    return look_at(file, source).fingerprint


def content_fingerprint(file: InputFile) -> str:
    """Return a sha256 of size and footer, equal for all copies of the file.

    Raises:
        BadFileError: The file is missing, or too short to be Parquet.
    """
    return look_at(file).content


def combined_fingerprint(files: Sequence[InputFile]) -> str:
    """Return one sha256 over the contents of a set of files, independent of their order, times and paths."""
    return hashlib.sha256("".join(sorted(map(content_fingerprint, files))).encode()).hexdigest()


def _file_times(file: InputFile) -> bytes:
    try:
        if is_local(file.filesystem):
            stat = os.stat(file.path)
            return f"{stat.st_ino}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:".encode()
        return f"{file.filesystem.get_file_info(file.path).mtime_ns}:".encode()
    except OSError as error:
        raise unreadable_bytes(file, error) from error


def _footer(file: InputFile, source: pa.NativeFile | None = None) -> tuple[int, bytes]:
    """Return the file's size and its Parquet footer to the end of the file, as a rule with one read."""
    try:
        if source is None:
            with file.filesystem.open_input_file(file.path) as opened:
                return _footer(file, opened)
        size = source.size()
        start = max(0, size - _TAIL_BYTES)
        tail: bytes = source.read_at(size - start, start)
        if len(tail) < 12 or tail[-4:] not in (b"PAR1", b"PARE"):  # PARE: an encrypted footer
            raise BadFileError(f"{file.name}: not a Parquet file, or truncated. Write it again.")
        length = min(int.from_bytes(tail[-8:-4], "little"), size - 8)
        if length + 8 > len(tail):
            tail = source.read_at(length + 8, size - 8 - length)
        return size, tail[-8 - length :]
    except OSError as error:
        raise unreadable_bytes(file, error) from error
