"""Numbers keep the batch as their last axis in ONNX Runtime, too, and no Transpose moves two axes at once."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from model_testing import resolved

from seqembed.exporter.keras.libraries import onnx
from seqembed.exporter.onnx.simplify import simplify
from seqembed.trainer.model.encoder import build_encoder
from seqembed.trainer.model.kernels import fit_kernels


@pytest.fixture(scope="module")
def optimised(exported: Any, rows: Any, profile: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The graph of an encoder with both branches, a trajectory and kernels, as ONNX Runtime optimises it."""
    options: dict[str, Any] = {"objective": "contrast", "units": 3, "frame": 2, "overlap": 2}
    model = resolved(**options, normalization="sequence", trajectory=5, kernels=50)
    kernels = fit_kernels(rows, profile, "sequence", 50, median_length=50, seed=0)
    made = exported(build_encoder(model, profile, kernels=kernels), frame=2)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # that the file is for this host only
    settings.optimized_model_filepath = str(tmp_path_factory.mktemp("optimised") / "graph.onnx")
    onnxruntime.InferenceSession(made.graph.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return onnx.load(Path(settings.optimized_model_filepath)).graph


def test_the_normalisation_sums_over_the_first_axis(optimised: Any) -> None:
    """Of (time, features, batch): ONNX Runtime would else move the Transpose behind the sums, which are slower then."""
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in optimised.initializer}
    summed = [held[node.input[1]].tolist() for node in optimised.node if node.op_type == "ReduceSum"]
    assert summed.count([0]) == 3


def test_no_transpose_reverses_three_axes(optimised: Any) -> None:
    orders = [list(node.attribute[0].ints) for node in optimised.node if node.op_type == "Transpose"]
    assert orders and [2, 1, 0] not in orders and [3, 2, 1, 0] not in orders


@pytest.mark.parametrize(("base", "operators"), [("index", {"Gather"}), ("other", {"Less", "Where", "Gather"})])
def test_negative_indices_are_left_to_gather(base: str, operators: set[str]) -> None:
    """Only where the index is the same everywhere."""
    helper, kind = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Less", [base, "zero"], ["negative"]),
        helper.make_node("Add", ["index", "size"], ["wrapped"]),
        helper.make_node("Where", ["negative", "wrapped", "index"], ["chosen"]),
        helper.make_node("Gather", ["values", "chosen"], ["result"]),
    ]
    takes = [
        helper.make_tensor_value_info("values", kind.FLOAT, [4, 1, 1]),
        *(helper.make_tensor_value_info(name, kind.INT32, [3]) for name in ("index", "other")),
    ]
    gives = [helper.make_tensor_value_info("result", kind.FLOAT, [3, 1, 1])]
    held = [onnx.numpy_helper.from_array(np.int32(number), name) for name, number in (("zero", 0), ("size", 4))]
    graph = helper.make_graph(nodes, "graph", takes, gives, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    simplify(model)
    assert operators <= {node.op_type for node in model.graph.node}
    assert ("Where" in {node.op_type for node in model.graph.node}) == ("Where" in operators)
    given = {"values": np.arange(4, dtype=np.float32).reshape(4, 1, 1), "index": np.int32([0, 3, -1])}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {**given, "other": np.int32([0, 3, -1])})
    np.testing.assert_array_equal(result.ravel(), [0, 3, 3])
