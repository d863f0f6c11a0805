"""Functional models with regularizers, constants and operations: exported correctly, or refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqembed.data.errors import BundleError
from seqembed.data.profile import SequenceProfile
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.checks.parity import measure_parity
from seqembed.exporter.keras.libraries import keras
from seqembed.exporter.keras.model import load_encoder

layers, ops = keras.layers, keras.ops


def functional(function: Callable[[Any], Any]) -> Any:
    values = keras.Input((None, 3))
    return keras.Model(values, function(values))


def ones(*shape: int) -> Any:
    return ops.convert_to_tensor(np.linspace(0.5, 1.5, int(np.prod(shape))).reshape(shape).astype("float32"))


def inside_a_model(values: Any) -> Any:
    inner = keras.Input((4,))
    return keras.Model(inner, inner * ones(4))(layers.LSTM(4)(values))


def regularized(values: Any) -> Any:
    outputs = [
        layers.LSTM(4, activity_regularizer="l1")(values),
        layers.Dense(3, activity_regularizer="l2")(layers.GRU(4, activity_regularizer="l1")(values)),
        layers.Bidirectional(layers.LSTM(4, activity_regularizer="l1"))(values),
    ]
    return layers.Concatenate()(outputs)


def with_constants(values: Any) -> Any:
    """Use a constant in each operation, side by side, so that none can hide a wrong number of another."""
    read, other = layers.LSTM(4)(values), layers.GRU(4)(values)
    outputs = [
        read + ones(1, 4),
        ops.einsum("bi,ij->bj", read, ones(4, 5)),
        layers.LSTM(4)(ops.matmul(values, ones(3, 3))),
        ops.max(ops.stack([read * ones(4), other - ones(1)]), axis=0),
        layers.LSTM(4)(ops.where(values > 0, ones(3), values)),
        inside_a_model(values),
        read * np.full(4, 2.0, "float32"),
    ]
    return layers.Concatenate()(outputs)


RIGHT = {
    "regularizers of outputs": lambda: functional(regularized),
    "constants": lambda: functional(with_constants),
    "a constant of 4,000 numbers": lambda: functional(lambda x: ops.matmul(layers.LSTM(40)(x), ones(40, 100))),
}


@pytest.mark.parametrize("name", RIGHT)
def test_equal_to_keras(
    exported: Callable[..., Any],
    randomise: Callable[..., Any],
    rows: SequenceBlock,
    profile: SequenceProfile,
    name: str,
) -> None:
    made = exported(randomise(RIGHT[name]()), from_file=True)
    parity = measure_parity(made.reference, made.encoder, rows, profile, tolerance=1e-5, seed=2)
    assert parity.num_real == rows.num_sequences
    assert [tensor.name for tensor in made.graph.graph.input] == ["values", "lengths"]


def test_regularizers_of_the_model_are_unchanged(exported: Callable[..., Any]) -> None:
    made = exported(functional(layers.LSTM(4, activity_regularizer="l1")))
    model = made.model.keras_model
    assert all(layer.activity_regularizer is not None for layer in model.layers[1:])
    model(np.ones((1, 2, 3), np.float32))
    assert len(model.losses) == 1


def test_a_length_that_keras_fails_on_is_named(
    exported: Callable[..., Any], rows: SequenceBlock, profile: SequenceProfile
) -> None:
    made = exported(functional(lambda x: layers.LSTM(3)(x) + ops.take(x, 1, axis=1)))
    with pytest.raises(BundleError, match="Keras fails on a sequence of 1 step, in '.*[Gg]ather.*keras.ops.pad"):
        measure_parity(made.reference, made.encoder, rows, profile, tolerance=1e-5, seed=1)


@pytest.mark.parametrize(
    ("function", "num_steps"),
    [
        (lambda x: layers.LSTM(4, name="reads")(x[:, 1:] - x[:, :-1]), 31),
        (lambda x: layers.Bidirectional(layers.GRU(4), name="reads")(x[:, ::2]), 16),
        (lambda x: functional(layers.LSTM(4, name="reads"))(x[:, 40:]), 0),
    ],
)
def test_a_layer_that_reads_fewer_steps_is_named(
    exported: Callable[..., Any], function: Callable[[Any], Any], num_steps: int
) -> None:
    model = functional(function)
    message = f"layer 'reads' reads {num_steps} steps of a sequence of 32, expected 32: .*keras.ops.pad"
    with pytest.raises(BundleError, match=message):
        exported(model)


def test_differences_padded_to_the_length_of_the_input(
    exported: Callable[..., Any], rows: SequenceBlock, profile: SequenceProfile
) -> None:
    made = exported(functional(lambda x: layers.LSTM(4)(ops.pad(x[:, 1:] - x[:, :-1], [(0, 0), (1, 0), (0, 0)]))))
    assert measure_parity(made.reference, made.encoder, rows, profile, tolerance=1e-5, seed=1)
    assert "call" not in vars(made.model.keras_model.layers[-1])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: ops.erfinv(layers.LSTM(4)(x)), "tf2onnx could not convert.*Erfinv.*Rebuild it from the layers"),
        (lambda x: ops.svd(ops.expand_dims(layers.LSTM(4)(x), 1))[1], "tf2onnx could not convert.*Svd"),
        (lambda x: ops.cumprod(layers.LSTM(4)(x), axis=-1), "tf2onnx could not convert.*(?s:.*)Cumprod"),
    ],
)
def test_an_operation_without_an_equivalent_is_refused(
    exported: Callable[..., Any], function: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        exported(functional(function))


def within(dtype: str) -> Any:
    inner = keras.Sequential([keras.Input((None, 3)), layers.LSTM(4, name="inside", dtype=dtype)])
    return functional(inner)


@pytest.mark.parametrize(
    ("make", "layer", "dtype"),
    [
        (lambda: functional(layers.LSTM(4, name="wide", dtype="float64")), "wide", "float64"),
        (lambda: functional(layers.LSTM(4, name="mixed", dtype="mixed_float16")), "mixed", "float16"),
        (lambda: within("mixed_bfloat16"), "inside", "bfloat16"),
        (lambda: functional(lambda x: layers.LSTM(4)(ops.cast(x, "float64"))), "cast", "float64"),
    ],
)
def test_another_precision_is_refused_with_the_cast_to_make(
    tmp_path: Path, make: Callable[[], Any], layer: str, dtype: str
) -> None:
    make().save(tmp_path / "model.keras")
    with pytest.raises(BundleError, match=f"layer '{layer}.*' computes in {dtype}; .*astype.'float32'.") as caught:
        load_encoder(tmp_path / "model.keras")
    assert "set_weights" in str(caught.value)
