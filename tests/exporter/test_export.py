"""The command `seqembed export`: what it writes and refuses, and that it leaves nothing behind after an error."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from deltalake import write_deltalake

from seqembed.data.contract import CONTRACT_KEY, ModelContract
from seqembed.data.errors import BundleError, InputError, OutputError
from seqembed.data.layout import RunLayout
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.bundle import write_bundle
from seqembed.exporter.keras.libraries import keras, onnx
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.cli import main
from seqembed_testing import resealed

layers = keras.layers


def seqembed(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, encoder_of: Callable[..., Any], write_run: Callable[..., RunLayout]
) -> RunLayout:
    """Return a finished run directory."""
    return write_run(tmp_path_factory.mktemp("runs") / "run", encoder_of())


@pytest.fixture(scope="module")
def bundle(run: RunLayout, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Return an exported bundle and the output of the command."""
    out = tmp_path_factory.mktemp("out") / "not" / "yet" / "encoder.onnx"
    return out, seqembed("export", run.root, "--out", out)


def test_the_command_prints_a_summary(bundle: tuple[Path, Result]) -> None:
    path, result = bundle
    assert result.exit_code == 0, result.output
    for words in (str(path), "1 LSTM", "opset 17", "60 of them real", "5 sequences", f"--model {path} --out DIR"):
        assert words in result.output
    assert f"card     {path.with_suffix('.md')}" in result.output
    assert names_in(path.parent) == ["encoder.md", "encoder.onnx"]


def test_the_bundle_contains_its_contract(bundle: tuple[Path, Result], run: RunLayout, rows: SequenceBlock) -> None:
    encoder = Encoder.open(bundle[0])
    contract = encoder.contract
    before = ModelContract.from_json(run.contract.read_text(encoding="utf-8"), "run")
    assert (contract.schema, contract.training, contract.embedding_dim) == (
        before.schema,
        before.training,
        before.embedding_dim,
    )
    assert contract.parity is not None
    assert contract.parity.max_difference <= contract.parity.tolerance == 1e-5
    assert contract.embeddings is not None
    assert contract.embeddings.num_sequences == rows.num_sequences
    assert len(contract.golden) == 5
    assert encoder.replay_golden() <= 1e-6
    assert contract.versions["trained-with"] == "1"
    assert contract.versions["keras"] == keras.__version__
    assert {"seqembed", "python", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy"} <= set(contract.versions)


def test_any_onnx_client_can_read_it(bundle: tuple[Path, Result]) -> None:
    model = onnx.load(bundle[0])
    onnx.checker.check_model(model, full_check=True)
    assert [tensor.name for tensor in model.graph.input] == ["values", "lengths"]
    (entry,) = model.metadata_props
    assert entry.key == CONTRACT_KEY
    assert json.loads(entry.value)["format_version"] == 2
    assert model.producer_name == "seqembed"


def test_an_older_bundle_is_kept_if_a_check_fails(bundle: tuple[Path, Result], run: RunLayout, tmp_path: Path) -> None:
    out = Path(shutil.copy(bundle[0], tmp_path / "encoder.onnx"))
    before = out.read_bytes()
    result = seqembed("export", run.root, "--out", out, "--tolerance", "1e-12")
    assert result.exit_code == 5
    assert "Nothing was written" in result.output
    assert out.read_bytes() == before
    assert names_in(tmp_path) == ["encoder.onnx"]


def test_a_bundle_that_does_not_replay_is_not_published(bundle: tuple[Path, Result], tmp_path: Path) -> None:
    model = onnx.load(bundle[0])
    weights = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("/W"))
    array = onnx.numpy_helper.to_array(weights).copy()
    array.flat[0] += 1
    weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
    with pytest.raises(BundleError, match="golden sequences get other vectors"):
        write_bundle(resealed(model), tmp_path / "encoder.onnx")
    assert names_in(tmp_path) == []


def test_a_path_that_cannot_be_written(run: RunLayout, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = seqembed("export", run.root, "--out", tmp_path / "file" / "encoder.onnx")
    assert result.exit_code == OutputError.exit_code
    assert "cannot write the bundle" in result.output


@pytest.mark.parametrize("missing", ["encoder.keras", "contract.json", "sample.parquet"])
def test_a_training_that_did_not_finish(run: RunLayout, tmp_path: Path, missing: str) -> None:
    for path in (run.encoder, run.contract, run.sample):
        if path.name != missing:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "checkpoints").mkdir()
    result = seqembed("export", tmp_path, "--out", tmp_path / "x.onnx")
    assert result.exit_code == BundleError.exit_code
    assert f"lacks {missing}; training did not finish" in result.output.replace("\n", " ")


def test_a_directory_that_is_missing_or_not_a_run(tmp_path: Path) -> None:
    for source, message in ((tmp_path / "none", "no such run directory"), (tmp_path, "it is no run")):
        result = seqembed("export", source, "--out", tmp_path / "x.onnx")
        assert result.exit_code == BundleError.exit_code
        assert message in result.output.replace("\n", " ")


def test_files_of_two_trainings(
    run: RunLayout, tmp_path: Path, encoder_of: Callable[..., Any], write_run: Callable[..., RunLayout]
) -> None:
    other = write_run(tmp_path / "other", encoder_of(embedding_dim=4))
    other.contract.write_bytes(run.contract.read_bytes())
    result = seqembed("export", other.root, "--out", tmp_path / "x.onnx")
    assert result.exit_code == BundleError.exit_code
    assert "returns 4 numbers" in result.output.replace("\n", " ")


@pytest.mark.parametrize("damage", ["encoder.keras", "contract.json", "sample.parquet"])
def test_a_damaged_run(run: RunLayout, tmp_path: Path, damage: str) -> None:
    for path in (run.encoder, run.contract, run.sample):
        (tmp_path / path.name).write_bytes(path.read_bytes() if path.name != damage else path.read_bytes()[:100])
    result = seqembed("export", tmp_path, "--out", tmp_path / "x.onnx")
    assert result.exit_code == BundleError.exit_code
    assert damage in result.output.replace("\n", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--opset", "12"], "--opset must be in 13…18, was 12"),
        (["--opset", "19"], "--opset must be in 13…18, was 19"),
        (["--tolerance", "0"], "--tolerance must be a positive number"),
        (["--tolerance", "nan"], "--tolerance must be a positive number"),
        (["--tolerance", "0.002"], "--tolerance must be a positive number of at most 0.001"),
        (["--data", "x.parquet"], "--data applies to a .keras file"),
        (["--features", "a,b"], "--features applies to a .keras file"),
        (["--version", "0"], "--version applies to a .keras file"),
        (["--version", "-1"], "--version must be 0 or more, was -1"),
    ],
)
def test_options_that_do_not_apply(run: RunLayout, tmp_path: Path, options: list[str], message: str) -> None:
    result = seqembed("export", run.root, "--out", tmp_path / "x.onnx", *options)
    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")
    assert names_in(tmp_path) == []


@pytest.fixture(scope="module")
def external_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model not trained by seqembed."""
    path = tmp_path_factory.mktemp("external_model") / "model.keras"
    model_layers = [
        layers.Masking(),
        layers.GRU(5, reset_after=False, return_sequences=True),
        layers.GlobalAveragePooling1D(),
    ]
    keras.Sequential([keras.Input((None, 2)), *model_layers, layers.Dense(3)]).save(path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return nested rows with features a, b and c; one is empty, one has a missing value."""
    random = np.random.default_rng(0)
    lengths = [0, 1, 9, *random.integers(1, 10, size=40).tolist()]
    columns = {
        name: [random.normal(index, 1 + index, size=length).tolist() for length in lengths]
        for index, name in enumerate("abc")
    }
    columns["a"][2][4] = None
    path = tmp_path_factory.mktemp("data") / "rows.parquet"
    pq.write_table(pa.table({"key": list(range(len(lengths))), **columns}), path)
    return path


@pytest.mark.usefixtures("rounding_counts")
def test_a_model_trained_elsewhere(external_model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "encoder.onnx"
    result = seqembed("export", external_model, "--data", data, "--id", "key", "--features", "c,a", "--out", out)
    assert result.exit_code == 0, result.output
    encoder = Encoder.open(out)
    assert encoder.contract.schema.feature_names == ("c", "a")
    assert encoder.contract.schema.id == "key"
    assert encoder.contract.training.profile.num_empty == 1
    assert encoder.contract.architecture["missing_values"] == "replaced by the mean of the data"
    assert any(np.isnan(golden.values).any() for golden in encoder.contract.golden)
    values = np.random.default_rng(1).normal(size=(1, 4, 2)).astype(np.float32)
    expected = keras.models.load_model(external_model)(values)
    np.testing.assert_allclose(encoder.embed(values, np.array([4], np.int32)), expected, atol=1e-6)


@pytest.mark.usefixtures("rounding_counts")
def test_a_version_of_a_table(external_model: Path, data: Path, tmp_path: Path) -> None:
    rows, table, out = pq.read_table(data), tmp_path / "table", tmp_path / "encoder.onnx"
    write_deltalake(table, rows)
    write_deltalake(table, rows.slice(0, 20), mode="append")
    words = ("export", external_model, "--data", table, "--id", "key", "--features", "a,b", "--out", out)
    for version, num_rows in (([], 63), (["--version", 0], 43)):
        assert seqembed(*words, *version).exit_code == 0
        profile = Encoder.open(out).contract.training.profile
        assert profile.num_sequences + profile.num_empty == num_rows
    assert seqembed(*words, "--version", 7).exit_code == 3
    assert seqembed(*words[:3], data, *words[4:], "--version", 0).exit_code == 2


@pytest.mark.usefixtures("rounding_counts")
def test_a_missing_value_is_the_mean_of_the_data(external_model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "encoder.onnx"
    assert (
        seqembed("export", external_model, "--data", data, "--id", "key", "--features", "a,b", "--out", out).exit_code
        == 0
    )
    encoder = Encoder.open(out)
    values = np.random.default_rng(1).normal(size=(1, 4, 2)).astype(np.float32)
    lengths = np.array([4], np.int32)
    missing = values.copy()
    missing[0, 2, 1] = np.nan
    values[0, 2, 1] = encoder.contract.training.profile.mean[1]
    np.testing.assert_array_equal(encoder.embed(missing, lengths), encoder.embed(values, lengths))


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "--data INPUT.parquet"),
        (["--data", "DATA", "--id", "key"], 4, "takes 2 features per step, --data has 3 (a, b, c)"),
        (["--data", "DATA", "--id", "nope", "--features", "a,b"], 3, "nope"),
        (["--data", "nowhere.parquet", "--features", "a,b"], 3, "nowhere.parquet"),
    ],
)
def test_a_model_trained_elsewhere_needs_its_data(
    external_model: Path, data: Path, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    words = [str(data) if word == "DATA" else word for word in options]
    result = seqembed("export", external_model, "--out", tmp_path / "x.onnx", *words)
    assert result.exit_code == code, result.output
    assert message in result.output.replace("\n", " ")
    assert names_in(tmp_path) == []


def test_a_file_that_is_not_a_model(data: Path, tmp_path: Path) -> None:
    (tmp_path / "old.keras").write_bytes(b"\x89HDF\r\n")
    result = seqembed("export", tmp_path / "old.keras", "--data", data, "--out", tmp_path / "x.onnx")
    assert result.exit_code == BundleError.exit_code
    assert "model.save('name.keras')" in result.output.replace("\n", " ")
    result = seqembed("export", tmp_path / "none.keras", "--data", data, "--out", tmp_path / "x.onnx")
    assert result.exit_code == BundleError.exit_code
    assert "there is no such file" in result.output.replace("\n", " ")


def test_help_needs_no_tensorflow() -> None:
    code = "import sys, seqembed.exporter.command; sys.exit('tensorflow' in sys.modules or 'onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_data_without_a_step(external_model: Path, tmp_path: Path) -> None:
    empty = pa.table({"id": [1, 2], **{name: pa.array([[], None], pa.list_(pa.float32())) for name in "ab"}})
    pq.write_table(empty, tmp_path / "empty.parquet")
    result = seqembed("export", external_model, "--data", tmp_path / "empty.parquet", "--out", tmp_path / "x.onnx")
    assert result.exit_code == InputError.exit_code
    assert "every sequence is empty" in result.output.replace("\n", " ")
