"""The structure check, on deliberately corrupted graphs."""

from collections.abc import Callable
from typing import Any

import pytest

from seqembed.data.errors import BundleError
from seqembed.data.outputs import ModelOutput
from seqembed.exporter.keras.libraries import onnx
from seqembed.exporter.onnx.structure import check_structure

helper, TensorProto = onnx.helper, onnx.TensorProto


@pytest.fixture
def graph(stacked: Any) -> Any:
    """Return a valid graph to corrupt."""
    copy = onnx.ModelProto()
    copy.CopyFrom(stacked.graph)
    return copy


def check(model: Any, num_recurrent: int = 2, num_features: int = 3, embedding_dim: int = 5, opset: int = 17) -> Any:
    return check_structure(
        model,
        num_features=num_features,
        outputs=[ModelOutput("embedding", width=embedding_dim)],
        num_recurrent=num_recurrent,
        opset=opset,
        source="model",
    )


def recurrent(model: Any) -> list[Any]:
    return [node for node in model.graph.node if node.op_type == "LSTM"]


def test_a_good_graph_is_described(graph: Any) -> None:
    found = check(graph)
    assert found.op_counts["LSTM"] == found.num_recurrent == 2
    assert found.num_nodes == len(graph.graph.node)
    assert found.opset == 17


def test_a_loop_is_refused(graph: Any) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still_on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("still_on", TensorProto.BOOL, [])],
    )
    graph.graph.node.append(helper.make_node("Loop", ["", ""], [], body=body))
    with pytest.raises(BundleError, match="contains Loop; an encoder must have none"):
        check(graph)


@pytest.mark.parametrize(("found", "expected"), [(2, 1), (2, 3)])
def test_the_number_of_recurrent_nodes_is_that_of_the_layers(graph: Any, found: int, expected: int) -> None:
    with pytest.raises(BundleError, match=f"has {found} LSTM or GRU nodes.*of {expected} recurrent layers"):
        check(graph, num_recurrent=expected)


def test_each_recurrent_node_must_use_the_lengths(graph: Any) -> None:
    recurrent(graph)[1].input[4] = ""
    with pytest.raises(BundleError, match="comes from 'nowhere', expected the graph input 'lengths'"):
        check(graph)


def test_lengths_from_elsewhere_are_refused(graph: Any) -> None:
    graph.graph.node.insert(0, helper.make_node("Abs", ["lengths"], ["other"]))
    recurrent(graph)[0].input[4] = "other"
    with pytest.raises(BundleError, match="comes from 'other'"):
        check(graph)


def test_lengths_may_pass_through_an_identity(graph: Any) -> None:
    graph.graph.node.insert(0, helper.make_node("Identity", ["lengths"], ["same"]))
    recurrent(graph)[0].input[4] = "same"
    assert check(graph).op_counts["Identity"] == 1


def test_operators_outside_standard_onnx_are_refused(graph: Any) -> None:
    graph.graph.node[0].domain = "com.example"
    graph.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(BundleError, match=r"outside standard ONNX: com\.example"):
        check(graph)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_features": 4}, r"values float32 \(batch, time, 4\)"),
        ({"embedding_dim": 6}, r"embedding float32 \(batch, 6\)"),
        ({"opset": 16}, "declares opset 17, expected 16"),
    ],
)
def test_another_interface_is_refused(graph: Any, options: dict[str, int], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        check(graph, **options)


def test_captured_tensors_that_became_inputs_are_refused(graph: Any) -> None:
    graph.graph.input.append(helper.make_tensor_value_info("captured", TensorProto.FLOAT, [3]))
    with pytest.raises(BundleError, match="takes captured float32"):
        check(graph)


def test_an_invalid_graph_is_refused(graph: Any) -> None:
    del recurrent(graph)[0].attribute[:]
    recurrent(graph)[0].attribute.append(helper.make_attribute("hidden_size", "seven"))
    with pytest.raises(BundleError, match="not valid ONNX"):
        check(graph)


def test_the_widest_recurrent_node_is_reported(plain: Any, last: Any) -> None:
    assert plain.structure.recurrent_width == 14  # both ways
    assert last.structure.recurrent_width == 7


@pytest.fixture(scope="module")
def last(encoder_of: Callable[..., Any], exported: Callable[..., Any]) -> Any:
    """Return the export of an encoder that uses no steps but the last."""
    return exported(encoder_of(cell="gru", bidirectional=False, pooling="last"))


def test_an_encoder_without_fields_has_no_nodes_for_the_padding_of_categories(last: Any) -> None:
    assert not {"CumSum", "LessOrEqual", "And", "ReduceSum", "ReduceMax"} & set(last.structure.op_counts)


def test_unused_steps_are_not_computed(last: Any) -> None:
    (node,) = [node for node in last.graph.graph.node if node.op_type == "GRU"]
    assert node.output[0] == ""
    assert len(node.output) == 2
