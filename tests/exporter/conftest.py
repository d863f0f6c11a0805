"""Fixtures of the exporter's tests: rows, untrained encoders with random weights, and their export to a session."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_testing import resolved
from quick_graphs import quick_graphs

from seqembed.data.contract import ModelContract, TrainingData
from seqembed.data.layout import RunLayout
from seqembed.data.profile import ProfileAccumulator, SequenceProfile
from seqembed.data.sample_rows import write_sequences
from seqembed.data.schema.schema import CategoricalField, Feature, SequenceSchema
from seqembed.data.sequences import LengthPolicy, SequenceBlock
from seqembed.exporter.bundle import assemble
from seqembed.exporter.checks import parity
from seqembed.exporter.checks.draws import as_block
from seqembed.exporter.checks.reference import KerasReference
from seqembed.exporter.keras.libraries import keras
from seqembed.exporter.keras.model import EncoderModel, as_encoder, load_encoder
from seqembed.exporter.onnx.convert import convert
from seqembed.exporter.onnx.structure import GraphStructure, check_structure
from seqembed.runner.bundle.encoder import Encoder
from seqembed.trainer.model.encoder import build_encoder

NUM_FEATURES = 3
MAX_LENGTH = 12


@pytest.fixture(scope="package", autouse=True)
def quick() -> Iterator[None]:
    """Neither optimise graphs nor copy them."""
    with quick_graphs():
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seed every test, since some random weights of relu cells amplify rounding beyond the tolerance."""
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="package", autouse=True)
def every_row_is_compared() -> Iterator[None]:
    """Compare rows, too, whose outputs rounding would change: Keras embeds all of them once, not three times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KerasReference, "rounding_noise", _no_noise)
        yield


@pytest.fixture(scope="package", autouse=True)
def fewer_rows_are_compared() -> Iterator[None]:
    """Check parity on a third of the sequences, a few steps longer than the longest row at most.

    Every length up to that one is still there eight times, in all four ways of batching. A check on 300 sequences calls
    ONNX Runtime 500 times, and the longest sequence, of 64 steps more, costs two fifths of the time that Keras runs.
    The tests of the check itself (`test_parity.py`) and the complete job use all of them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "_MAX_SEQUENCES", 100)
        patch.setattr(parity, "_STEPS_BEYOND", (1, 8))
        yield


@pytest.fixture
def all_rows_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check parity on as many sequences as an export does, and as long ones."""
    monkeypatch.setattr(parity, "_MAX_SEQUENCES", _MAX_SEQUENCES)
    monkeypatch.setattr(parity, "_STEPS_BEYOND", _STEPS_BEYOND)


@pytest.fixture
def rounding_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out rows whose outputs rounding would change, as an export does."""
    monkeypatch.setattr(KerasReference, "rounding_noise", _ROUNDING_NOISE)


_MAX_SEQUENCES, _STEPS_BEYOND = parity._MAX_SEQUENCES, parity._STEPS_BEYOND
_ROUNDING_NOISE = KerasReference.rounding_noise


def _no_noise(self: KerasReference, block: SequenceBlock, *_: Any) -> Any:
    return {output.name: np.zeros(block.num_sequences, np.float32) for output in self.model.outputs}


@dataclass(frozen=True)
class Exported:
    """A Keras encoder and its export, not yet checked for parity."""

    model: EncoderModel
    reference: KerasReference
    graph: Any
    masked_steps: tuple[np.ndarray, ...]
    structure: GraphStructure
    contract: ModelContract
    encoder: Encoder


@pytest.fixture(scope="session")
def rows() -> SequenceBlock:
    """Sixty sequences of 1 to 12 steps, with missing values, each feature with its own mean and deviation."""
    random = np.random.default_rng(5)
    lengths = random.integers(1, MAX_LENGTH + 1, size=60)
    lengths[:2] = 1, MAX_LENGTH
    values = random.normal(size=(lengths.sum(), NUM_FEATURES)) * [1, 2, 30] + [0, 5, -40]
    values[random.random(values.shape) < 0.05] = np.nan
    return as_block(values.astype(np.float32), lengths)


@pytest.fixture(scope="session")
def profile(rows: SequenceBlock) -> SequenceProfile:
    """Statistics of `rows`."""
    accumulator = ProfileAccumulator(NUM_FEATURES)
    accumulator.update(rows)
    return accumulator.finish()


def contract_for(
    model: EncoderModel, profile: SequenceProfile, fields: tuple[CategoricalField, ...] = ()
) -> ModelContract:
    """Return the contract the trainer would write for `model`."""
    features = tuple(Feature(f"f{i}", f"f{i}") for i in range(model.num_features))
    return ModelContract(
        schema=SequenceSchema("id", features, "nested", categorical=fields),
        length_policy=LengthPolicy(),
        embedding_dim=model.embedding_dim,
        architecture={"cell": "any"},
        training=TrainingData("0" * 64, 1, profile),
        versions={"keras": "0", "trained-with": "1"},
        frame=model.frame,
    )


def randomised(model: Any, seed: int = 0, scale: float = 0.2) -> Any:
    """Add random numbers to all weights, since a zero bias would hide a wrong order of the gates."""
    random = np.random.default_rng(seed)
    model.set_weights(
        [
            weight + (scale * np.abs(random.standard_normal(weight.shape))).astype(np.float32)
            if weight.dtype == np.float32
            else weight
            for weight in model.get_weights()
        ]
    )
    return model


@pytest.fixture(scope="session")
def encoder_of(profile: SequenceProfile) -> Callable[..., Any]:
    """Return a function from options of `ModelConfig` to an untrained Keras encoder as the trainer builds it."""

    def build(**options: Any) -> Any:
        small = {"units": 7, "embedding_dim": 5, "channels": "values", "normalization": "dataset", **options}
        small.setdefault("objective", "reconstruct")  # whose embedding_dim is a dense layer
        return randomised(build_encoder(resolved(**small), profile))

    return build


@pytest.fixture(scope="session")
def randomise() -> Callable[..., Any]:
    """Return `randomised`."""
    return randomised


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, profile: SequenceProfile) -> Callable[..., Exported]:
    """Return a function that converts a Keras model and opens it in ONNX Runtime.

    Saving the model and loading it, a sixth of the time, is left to tests of files, and to the command.
    """

    def export(
        keras_model: Any,
        opset: int = 17,
        fields: tuple[CategoricalField, ...] = (),
        profile: SequenceProfile = profile,
        frame: int = 1,
        from_file: bool = False,
    ) -> Exported:
        if from_file:
            path = tmp_path_factory.mktemp("model") / "encoder.keras"
            keras_model.save(path)
            loaded = load_encoder(path, frame)
        else:
            loaded = as_encoder(keras_model, "model", frame)
        model = replace(loaded, fill=np.array(profile.mean, np.float32))
        converted = convert(model, opset)
        graph = converted.graph
        structure = check_structure(
            graph,
            num_features=model.num_features,
            outputs=model.outputs,
            num_recurrent=converted.num_recurrent,
            num_masked=converted.num_masked,
            opset=opset,
            source="model",
            frame=model.frame,
            num_ids=[field.num_ids for field in fields],
        )
        contract = contract_for(model, profile, fields)
        encoder = Encoder.from_bytes(assemble(graph, contract), source="model")
        return Exported(model, KerasReference(model), graph, converted.masked_steps, structure, contract, encoder)

    return export


@pytest.fixture(scope="session")
def plain(encoder_of: Callable[..., Any], exported: Callable[..., Exported]) -> Exported:
    """Return the export of an encoder with the default options; a test that changes the graph changes a copy."""
    keras.utils.set_random_seed(0)
    return exported(encoder_of())


@pytest.fixture(scope="session")
def stacked(encoder_of: Callable[..., Any], exported: Callable[..., Exported]) -> Exported:
    """Return the export of two LSTM layers; a test that changes the graph changes a copy."""
    keras.utils.set_random_seed(0)
    return exported(encoder_of(layers=2))


@pytest.fixture(scope="session")
def write_run(rows: SequenceBlock, profile: SequenceProfile) -> Callable[[Path, Any], RunLayout]:
    """Return a function that writes the run directory of a finished training."""

    def write(root: Path, keras_model: Any, frame: int = 1) -> RunLayout:
        layout = RunLayout(root)
        root.mkdir(parents=True)
        keras_model.save(layout.encoder)
        contract = contract_for(as_encoder(keras_model, "model", frame), profile)
        layout.contract.write_text(contract.to_json(), encoding="utf-8")
        write_sequences(layout.sample, rows, contract.schema)
        return layout

    return write
