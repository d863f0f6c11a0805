"""Read a bundle file from a path or any URI that pyarrow.fs supports."""

import hashlib
import os
import stat
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from seqembed.data.errors import BundleError, InputError
from seqembed.data.files.inputs import filesystem_and_path
from seqembed.data.files.secrets import scrub, without_secrets
from seqembed.runner.bundle.onnx_check import MAX_MODEL_BYTES, refuse_size

_REMEDY = "Pass a file made by `seqembed export`."


def read_bundle(given: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a bundle file.

    Args:
        given: Path, or URI (``s3://``, ``gs://``, ``file://`` …).

    Raises:
        BundleError: There is no such file, it cannot be read, or it is too large for a model.
    """
    shown = without_secrets(os.fspath(given))
    try:
        filesystem, path = filesystem_and_path(os.fspath(given))
    except InputError as error:
        raise BundleError(f"{error} {_REMEDY}") from None
    try:
        return (
            _read_local(path, shown) if isinstance(filesystem, fs.LocalFileSystem) else _read(filesystem, path, shown)
        )
    except (OSError, ValueError, pa.ArrowException) as error:  # a path with a null character raises ValueError
        lines = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()
        raise BundleError(f"{shown}: cannot read the model ({scrub(lines[0])}). {_REMEDY}") from error


def bundle_sha256(model: bytes) -> str:
    """Return the sha256 of a bundle's bytes."""
    return hashlib.sha256(model).hexdigest()


def _read_local(path: str, shown: str) -> bytes:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{shown}: not a file. {_REMEDY}")
    if status.st_size > MAX_MODEL_BYTES:
        refuse_size(shown, status.st_size)
    return Path(path).read_bytes()


def _read(filesystem: fs.FileSystem, path: str, shown: str) -> bytes:
    info = filesystem.get_file_info(path)
    if info.type != fs.FileType.File:
        raise BundleError(
            f"{shown}: {'not a file' if info.type == fs.FileType.Directory else 'no such file'}. {_REMEDY}"
        )
    with filesystem.open_input_file(path) as source:
        if source.size() > MAX_MODEL_BYTES:
            refuse_size(shown, source.size())
        content: bytes = source.readall()
    return content
