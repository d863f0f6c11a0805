"""Recognise files that are not models by their first bytes, and name the command for them."""

import io
import json
import zipfile

_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
_MAGICS = {
    b"PAR1": "a Parquet file, which is data. `seqembed inspect` shows what is in it",
    b"\x1f\x8b": "a gzip archive. Unpack it",
    b"\x28\xb5\x2f\xfd": "a zstd archive. Unpack it",
    b"\x80": "probably a pickle, which seqembed does not read. Pass a file made by `seqembed export`",
}
_KERAS_MEMBERS = frozenset({"metadata.json", "config.json"})
_CONTRACT_KEYS = frozenset({"format_version", "length_policy", "training"})
_HEAD_BYTES = 1 << 16


def other_kind(content: bytes | memoryview) -> str | None:
    """Return the kind of a file and a remedy, to follow "this is"; None if it is not recognised.

    Args:
        content: The complete file.
    """
    head = bytes(content[:_HEAD_BYTES])
    if not head:
        return "an empty file. Copy it again, or export again"
    if head.startswith(_HDF5):
        return (
            "a model or weights in HDF5 (.h5), not a bundle. Load it with the Keras that wrote it, save it with "
            "model.save('name.keras'), then `seqembed export name.keras --data INPUT --out encoder.onnx`"
        )
    if head.startswith(_ZIP):
        return _archive(content)
    if head.lstrip()[:1] == b"{":
        return _json(content)
    for magic, kind in _MAGICS.items():
        if head.startswith(magic):
            return kind
    return "a text file. Pass a file made by `seqembed export`" if _is_text(head) else None


def _archive(content: bytes | memoryview) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return "a damaged zip archive. Copy it again"
    if _KERAS_MEMBERS <= names:
        return (
            "a Keras model (.keras), not a bundle. Make one with `seqembed export RUN_DIR --out encoder.onnx`, or, "
            "from a model trained elsewhere, with `seqembed export MODEL.keras --data INPUT --out encoder.onnx`"
        )
    return "a zip archive. Unpack it"


def _json(content: bytes | memoryview) -> str | None:
    try:
        value = json.loads(bytes(content))
    except (ValueError, RecursionError):
        return "a text file. Pass a file made by `seqembed export`" if _is_text(bytes(content[:_HEAD_BYTES])) else None
    if isinstance(value, dict) and value.keys() >= _CONTRACT_KEYS:
        return (
            "the contract of a run directory (contract.json). Pass the directory: `seqembed inspect RUN_DIR` describes "
            "it, `seqembed export RUN_DIR --out encoder.onnx` makes a bundle from it"
        )
    return "a JSON file. Pass a file made by `seqembed export`"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()
    return all(character.isprintable() or character.isspace() for character in text)
