"""The parity check must fail for every kind of wrong graph."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqembed.data.errors import QualityGateError
from seqembed.data.profile import SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.bundle import assemble
from seqembed.exporter.checks import parity as module
from seqembed.exporter.checks.draws import as_block
from seqembed.exporter.checks.parity import measure_parity
from seqembed.exporter.checks.reference import KerasReference
from seqembed.exporter.keras.libraries import keras, onnx
from seqembed.exporter.keras.model import as_encoder
from seqembed.runner.bundle.encoder import Encoder

pytestmark = pytest.mark.usefixtures("rounding_counts", "all_rows_are_compared")


def spoil(made: Any, change: Callable[[Any], None]) -> Encoder:
    graph = onnx.ModelProto()
    graph.CopyFrom(made.graph)
    change(graph.graph)
    return Encoder.from_bytes(assemble(graph, made.contract), source="spoiled")


def swap_gates(graph: Any) -> None:
    """Put the gates of the recurrent weights in Keras's order."""
    (tensor,) = [t for t in graph.initializer if t.name.endswith("/R")]
    gates = np.split(onnx.numpy_helper.to_array(tensor), 4, axis=1)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.concatenate([gates[i] for i in (0, 2, 3, 1)], axis=1), tensor.name))


def forget_lengths(graph: Any) -> None:
    (node,) = [node for node in graph.node if node.op_type == "LSTM"]
    node.input[4] = ""


def multiply_by_the_mask(graph: Any) -> None:
    """Replace the first Where as tf2onnx would: NaN * 0 is NaN."""
    index, node = next((i, node) for i, node in enumerate(graph.node) if node.op_type == "Where")
    mask, values, _ = node.input
    cast = onnx.helper.make_node("Cast", [mask], ["as_numbers"], to=onnx.TensorProto.FLOAT)
    product = onnx.helper.make_node("Mul", [values, "as_numbers"], [node.output[0]])
    graph.node.remove(node)
    graph.node.insert(index, product)
    graph.node.insert(index, cast)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_gates, "a bug of the conversion"),
        (forget_lengths, "reads beyond the end of a sequence"),
        (multiply_by_the_mask, "a bug of the conversion"),
    ],
)
def test_a_corrupt_graph_fails_parity(
    plain: Any,
    rows: SequenceBlock,
    profile: SequenceProfile,
    change: Callable[[Any], None],
    message: str,
) -> None:
    with pytest.raises(QualityGateError, match=message) as caught:
        measure_parity(plain.reference, spoil(plain, change), rows, profile, tolerance=1e-5, seed=1)
    assert "Nothing was written" in str(caught.value)


def test_a_tolerance_below_float32_precision_fails(plain: Any, rows: SequenceBlock, profile: SequenceProfile) -> None:
    with pytest.raises(QualityGateError, match=r"allowed 1e-09.*Keras's own output changes by"):
        measure_parity(plain.reference, plain.encoder, rows, profile, tolerance=1e-9, seed=1)


def test_embeddings_that_are_not_finite_fail(
    encoder_of: Callable[..., Any], exported: Callable[..., Any], rows: SequenceBlock, profile: SequenceProfile
) -> None:
    model = encoder_of()
    model.get_layer("embedding").kernel.assign(np.full(model.get_layer("embedding").kernel.shape, np.inf))
    made = exported(model)
    with pytest.raises(QualityGateError, match="NaN or infinite embeddings for 60 of 60 rows"):
        measure_parity(made.reference, made.encoder, rows, profile, tolerance=1e-5, seed=1)


def test_lengths_from_one_to_the_longest_and_some_longer_are_checked(
    plain: Any, rows: SequenceBlock, profile: SequenceProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int, int]] = []
    run = Encoder.run

    def recorded(self: Encoder, values: Any, lengths: Any, categories: Any) -> Any:
        seen.extend((int(length), len(values), values.shape[1]) for length in lengths)
        return run(self, values, lengths, categories)

    monkeypatch.setattr(Encoder, "run", recorded)
    long = replace(profile, length_quantiles=(1, 1, 1, 3, 6, 10, 20, 30, 40))
    parity = measure_parity(plain.reference, plain.encoder, rows, long, tolerance=1e-5, seed=1)
    assert {length for length, _, _ in seen} == {*range(1, 41), 41, 48, 104}  # every one, and some longer
    assert {size for _, size, _ in seen} >= {1, 3, 32}
    assert {time - length for length, size, time in seen if size == 1} >= {0}
    assert min(time - length for length, _, time in seen if time > length) >= 1
    assert parity.num_sequences > parity.num_real == rows.num_sequences


def test_many_long_sequences_stay_within_the_limit(
    plain: Any, profile: SequenceProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_STEPS", 2_500)  # of 25,000, which Keras takes seconds for
    lengths = np.full(400, 25)
    lengths[7], lengths[9] = 2, 40
    values = np.random.default_rng(0).normal(size=(lengths.sum(), 3)).astype(np.float32)
    parity = measure_parity(plain.reference, plain.encoder, as_block(values, lengths), profile, tolerance=1e-5, seed=1)
    assert 90 <= parity.num_real <= 110  # 2,500 steps' worth, the longest and the shortest among them


@pytest.fixture
def steps_of_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the number of steps of each batch for Keras is added."""
    lengths: list[int] = []
    one_batch = KerasReference._one_batch

    def recorded(self: KerasReference, inputs: Any, length: int) -> Any:
        lengths.append(length)
        return one_batch(self, inputs, length)

    monkeypatch.setattr(KerasReference, "_one_batch", recorded)
    return lengths


def test_rounding_noise_in_padded_batches_is_that_of_each_sequence_alone(
    encoder_of: Callable[..., Any], rows: SequenceBlock, steps_of_batches: list[int]
) -> None:
    reference = KerasReference(as_encoder(encoder_of(activation="relu", bidirectional=False), "model"))
    noise = reference.rounding_noise(rows, np.random.default_rng(5))["embedding"]
    assert steps_of_batches == [12] * 3  # once as it is, and twice with other weights
    some = range(0, 60, 5)
    alone = [reference.rounding_noise(rows.slice(row, row + 1), np.random.default_rng(5)) for row in some]
    expected = np.concatenate([one["embedding"] for one in alone])
    assert expected.max() > 1e-7
    np.testing.assert_allclose(noise[some], expected, rtol=0.5, atol=2e-7)


def test_rounding_noise_of_a_model_that_reads_the_padding_is_measured_without(
    rows: SequenceBlock, steps_of_batches: list[int]
) -> None:
    model = as_encoder(keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(2)]), "model")
    reference = KerasReference(replace(model, fill=np.zeros(3, np.float32)))
    reference.rounding_noise(rows, np.random.default_rng(5), reference.run(rows))
    assert steps_of_batches == [*range(1, 13)] * 3


def test_many_exports_in_one_process_warn_of_no_retracing(
    rows: SequenceBlock, caplog: pytest.LogCaptureFixture
) -> None:
    """TensorFlow warns of the fifth function of the same code, though each is traced once."""
    layers = [keras.layers.Dense(2), keras.layers.GlobalMaxPooling1D()]  # whose tracing is cheap
    model = as_encoder(keras.Sequential([keras.Input((None, 3)), *layers]), "model")
    model = replace(model, fill=np.zeros(3, np.float32))
    with caplog.at_level("WARNING", "tensorflow"):
        for _ in range(6):
            KerasReference(model).run(rows.slice(0, 1))
    assert "retracing" not in caplog.text
