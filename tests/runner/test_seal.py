"""An edited bundle is refused before anything runs, even if its golden sequences replay."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from seqembed.data.contract import CONTRACT_KEY, ModelContract
from seqembed.data.errors import BundleError
from seqembed.runner.bundle.encoder import Encoder
from seqembed_testing import Tiny, contract_of, resealed, seqembed


def swap_features(contract: dict[str, Any]) -> None:
    contract["schema"]["features"].reverse()


def rename_id(contract: dict[str, Any]) -> None:
    contract["schema"]["id"] = "label"


def cut_lengths(contract: dict[str, Any]) -> None:
    contract["length_policy"]["max_length"] = 1


def allow_more(contract: dict[str, Any]) -> None:
    contract["parity"]["tolerance"] = 1e-3


def claim_int8(contract: dict[str, Any]) -> None:
    contract["precision"] = "int8"


def forget_golden(contract: dict[str, Any]) -> None:
    del contract["golden"][1:]


def another_batch_size(contract: dict[str, Any]) -> None:
    contract["batch_size"] += 1


def add_a_field(contract: dict[str, Any]) -> None:
    contract["note"] = "checked by hand"


def another_digest(contract: dict[str, Any]) -> None:
    contract["digest"] = "0" * 64


EDITS = [
    swap_features,
    rename_id,
    cut_lengths,
    allow_more,
    claim_int8,
    forget_golden,
    another_batch_size,
    add_a_field,
    another_digest,
]


def edited(bundle: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write a copy of a bundle with another contract and the old digest."""
    model = onnx.load(bundle)
    contract = contract_of(model)
    change(contract)
    (entry,) = [entry for entry in model.metadata_props if entry.key == CONTRACT_KEY]
    entry.value = json.dumps(contract)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("change", EDITS, ids=lambda change: change.__name__)
def test_an_edited_contract_is_refused(tiny: Tiny, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    model = edited(tiny.bundle, tmp_path / "m.onnx", change)
    result = seqembed("run", tiny.data, "--model", model, "--out", tmp_path / "out")
    assert result.exit_code == 4, result.output
    assert f"{model}: the contract or the graph was changed after the export" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["inspect", "evaluate"])
def test_every_command_refuses_it(tiny: Tiny, tmp_path: Path, command: str) -> None:
    model = edited(tiny.bundle, tmp_path / "m.onnx", swap_features)
    splits = ["--train", tiny.data, "--test", tiny.data, "--label", "label"]
    words = [model] if command == "inspect" else ["--model", model, *splits]
    result = seqembed(command, *words)
    assert result.exit_code == 4, result.output
    assert "was changed after the export" in result.output


def test_an_edited_graph_is_refused(tiny: Tiny) -> None:
    """A bias changes the golden sequences by less than the tolerance."""
    model = onnx.load(tiny.bundle)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("/B"))
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[0] += np.float32(1e-7)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    with pytest.raises(BundleError, match="was changed after the export"):
        Encoder.from_bytes(model.SerializeToString(), source="memory")
    assert Encoder.from_bytes(resealed(model), source="memory").replay_golden() <= 1e-5
    model = onnx.load(tiny.bundle)
    model.opset_import[0].version += 1
    with pytest.raises(BundleError, match="was changed after the export"):
        Encoder.from_bytes(model.SerializeToString(), source="memory")


@pytest.mark.parametrize("version", [1, 2])
def test_a_bundle_without_a_digest_must_be_exported_again(tiny: Tiny, tmp_path: Path, version: int) -> None:
    def older(contract: dict[str, Any]) -> None:
        contract["format_version"] = version
        del contract["digest"]

    result = seqembed("inspect", edited(tiny.bundle, tmp_path / "m.onnx", older))
    assert result.exit_code == 4, result.output
    assert f"format {version} and no digest; expected format 2 with a digest" in result.output
    assert "Export the model again" in result.output


def test_a_run_directory_without_digest_is_still_exported(tiny: Tiny) -> None:
    text = (tiny.run / "contract.json").read_text()
    assert "digest" not in json.loads(text)
    older = json.dumps(json.loads(text) | {"format_version": 1})
    assert ModelContract.from_json(older, "run").to_json() == text.strip()


def test_the_digest_is_as_documented(tiny: Tiny) -> None:
    """The digest is computed with the protobuf library, without code of seqembed."""
    model = onnx.load(tiny.bundle)
    contract = contract_of(model)
    digest = contract.pop("digest")
    found = hashlib.sha256(json.dumps(contract, sort_keys=True, separators=(",", ":")).encode())
    for number, part in [(7, model.graph), *((8, opset) for opset in model.opset_import)]:
        content = part.SerializeToString()
        found.update(bytes([number]) + len(content).to_bytes(8, "little") + content)
    assert found.hexdigest() == digest
