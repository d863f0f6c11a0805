"""The untrained control: an encoder with the same interface, initialised as by Keras, independent of the training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from model_testing import resolved

from seqembed.data.errors import BundleError
from seqembed.data.sequences import SequenceBlock
from seqembed.exporter.bundle import assemble
from seqembed.exporter.keras.libraries import keras
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.bundle.seal import sealed
from seqembed.runner.evaluate.untrained import UnknownWeightsError, untrained_bundle
from seqembed.trainer.model.encoder import build_encoder
from seqembed_testing import Tiny

ARCHITECTURES = [
    {"cell": "lstm", "layers": 2, "bidirectional": True, "pooling": "concat"},
    {"cell": "gru", "layers": 1, "bidirectional": False, "pooling": "last"},
]


def numbers(bundle: bytes) -> dict[str, np.ndarray]:
    """Return the constants of recurrent nodes and kernels, by node and input."""
    graph = onnx.load_from_string(bundle).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {
        f"{node.op_type} {index} {slot}": constants[name]
        for index, node in enumerate(graph.node)
        for slot, name in enumerate(node.input)
        if name in constants and node.op_type in ("LSTM", "GRU", "MatMul", "Add")
    }


def bag(found: dict[str, np.ndarray]) -> list[tuple[str, str, bytes]]:
    """Return operator, input and bytes of each constant, in an order independent of that of the nodes."""
    return sorted((name.split()[0], name.split()[2], array.tobytes()) for name, array in found.items())


def bundle_of(exported: Any) -> bytes:
    return assemble(exported.graph, exported.contract)


@pytest.mark.parametrize("options", ARCHITECTURES, ids=lambda options: "-".join(map(str, options.values())))
def test_the_result_does_not_depend_on_the_training(
    options: dict, encoder_of: Callable, randomise: Callable, exported: Callable, rows: SequenceBlock
) -> None:
    model = encoder_of(**options)
    trained = bundle_of(exported(model))
    randomise(model, seed=1, scale=3.0)
    otherwise = bundle_of(exported(model))
    assert trained != otherwise
    # Sorted, since two conversions may write independent nodes in different orders.
    one, other = (bag(numbers(untrained_bundle(bundle, seed=5))) for bundle in (trained, otherwise))
    assert one == other and bag(numbers(trained)) != bag(numbers(otherwise))
    values = np.nan_to_num(rows.values[:12])[None]
    lengths = np.array([12], np.int32)
    found = [
        Encoder.from_bytes(bundle, source="x").embed(values, lengths)
        for bundle in (
            trained,
            untrained_bundle(trained, 5),
            untrained_bundle(otherwise, 5),
            untrained_bundle(trained, 6),
        )
    ]
    np.testing.assert_array_equal(found[1], found[2])
    assert np.abs(found[1] - found[0]).max() > 1e-2
    assert np.abs(found[1] - found[3]).max() > 1e-2


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weights_are_initialised_as_by_keras(cell: str, profile: Any, exported: Callable) -> None:
    fresh = bundle_of(
        exported(build_encoder(resolved(cell=cell, units=48, embedding_dim=40, channels="values"), profile))
    )
    expected, found = numbers(fresh), numbers(untrained_bundle(fresh, seed=0))
    node = cell.upper()
    (index,) = {name.split()[1] for name in expected if name.startswith(node)}
    kernel, recurrent, bias = (found[f"{node} {index} {slot}"] for slot in (1, 2, 3))
    np.testing.assert_array_equal(bias, expected[f"{node} {index} 3"])  # the forget gate's 1 in its index
    assert (bias == 1).any() == (cell == "lstm")
    for direction in recurrent:
        np.testing.assert_allclose(direction.T @ direction, np.eye(48), atol=1e-5)
    assert np.abs(kernel).max() <= np.abs(expected[f"{node} {index} 1"]).max() * 1.02
    for name, array in found.items():
        assert array.dtype == np.float32
        assert array.shape == expected[name].shape
        assert array.std() == pytest.approx(expected[name].std(), rel=0.1, abs=1e-6), name


def test_a_model_made_elsewhere_keeps_its_standardisation_and_loses_its_normalisation_layers(
    exported: Callable, randomise: Callable
) -> None:
    def build(seed: int) -> bytes:
        keras.utils.set_random_seed(seed)
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((None, 3)),
                layers.Normalization(mean=[0.0, 5.0, -40.0], variance=[1.0, 4.0, 900.0]),
                layers.Dense(6, activation="relu"),
                layers.LayerNormalization(),
                layers.LSTM(5, return_sequences=True, use_bias=False),
                layers.GRU(4),
                layers.BatchNormalization(),
                layers.Dense(3, activation="tanh"),
            ]
        )
        return bundle_of(exported(randomise(model, seed=seed)))

    one, other = (floats(untrained_bundle(build(seed), seed=2)) for seed in (0, 1))
    assert any(array.size == 3 and np.allclose(array.ravel(), [0, 5, -40]) for array in one)
    for array, untrained in zip(one, other, strict=True):
        np.testing.assert_array_equal(array, untrained)


def floats(bundle: bytes) -> list[np.ndarray]:
    """Return the non-integer constants of a graph, in the order of use."""
    graph = onnx.load_from_string(bundle).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    used = [constants[name] for node in graph.node for name in node.input if name in constants]
    return [array for array in used if array.dtype == np.float32]


def test_a_layer_without_bias_stays_without(exported: Callable) -> None:
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4, use_bias=False)])
    found = numbers(untrained_bundle(bundle_of(exported(model)), seed=0))
    (bias,) = [array for name, array in found.items() if name.startswith("LSTM") and name.endswith(" 3")]
    assert not bias.any()


def test_equal_constants_of_two_nodes_are_initialised_separately(tiny: Tiny) -> None:
    model = onnx.load(tiny.bundle)
    index = max(index for index, node in enumerate(model.graph.node) if node.op_type == "MatMul")  # the dense layer
    kernel = model.graph.node[index].input[1]
    shape = onnx.numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == kernel)).shape
    # A second node that reads the same kernel, without effect on the result.
    second = onnx.helper.make_node("MatMul", [model.graph.node[index].input[0], kernel], ["second"])
    model.graph.node.insert(index + 1, second)
    graph = onnx.load_from_string(untrained_bundle(model.SerializeToString(), seed=0)).graph
    drawn = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    first, second = [drawn[node.input[1]] for node in graph.node[index : index + 2]]
    assert first.shape == second.shape == shape
    assert not np.array_equal(first, second)
    assert kernel not in drawn


def test_tables_of_categories_are_initialised_as_by_the_trainer() -> None:
    random = np.random.default_rng(0)
    constants = {
        "table": random.normal(3, 9, size=(400, 16)).astype(np.float32),
        "kernel": random.normal(3, 9, size=(16, 4)).astype(np.float32),
        "moments": np.array([7.0, 8.0], np.float32),  # picked from a list, not looked up in a table
        "first": np.array(0, np.int64),
    }
    make = onnx.helper.make_node
    nodes = [
        make("Gather", ["moments", "first"], ["mean"]),
        make("Gather", ["table", "categories"], ["looked_up"]),
        make("Sub", ["looked_up", "mean"], ["centred"]),
        make("MatMul", ["centred", "kernel"], ["embedding"]),
    ]
    ids = onnx.helper.make_tensor_value_info("categories", onnx.TensorProto.INT32, ["batch", "time"])
    out = onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["batch", "time", 4])
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = onnx.helper.make_graph(nodes, "looks-up", [ids], [out], initializers)
    bundle = sealed(onnx.helper.make_model(graph), "{}")
    (mean, table, kernel), (_, other, _) = (floats(untrained_bundle(bundle, seed)) for seed in (0, 1))
    np.testing.assert_array_equal(mean, constants["moments"])
    assert table.shape == (400, 16)
    assert table.std() == pytest.approx(0.5, rel=0.05)
    assert table.mean() == pytest.approx(0, abs=0.03)
    assert not np.array_equal(table, other)
    assert np.abs(kernel).max() < 1


def test_weights_of_an_unknown_kind_are_refused(tiny: Tiny) -> None:
    model = onnx.load(tiny.bundle)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(6, np.float32), "slopes"))
    (output,) = [node for node in model.graph.node if "embedding" in node.output]
    output.output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("PRelu", ["before", "slopes"], ["embedding"]))
    with pytest.raises(UnknownWeightsError, match="PRelu"):
        untrained_bundle(model.SerializeToString(), seed=0)


def test_an_untrained_bundle_cannot_be_deployed(tiny: Tiny) -> None:
    untrained = Encoder.from_bytes(untrained_bundle(tiny.bundle.read_bytes(), seed=0), source="untrained")
    with pytest.raises(BundleError, match="golden"):
        untrained.replay_golden()
