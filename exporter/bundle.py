"""Write the file that is deployed: an ONNX graph with its contract in the metadata, replaced atomically."""

import os
import platform
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from seqembed.data.contract import CONTRACT_KEY, ModelContract
from seqembed.data.errors import OutputError
from seqembed.exporter.keras.libraries import onnx
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.bundle.seal import sealed

_LIBRARIES = ("seqembed", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy")
_DESCRIPTION = (
    "Sequence encoder made by seqembed. values: float32 (batch, time, features) in raw units, NaN where missing; "
    "lengths: int32 (batch), steps of each sequence; embedding: float32 (batch, embedding_dim). Padding beyond a "
    f"sequence's length has no effect. The metadata entry {CONTRACT_KEY} names the features in order, as JSON."
)
_DESCRIPTION_OF_CATEGORIES = (
    " categories: int32 (batch, time, fields), ids from the vocabularies in that entry; its section 'preprocessing' "
    "describes how ids and time features are computed."
)


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of every library that a bundle depends on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _LIBRARIES}}


def assemble(graph: Any, contract: ModelContract) -> bytes:
    """Return the bytes of a bundle.

    Args:
        graph: ONNX ModelProto; not changed.
        contract: Stored in its metadata, with a digest over contract and graph.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    model.producer_name = "seqembed"
    model.producer_version = metadata.version("seqembed")
    described = contract.schema.categorical or contract.schema.time_zone
    model.doc_string = _DESCRIPTION + (_DESCRIPTION_OF_CATEGORIES if described else "")
    model.graph.name = "encoder"
    del model.metadata_props[:]
    return sealed(model, contract.to_json())


def write_bundle(bundle: bytes, path: Path) -> None:
    """Write a bundle to a temporary file, replay its golden sequences from there, and rename it.

    Missing parent directories are created. On failure the temporary file is removed and an existing file is unchanged.

    Raises:
        OutputError: The file cannot be written.
        BundleError: The written file does not reproduce the golden sequences.
    """
    write_file(bundle, path, "the bundle", lambda temporary: Encoder.open(temporary).replay_golden())


def write_file(content: bytes, path: Path, what: str, check: Callable[[Path], object] | None = None) -> None:
    """Write a file to a temporary name and rename it, so that it is never incomplete.

    Args:
        content: Its bytes.
        path: Where it is written; missing parent directories are created.
        what: What it is, for messages.
        check: Called with the temporary file before it is renamed; if it raises, nothing changes.

    Raises:
        OutputError: The file cannot be written.
    """
    with _output_errors(path, what):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with _output_errors(path, what), open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        with _output_errors(path, what):
            os.replace(temporary, path)
            _sync_directory(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def _output_errors(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot write {what} ({error.strerror}). Choose another --out, or free or unlock this one."
        ) from error


def _sync_directory(directory: Path) -> None:
    """Flush the directory entry, so that the rename survives a power failure."""
    if os.name == "nt":  # Windows cannot open directories
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
