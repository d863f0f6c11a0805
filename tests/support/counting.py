"""A filesystem that counts how often files are opened and which bytes are read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from seqembed.data.files.inputs import InputFile


class _CountedFile:
    """An open file whose reads are recorded."""

    def __init__(self, file: pa.NativeFile, reads: list[tuple[int, int]]) -> None:
        self._file, self._reads, self.closed = file, reads, False
        self.seek, self.tell, self.size = file.seek, file.tell, file.size

    def read(self, size: int) -> bytes:
        self._reads.append((self._file.tell(), size))
        return self._file.read(size)

    def readable(self) -> bool:
        return True

    seekable = readable

    def close(self) -> None:
        self.closed = True


def _unused(*_: Any) -> None:
    raise NotImplementedError


class CountingFilesystem(fs.FileSystemHandler):
    """Reads local files.

    Attributes:
        opened: Paths, once per opening.
        reads: Position and size of each read.
    """

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.reads: list[tuple[int, int]] = []
        self._local = fs.LocalFileSystem()

    def get_type_name(self) -> str:
        return "counting"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return self._local.get_file_info(paths)

    def open_input_file(self, path: str) -> pa.PythonFile:
        self.opened.append(path)
        return pa.PythonFile(_CountedFile(self._local.open_input_file(path), self.reads), "r")

    open_input_stream: Callable[..., pa.PythonFile] = open_input_file

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        return self._local.get_file_info(selector)

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _unused
    delete_file = move = copy_file = open_output_stream = open_append_stream = _unused


def counted(path: Path) -> tuple[InputFile, CountingFilesystem]:
    """Return a local file on a filesystem that counts."""
    handler = CountingFilesystem()
    return InputFile(fs.PyFileSystem(handler), str(path), path.name, str(path.parent), {}), handler
