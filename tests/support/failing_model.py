"""A model that fails on some rows, for tests of vectors that are not finite."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from seqembed_testing import resealed

LENGTH = 21  # no golden sequence has this length, so they replay


def failing(bundle: Path, path: Path, value: float) -> Path:
    """Write a copy of a bundle that returns `value` for sequences of `LENGTH` steps."""
    model = onnx.load(bundle)
    graph = model.graph
    last = next(node for node in graph.node if "embedding" in node.output)
    last.output[list(last.output).index("embedding")] = "sound"
    for name, array in {
        "bad_length": np.array([[LENGTH]], np.int32),
        "bad_value": np.array([[value]], np.float32),
        "bad_axis": np.array([1], np.int64),
    }.items():
        graph.initializer.append(numpy_helper.from_array(array, name))
    graph.node.extend(
        [
            helper.make_node("Unsqueeze", ["lengths", "bad_axis"], ["lengths_column"]),
            helper.make_node("Equal", ["lengths_column", "bad_length"], ["is_bad"]),
            helper.make_node("Where", ["is_bad", "bad_value", "sound"], ["embedding"]),
        ]
    )
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    path.write_bytes(resealed(model))
    return path
