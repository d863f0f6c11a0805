"""Model files that are damaged, encrypted, of another format, or unpack to far more than their size."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqembed.data.errors import BundleError
from seqembed.exporter.keras.libraries import keras, tf
from seqembed.exporter.keras.model import load_encoder
from seqembed_testing import Tiny, seqembed

layers = keras.layers
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a valid model file."""
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    keras.Sequential([keras.Input((None, 3)), layers.LSTM(4)]).save(path)
    return path


def rewritten(saved: Path, path: Path, change: Callable[[Members], None]) -> Path:
    """Write a model file again, compressed, with other members."""
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_config(function: Callable[[dict[str, Any]], object]) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        config = json.loads(members["config.json"])
        replaced = function(config)
        members["config.json"] = json.dumps(config if replaced is None else replaced).encode()

    return change


def layer_with(**options: object) -> Callable[[Members], None]:
    return with_config(lambda config: config["config"]["layers"][1]["config"].update(options))


def put(name: str, content: bytes) -> Callable[[Members], None]:
    return lambda members: members.update({name: content})


NONSENSE: dict[str, Callable[[Members], None]] = {
    "no configuration": lambda members: members.pop("config.json"),
    "no json": put("config.json", b"\xff\xfe"),
    "a list": put("config.json", b"[]"),
    "null": put("config.json", b"null"),
    "nested deeply": put("config.json", b"[" * 200_000),
    "no layers": with_config(lambda config: config["config"].pop("layers")),
    "layers of numbers": with_config(lambda config: config["config"].update(layers=[1, 2])),
    "layers without a configuration": with_config(lambda config: config["config"]["layers"][1].pop("config")),
    "a configuration of text": with_config(lambda config: config.update(config="layers")),
    "a class that is a list": with_config(lambda config: config.update(class_name=[])),
    "units of text": layer_with(units="many"),
    "units below 0": layer_with(units=-4),
    "very many units": layer_with(units=1 << 34),
    "an unknown option": layer_with(colour="red"),
    "another number of units": layer_with(units=5),
    "no weights": lambda members: members.pop("model.weights.h5"),
    "weights of text": put("model.weights.h5", b"weights"),
    "weights cut short": lambda members: members.update({"model.weights.h5": members["model.weights.h5"][:3000]}),
    "never built": with_config(lambda config: config["config"]["layers"].pop(0) and config.pop("build_config", None)),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_malformed_archives_are_refused_without_a_traceback(saved: Path, tmp_path: Path, name: str) -> None:
    path = rewritten(saved, tmp_path / "model.keras", NONSENSE[name])
    with pytest.raises(BundleError, match="model.keras: .*(model.save|not a Keras 3 model file|Rebuild)"):
        load_encoder(path)


BOMBS: dict[str, Callable[[Members], None]] = {
    "config.json": put("config.json", b" " * (65 << 20)),
    "model.weights.h5": put("model.weights.h5", bytes(80 << 20)),
    "assets/more": put("assets/more", bytes(80 << 20)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_archive_that_unpacks_to_far_more_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    path = rewritten(saved, tmp_path / "model.keras", BOMBS[name])
    assert path.stat().st_size < 1 << 20
    with pytest.raises(BundleError, match=f"bytes that unpack to .* of them in '{name}'; at most 67,108,864"):
        load_encoder(path)


def test_a_false_size_is_refused(saved: Path, tmp_path: Path) -> None:
    """The directory of the archive declares less than is unpacked."""
    path = rewritten(saved, tmp_path / "model.keras", put("config.json", b" " * (65 << 20)))
    content = path.read_bytes()
    size = (65 << 20).to_bytes(4, "little")
    assert content.count(size) >= 1
    path.write_bytes(content.replace(size, (100).to_bytes(4, "little")))
    with pytest.raises(BundleError, match="not a Keras 3 model file"):
        load_encoder(path)


def test_an_archive_packed_again_is_read(saved: Path, tmp_path: Path) -> None:
    assert load_encoder(rewritten(saved, tmp_path / "model.keras", dict.copy)).embedding_dim == 4


def test_an_encrypted_archive_is_refused(saved: Path, tmp_path: Path) -> None:
    content = bytearray(rewritten(saved, tmp_path / "model.keras", dict.copy).read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = content.find(signature)
        while position >= 0:
            content[position + flags] |= 1
            position = content.find(signature, position + 1)
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(BundleError, match="not a Keras 3 model file .*encrypted"):
        load_encoder(tmp_path / "model.keras")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
def test_a_damaged_archive_is_refused(saved: Path, tmp_path: Path, share: float) -> None:
    content = bytearray(saved.read_bytes())
    (tmp_path / "cut.keras").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BundleError, match="not a Keras 3 model file"):
        load_encoder(tmp_path / "cut.keras")


def hdf5(path: Path) -> Path:
    model = keras.Sequential([keras.Input((None, 2)), layers.LSTM(4)])
    model.save(path / "model.h5")
    return path / "model.h5"


def hdf5_under_another_name(path: Path) -> Path:
    return Path(shutil.move(hdf5(path), path / "model.keras"))


def saved_model(path: Path) -> Path:
    model = keras.Sequential([keras.Input((None, 2)), layers.Dense(4)])
    tf.saved_model.save(model, str(path / "model"))
    return path / "model"


def text(path: Path) -> Path:
    (path / "model.txt").write_text("hello")
    return path / "model.txt"


def json_file(path: Path) -> Path:
    (path / "x.json").write_text("{}")
    return path / "x.json"


def onnx_model(path: Path) -> Path:
    (path / "model.onnx").write_bytes(b"\x08\x08")
    return path / "model.onnx"


def parquet(path: Path) -> Path:
    (path / "data.parquet").write_bytes(b"PAR1\x15\x04PAR1")
    return path / "data.parquet"


def parquet_under_another_name(path: Path) -> Path:
    return Path(shutil.move(parquet(path), path / "model.keras"))


def nothing(path: Path) -> Path:
    return path / "missing.onnx"


def pipe(path: Path) -> Path:
    os.mkfifo(path / "model.keras")
    return path / "model.keras"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (hdf5, "a Keras model in the older HDF5 format; export takes"),
        (hdf5_under_another_name, "a Keras model in the older HDF5 format; export takes"),
        (saved_model, "a TensorFlow SavedModel; export takes"),
        (text, "the name of the file does not end in .keras"),
        (json_file, "a JSON file; export takes"),
        (onnx_model, "a model in the ONNX format, as export writes it; export takes"),
        (parquet, "Parquet data; export takes"),
        (parquet_under_another_name, "Parquet data; export takes"),
        (nothing, "there is no such run directory or .keras file"),
        (pipe, "not a file"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_other_formats_are_named(tiny: Tiny, tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    source = make(tmp_path)
    result = seqembed("export", source, "--data", tiny.data, "--features", "x,y", "--out", tmp_path / "encoder.onnx")
    assert result.exit_code == 4, result.output
    assert f"{source}: {message}" in " ".join(result.output.split())
    assert not (tmp_path / "encoder.onnx").exists()
