"""Sample, train, export and run on the recorded data by the commands: every vector equals Keras."""

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest

from seqembed.runner.demo import nearest_neighbour_accuracy
from seqembed_testing import done

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sample, train, export, run."""
    root = tmp_path_factory.mktemp("job")
    done("sample", "japanese-vowels", "--out", root / "data")
    options = ["--epochs", 2, "--units", 16, "--embedding-dim", 12, "--label", "speaker", "--progress", "none"]
    done("train", root / "data" / "train.parquet", "--out", root / "run", *options)
    done("export", root / "run", "--out", root / "encoder.onnx")
    done("run", root / "data", "--model", root / "encoder.onnx", "--out", root / "vectors", "--keep", "speaker")
    return root


def recordings(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read ids, padded values and lengths without seqembed."""
    rows = pq.read_table(path).to_pylist()
    names = [f"c{index:02}" for index in range(1, 13)]
    lengths = np.array([len(row["c01"]) for row in rows], np.int32)
    values = np.zeros((len(rows), lengths.max(), 12), np.float32)
    for index, row in enumerate(rows):
        values[index, : lengths[index]] = np.array([row[name] for name in names], np.float32).T
    return [row["id"] for row in rows], values, lengths


def vectors(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read ids, embeddings and speakers of a part."""
    table = pq.read_table(path)
    return table["id"].to_pylist(), np.array(table["embedding"].to_pylist(), np.float32), np.array(table["speaker"])


@pytest.mark.parametrize(("part", "num_rows"), [("train.parquet", 270), ("test.parquet", 370)])
def test_the_vectors_equal_keras(job: Path, part: str, num_rows: int) -> None:
    import keras

    ids, values, lengths = recordings(job / "data" / part)
    encoder = keras.models.load_model(job / "run" / "encoder.keras")  # stock Keras, without custom classes
    expected = np.asarray(encoder({"values": values, "lengths": lengths}))
    found_ids, found, _ = vectors(job / "vectors" / part)
    assert found_ids == ids
    assert found.shape == (num_rows, 12)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_the_vectors_distinguish_speakers(job: Path) -> None:
    _, train, train_speakers = vectors(job / "vectors" / "train.parquet")
    _, test, test_speakers = vectors(job / "vectors" / "test.parquet")
    assert nearest_neighbour_accuracy(train, train_speakers, test, test_speakers) > 0.8
    shuffled = np.random.default_rng(0).permutation(train_speakers)
    assert nearest_neighbour_accuracy(train, shuffled, test, test_speakers) < 0.4


def test_the_handbook_embeds_without_seqembed(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (ROOT / "exporter" / "README.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "InferenceSession" in block]
    monkeypatch.chdir(job)
    exec(compile(code, "exporter/README.md", "exec"), {})
    assert "(1, 12)" in capsys.readouterr().out


def test_the_file_needs_nothing_else(job: Path) -> None:
    session = onnxruntime.InferenceSession((job / "encoder.onnx").read_bytes())
    assert [node.name for node in session.get_inputs()] == ["values", "lengths"]
    assert [node.name for node in session.get_outputs()] == ["embedding"]


def test_the_run_directory_is_as_documented(job: Path) -> None:
    names = {path.relative_to(job / "run").as_posix() for path in (job / "run").rglob("*") if path.is_file()}
    expected = {"encoder.keras", "decoder.keras", "autoencoder.keras", "config.toml", "history.json", "contract.json"}
    plots = {f"plots/{name}.png" for name in ("losses", "model", "reconstructions", "embeddings")}
    assert expected | plots <= names
