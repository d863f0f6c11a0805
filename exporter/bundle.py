"""The file that is deployed: an ONNX graph with its contract inside, published completely or not at all."""

import os
import platform
import secrets
from collections.abc import Iterator
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
    "lengths: int32 (batch), steps of each sequence; embedding: float32 (batch, embedding_dim). What stands beyond a "
    f"sequence's length has no influence. The metadata entry {CONTRACT_KEY} names the features in order, as JSON."
)
_DESCRIPTION_OF_CATEGORIES = (
    " categories: int32 (batch, time, fields), ids by the vocabularies in that entry, whose part 'preprocessing' says "
    "how ids and time features are made."
)


def library_versions() -> dict[str, str]:
    """Return the version of Python and of every library that has a part in a bundle."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _LIBRARIES}}


def assemble(graph: Any, contract: ModelContract) -> bytes:
    """Return the bytes of a bundle.

    Args:
        graph: ONNX ModelProto; not changed.
        contract: Goes into its metadata, sealed with a digest over itself and the graph.
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
    """Write a bundle, test it as it lies on the disk, and publish it by one rename.

    Missing parent directories are made. On any failure nothing is left behind, and an older file stays.

    Raises:
        OutputError: The file cannot be written there.
        BundleError: What was written does not reproduce the golden sequences.
    """
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with _output_errors(path), open(temporary, "xb") as file:
            file.write(bundle)
            file.flush()
            os.fsync(file.fileno())
        Encoder.open(temporary).replay_golden()
        with _output_errors(path):
            os.replace(temporary, path)
            _sync_directory(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot write the bundle ({error.strerror}). Choose another --out, or free or unlock this one."
        ) from error


def _sync_directory(directory: Path) -> None:
    """Make the new name itself survive a power cut."""
    if os.name == "nt":  # a directory cannot be opened there
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
