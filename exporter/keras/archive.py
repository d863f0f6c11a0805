"""Check a ``.keras`` file before Keras reads it: untrusted input, possibly damaged, of another kind, or a zip bomb."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

from seqembed.data.errors import BundleError

_MAX_CONFIG_BYTES = 64 << 20
# Keras does not compress its archives, and compression shrinks float32 weights by only a tenth. A higher ratio means
# almost nothing but zeros.
_MAX_RATIO = 20
_MIN_LIMIT = 64 << 20  # unpacked bytes allowed for any archive, however small
_UNREADABLE = (OSError, KeyError, ValueError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile)
_SAVE_AGAIN = "Save the model again with model.save('name.keras')."
_HDF5, _PARQUET = b"\x89HDF", b"PAR1"  # the first bytes of a file
_EXPORTED = "export takes a run directory of `seqembed train` or a .keras file of Keras 3."
_FROM_KERAS = "Load it with the Keras that wrote it and save it with model.save('name.keras')."
_PASS_ONE = "Pass one of these."
_OTHER_SUFFIXES = {
    ".onnx": "a model in the ONNX format, as export writes it",
    ".parquet": "Parquet data",
    ".json": "a JSON file",
}


def read_config(path: Path) -> dict[str, Any]:
    """Return the configuration inside a ``.keras`` file.

    Raises:
        BundleError: The file is missing, not a Keras 3 archive, encrypted, damaged, or unpacks to far more than its
            size.
    """
    refuse_other_kinds(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(archive, path)
            with archive.open("config.json") as file:
                config = json.loads(file.read(_MAX_CONFIG_BYTES))
    except FileNotFoundError as error:
        raise BundleError(f"{path}: there is no such file. Pass a run directory or a .keras file.") from error
    except _UNREADABLE as error:  # RuntimeError: encrypted, or nested too deeply
        raise BundleError(
            f"{path}: not a Keras 3 model file ({type(error).__name__}: {error}). {_SAVE_AGAIN}"
        ) from error
    if not isinstance(config, dict):
        raise BundleError(f"{path}: the configuration in this model file is not a JSON object. {_SAVE_AGAIN}")
    return config


def refuse_other_kinds(path: Path) -> None:
    """Check that a file or directory is not a model of another format, and name the format if it is.

    Raises:
        BundleError: It is a SavedModel, a Keras model in HDF5, or any other file whose name does not end in .keras.
    """
    if (path / "saved_model.pb").exists() or (path / "saved_model.pbtxt").exists():
        raise BundleError(f"{path}: a TensorFlow SavedModel; {_EXPORTED} {_FROM_KERAS}")
    if path.is_file():
        try:
            with open(path, "rb") as file:
                start = file.read(4)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror}). Pass another file.") from error
        if start == _HDF5:
            raise BundleError(f"{path}: a Keras model in the older HDF5 format; {_EXPORTED} {_FROM_KERAS}")
        if start == _PARQUET:
            raise BundleError(f"{path}: Parquet data; {_EXPORTED} {_PASS_ONE}")
        if path.suffix != ".keras":
            kind = _OTHER_SUFFIXES.get(path.suffix.lower(), "the name of the file does not end in .keras")
            raise BundleError(f"{path}: {kind}; {_EXPORTED} {_PASS_ONE}")
    elif path.exists() and not path.is_dir():
        raise BundleError(
            f"{path}: not a file. Pass a run directory or a .keras file."
        )  # reading a pipe might never end


def _refuse_bomb(archive: zipfile.ZipFile, path: Path) -> None:
    # zipfile returns at most the declared size of a member, and verifies its checksum.
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    packed, unpacked = path.stat().st_size, sum(sizes.values())
    if sizes.get("config.json", 0) > _MAX_CONFIG_BYTES:
        name, limit = "config.json", _MAX_CONFIG_BYTES
    else:
        name, limit = max(sizes, key=lambda name: sizes[name], default=""), max(_MIN_LIMIT, _MAX_RATIO * packed)
        if unpacked <= limit:
            return
    raise BundleError(
        f"{path}: {packed:,} bytes that unpack to {unpacked:,}, {sizes[name]:,} of them in {name!r}; at most {limit:,} "
        f"are read. {_SAVE_AGAIN}"
    )
