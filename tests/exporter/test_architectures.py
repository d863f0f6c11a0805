"""Every architecture of the trainer: the structure of the graph, and equality with Keras at every length."""

from collections.abc import Callable
from typing import Any

import pytest

from seqembed.data.profile import SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.bundle import assemble
from seqembed.exporter.checks.parity import measure_parity
from seqembed.exporter.onnx.convert import OPSETS, convert
from seqembed.runner.bundle.encoder import Encoder

TOLERANCE = 1e-5


@pytest.mark.parametrize(
    ("cell", "layers", "bidirectional", "pooling", "activation"),
    [
        # Each cell with each depth and direction; each pooling with two encoders that share no option.
        ("lstm", 1, False, "mean", "tanh"),
        ("lstm", 1, True, "last", "tanh"),
        ("lstm", 2, False, "max", "tanh"),
        ("lstm", 2, True, "concat", "tanh"),
        ("gru", 1, False, "concat", "tanh"),
        ("gru", 1, True, "max", "tanh"),
        ("gru", 2, False, "last", "tanh"),
        ("gru", 2, True, "mean", "tanh"),
        ("lstm", 1, True, "concat", "relu"),
        ("gru", 2, False, "max", "relu"),
    ],
)
def test_equal_to_keras_with_one_native_node_per_layer(
    encoder_of: Callable[..., Any],
    exported: Callable[..., Any],
    rows: SequenceBlock,
    profile: SequenceProfile,
    cell: str,
    layers: int,
    bidirectional: bool,
    pooling: str,
    activation: str,
) -> None:
    made = exported(
        encoder_of(cell=cell, layers=layers, bidirectional=bidirectional, pooling=pooling, activation=activation)
    )
    parity = measure_parity(made.reference, made.encoder, rows, profile, tolerance=TOLERANCE, seed=1)
    assert parity.max_difference <= TOLERANCE
    assert parity.num_real == rows.num_sequences
    if activation == "tanh":
        assert parity.num_sequences > 150  # 60 rows and nearly 100 random ones
    counts = made.structure.op_counts
    assert counts[cell.upper()] == layers
    assert not {"Loop", "Scan", "If", "LSTM" if cell == "gru" else "GRU"} & set(counts)
    assert made.structure.num_nodes <= 48
    # Stacked layers exchange time-major steps: one transpose at the input, and one at the output if steps are pooled.
    assert counts["Transpose"] == (1 if pooling == "last" else 2) + (layers - 1)


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset(plain: Any, rows: SequenceBlock, profile: SequenceProfile, opset: int) -> None:
    graph = convert(plain.model, opset).graph
    assert graph.opset_import[0].version == opset
    encoder = Encoder.from_bytes(assemble(graph, plain.contract), source="model")
    assert measure_parity(plain.reference, encoder, rows, profile, tolerance=TOLERANCE, seed=1)


def test_the_model_is_unchanged(plain: Any) -> None:
    assert not [layer.name for layer in plain.model.keras_model.layers if "call" in vars(layer)]
