"""Bundles that are not a model, have no valid contract, or compute other vectors are refused with exit 4."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from seqembed.data.contract import ModelContract
from seqembed.data.errors import BundleError
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.bundle.seal import sealed
from seqembed_testing import Tiny, contract_of, done, seqembed, sequences, write_sequences


def rewrite(tiny: Tiny, path: Path, change: object) -> Path:
    """Write the tiny bundle with a changed contract and a new digest."""
    model = onnx.load(tiny.bundle)
    contract = contract_of(model)
    change(contract)  # type: ignore[operator]
    path.write_bytes(sealed(model, json.dumps(contract)))
    return path


def spoil_golden(value: dict) -> None:
    value["golden"][0]["embedding"][0] += 0.01


def spoil_version(value: dict) -> None:
    value["format_version"] = 99


def spoil_shape(value: dict) -> None:
    value["embedding_dim"] = value["outputs"][0]["width"] = 7


def spoil_outputs(value: dict) -> None:
    value["outputs"][0]["width"] = 7


def drop_features(value: dict) -> None:
    del value["schema"]["features"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil_golden, "golden sequences get other vectors"),
        (spoil_version, "contract format 99"),
        (spoil_shape, "embeddings mean: found 6 numbers, expected 7"),
        (spoil_outputs, "the first output is embedding float32 (batch, 7), expected embedding float32 (batch, 6)"),
        (drop_features, "contract is damaged"),
    ],
)
def test_a_tampered_contract_is_refused_before_anything_is_written(
    tiny: Tiny, tmp_path: Path, change: object, message: str
) -> None:
    model = rewrite(tiny, tmp_path / "m.onnx", change)
    data = write_sequences(tmp_path / "in.parquet", sequences(5, seed=1))
    result = seqembed("run", data, "--model", model, "--out", tmp_path / "out")
    assert result.exit_code == 4, result.output
    assert message in result.output
    assert not (tmp_path / "out").exists()


def test_other_files_are_not_bundles(tiny: Tiny, tmp_path: Path) -> None:
    plain = onnx.load(tiny.bundle)
    del plain.metadata_props[:]
    onnx.save(plain, tmp_path / "plain.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    for name, message in [
        ("plain.onnx", "without a seqembed contract"),
        ("text.onnx", "not a model"),
        ("none.onnx", "cannot read"),
    ]:
        result = seqembed("run", tiny.data, "--model", tmp_path / name, "--out", tmp_path / "out")
        assert (result.exit_code, message in result.output) == (4, True), result.output


def test_golden_sequences_replay_on_this_host(tiny: Tiny) -> None:
    encoder = Encoder.open(tiny.bundle)
    assert len(encoder.contract.golden) >= 3
    assert encoder.replay_golden() <= 1e-5


def test_the_contract_survives_json(tiny: Tiny) -> None:
    contract = Encoder.open(tiny.bundle).contract
    again = ModelContract.from_json(contract.to_json(), "memory")
    assert again.to_json() == contract.to_json()
    for one, other in zip(again.golden, contract.golden, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    with pytest.raises(BundleError, match="memory"):
        ModelContract.from_json("{}", "memory")


def test_a_contract_without_batch_size_is_still_read(tiny: Tiny, tmp_path: Path) -> None:
    def forget(value: dict) -> None:
        value.pop("batch_size")

    model = rewrite(tiny, tmp_path / "older.onnx", forget)
    assert Encoder.open(model).contract.batch_size == 48
    done("run", tiny.data, "--model", model, "--out", tmp_path / "out")


def test_inspect_describes_each_kind_of_path(tiny: Tiny, tmp_path: Path) -> None:
    bundle = done("inspect", tiny.bundle).output
    for words in ("Layout: nested", "id column 'id'", "2 features in this order", "Checked against Keras", "Golden"):
        assert words in bundle
    said = done("inspect", tiny.run).output
    assert "a seqembed run directory" in said
    assert re.search(r"Training: \d+ batches; training loss [\d.]+ \([\d.]+ for a model that learned nothing\)", said)
    done("run", tiny.data, "--model", tiny.bundle, "--out", tmp_path / "out")
    assert "finished parts: 1" in done("inspect", tmp_path / "out").output
    (tmp_path / "empty").mkdir()
    assert seqembed("inspect", tmp_path / "empty").exit_code == 3
    assert seqembed("inspect", tmp_path / "nothing").exit_code == 3
