"""Simplified graphs compute the same numbers with fewer nodes."""

from collections import Counter
from typing import Any

import numpy as np
import onnxruntime
import pytest

from seqembed.exporter.keras.libraries import onnx
from seqembed.exporter.onnx.simplify import simplify

MEAN, SCALE = np.float32([3.0, -1.0, 0.5]), np.float32([0.1, 7.0, 1.0])


def graph_of(nodes: list[tuple[str, list[str], str]], held: dict[str, Any]) -> Any:
    """Return a model from ``values`` (batch, time, 3) to ``result``."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    made = [helper.make_node(operator, inputs, [output], name=output) for operator, inputs, output in nodes]
    tensors = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()]
    takes = helper.make_tensor_value_info("values", kind, ["batch", "time", 3])
    gives = helper.make_tensor_value_info("result", kind, ["batch", "time", 3])
    graph = helper.make_graph(made, "graph", [takes], [gives], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def result_of(model: Any, values: np.ndarray) -> np.ndarray:
    (result,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"values": values})
    return result


def operators(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


STANDARDISED = [
    ("Mul", ["values", "one"], "a"),
    ("Sub", ["a", "mean"], "b"),
    ("Mul", ["b", "scale"], "c"),
    ("Add", ["c", "zero"], "d"),
    ("Tanh", ["d"], "result"),
]
HELD = {"one": np.float32(1), "zero": np.float32(0), "mean": MEAN, "scale": SCALE}


@pytest.mark.parametrize(("batch", "time"), [(1, 1), (1, 9), (7, 1), (5, 4)])
def test_results_are_equal_to_the_last_bit(batch: int, time: int) -> None:
    values = np.random.default_rng(0).normal(size=(batch, time, 3)).astype(np.float32)
    values[0, 0, 1] = np.nan
    model = graph_of(STANDARDISED, HELD)
    before = result_of(model, values)
    simplify(model)
    onnx.checker.check_model(model, full_check=True)
    assert operators(model) == {"Shape": 1, "Slice": 1, "Expand": 2, "Sub": 1, "Mul": 1, "Tanh": 1}
    np.testing.assert_array_equal(result_of(model, values), before)


def test_bounds_become_one_clip_that_propagates_nan() -> None:
    nodes = [("Min", ["values", "high"], "low_enough"), ("Max", ["low_enough", "low"], "result")]
    model = graph_of(nodes, {"high": np.float32(2), "low": np.float32(-1)})
    simplify(model)
    onnx.checker.check_model(model, full_check=True)
    assert operators(model) == {"Clip": 1}
    values = np.float32([[[5, -5, np.nan], [1, np.inf, -np.inf]]])
    np.testing.assert_array_equal(result_of(model, values), np.clip(values, -1, 2))


@pytest.mark.parametrize(
    "nodes",
    [
        [("Min", ["values", "mean"], "a"), ("Max", ["a", "zero"], "result")],
        [("Min", ["values", "one"], "a"), ("Max", ["a", "zero"], "b"), ("Add", ["a", "b"], "result")],
        [("Min", ["values", "values"], "a"), ("Max", ["a", "zero"], "result")],
    ],
)
def test_other_bounds_are_unchanged(nodes: list[tuple[str, list[str], str]]) -> None:
    model = graph_of(nodes, HELD)
    values = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    before = result_of(model, values)
    simplify(model)
    assert operators(model)["Clip"] == 0
    np.testing.assert_array_equal(result_of(model, values), before)


def test_a_negated_choice_is_swapped() -> None:
    nodes = [("IsNaN", ["values"], "a"), ("Not", ["a"], "b"), ("Where", ["b", "values", "zero"], "result")]
    model = graph_of(nodes, HELD)
    simplify(model)
    assert operators(model) == {"IsNaN": 1, "Where": 1}
    values = np.float32([[[5, -5, np.nan]]])
    np.testing.assert_array_equal(result_of(model, values), np.nan_to_num(values))


def test_a_neutral_array_that_broadcasts_is_kept() -> None:
    model = graph_of([("Mul", ["one", "values"], "result")], {"one": np.ones((2, 1, 1), np.float32)})
    simplify(model)
    assert operators(model) == {"Mul": 1}
    assert result_of(model, np.zeros((1, 4, 3), np.float32)).shape == (2, 4, 3)


def test_a_neutral_node_that_computes_the_result_is_kept() -> None:
    model = graph_of([("Add", ["values", "zero"], "result")], {"zero": np.float32(0)})
    simplify(model)
    assert operators(model) == {"Add": 1}


def test_a_constant_combined_with_other_tensors_is_unchanged() -> None:
    nodes = [("ReduceSum", ["values", "axis"], "sum"), ("Mul", ["sum", "scale"], "result")]
    model = graph_of(nodes, {"axis": np.int64([1]), "scale": SCALE})
    simplify(model)
    assert operators(model) == {"ReduceSum": 1, "Mul": 1}


BIASED = [
    ("Unsqueeze", ["values", "second"], "over_two"),
    ("Transpose", ["over_two"], "channels_first"),
    ("Conv", ["channels_first", "kernels"], "convolved"),
    ("Squeeze", ["convolved", "third"], "over_one"),
    ("Add", ["over_one", "bias"], "biased"),
    ("Min", ["biased", "high"], "low_enough"),
    ("Max", ["low_enough", "low"], "clipped"),
    ("Transpose", ["clipped"], "result"),
]


@pytest.mark.parametrize("bias", [(1, 3, 1), (3, 1), (1, 1, 1)])
def test_a_convolution_over_time_is_written_as_such(bias: tuple[int, ...]) -> None:
    """With a bias per kernel; what adds one number to all stays as it is."""
    random = np.random.default_rng(0)
    held = {
        "second": np.array([1]),
        "third": np.array([2]),
        "kernels": random.normal(size=(3, 3, 1, 9)).astype(np.float32),
        "bias": random.normal(size=bias).astype(np.float32),
        "low": np.zeros((1, 1, 1), np.float32),
        "high": np.ones((1, 1, 1), np.float32),
    }
    model = graph_of(BIASED, held)
    attributes = {"channels_first": {"perm": [0, 3, 1, 2]}, "result": {"perm": [0, 2, 1]}}
    attributes["convolved"] = {"auto_pad": "SAME_UPPER", "kernel_shape": [1, 9]}
    for node in model.graph.node:
        found = attributes.get(node.name, {})
        node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in found.items())
    values = random.normal(size=(2, 20, 3)).astype(np.float32)
    before = result_of(model, values)
    simplify(model)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(result_of(model, values), before, atol=1e-6)
    (conv,) = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(conv.input) == (3 if np.prod(bias) == 3 else 2)
    assert operators(model)["Clip"] == 1
