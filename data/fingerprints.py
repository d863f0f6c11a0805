"""What distinguishes one version of a file from every other, read from its footer and its times in one open."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.errors import BadFileError
from seqembed.data.host import raise_host_fault
from seqembed.data.inputs import UNREADABLE, InputFile, first_line, is_local, unreadable

# Most footers fit. Small reads are to be shunned on S3: pyarrow cannot repeat a read that is shorter than the text of
# the error the server answered with (about 300 bytes).
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class FileState:
    """A file at one moment.

    Attributes:
        file: Which one.
        fingerprint: As by `fingerprint`.
        content: As by `content_fingerprint`.
        footer: The bytes of its Parquet footer, its length and the magic number behind it included.
    """

    file: InputFile
    fingerprint: str
    content: str
    footer: bytes

    def metadata(self) -> pq.FileMetaData:
        """Return the footer parsed, without opening the file again.

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
        file: Which one.
        source: The file where it is open already. On a local filesystem that may be a version that was since replaced:
            then the stat tells.

    Raises:
        BadFileError: The file is missing, or too short to be Parquet.
    """
    size, footer = _footer(file, source)
    content = f"{size}:".encode() + footer[:-8]
    return FileState(
        file, hashlib.sha256(_file_times(file) + content).hexdigest(), hashlib.sha256(content).hexdigest(), footer
    )


def fingerprint(file: InputFile, source: pa.NativeFile | None = None) -> str:
    """Return a sha256 over footer and file times: another one for every version of the file.

    What it reads is the footer and one stat: no data page. The footer holds offset, sizes and statistics of every
    column chunk. On a local filesystem the inode and the time of its last change (ctime) count too: the kernel sets
    that, so a file rewritten with its old size and its old modification time is still another one. Object stores set
    the modification time themselves. `source` is the file where it is open already.

    Raises:
        BadFileError: The file is missing, or too short to be Parquet.
    """
    return look_at(file, source).fingerprint


def content_fingerprint(file: InputFile) -> str:
    """Return a sha256 of size and footer: equal for a copy of the file, wherever and whenever it was written.

    Raises:
        BadFileError: The file is missing, or too short to be Parquet.
    """
    return look_at(file).content


def combined_fingerprint(files: Sequence[InputFile]) -> str:
    """Return one sha256 for what a set of files holds: sizes and footers, whatever their order, times and index."""
    return hashlib.sha256("".join(sorted(map(content_fingerprint, files))).encode()).hexdigest()


def _file_times(file: InputFile) -> bytes:
    try:
        if is_local(file.filesystem):
            stat = os.stat(file.path)
            return f"{stat.st_ino}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:".encode()
        return f"{file.filesystem.get_file_info(file.path).mtime_ns}:".encode()
    except OSError as error:
        raise_host_fault(error)
        raise BadFileError(f"{file.name}: cannot be read ({first_line(error)}).") from error


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
            raise BadFileError(f"{file.name}: not a Parquet file, or cut short. Write it again.")
        length = min(int.from_bytes(tail[-8:-4], "little"), size - 8)
        if length + 8 > len(tail):
            tail = source.read_at(length + 8, size - 8 - length)
        return size, tail[-8 - length :]
    except OSError as error:
        raise_host_fault(error)
        raise BadFileError(f"{file.name}: cannot be read ({first_line(error)}).") from error
