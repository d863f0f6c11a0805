"""Helpers that edit the nodes and constants of an ONNX graph."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.exporter.keras.libraries import onnx

_ALL_OUTPUTS = ("TopK",)  # operators without optional outputs


def replace_nodes(model: Any, nodes: Sequence[Any]) -> None:
    """Replace the nodes of a graph by `nodes`, in topological order, without those that no output needs.

    Initializers, shapes of inner tensors and operator sets that are no longer used are removed too.
    """
    graph = model.graph
    kept = _live(nodes, {output.name for output in graph.output})
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    del graph.value_info[:]
    domains = {"", *(node.domain for node in kept)}  # tf2onnx also declares unused ones
    opsets = [opset for opset in model.opset_import if opset.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(opsets)


def constants(model: Any) -> dict[str, NDArray[Any]]:
    """Return the initializers of a graph as arrays, by name."""
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def add_constant(model: Any, name: str, array: NDArray[Any]) -> str:
    """Add an array to the initializers of a graph; return its name."""
    model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return name


def _live(nodes: Sequence[Any], results: set[str]) -> list[Any]:
    """Return the nodes that `results` need, in order; unread outputs lose their names, so they are not computed."""
    read = Counter(name for node in nodes for name in node.input)
    read.update(results)
    kept = []
    for node in reversed(nodes):
        outputs = [name if read[name] else "" for name in node.output]
        if not any(outputs):
            read.subtract(node.input)
            continue
        while not outputs[-1]:
            outputs.pop()
        if node.op_type not in _ALL_OUTPUTS:
            del node.output[:]
            node.output.extend(outputs)
        kept.append(node)
    return kept[::-1]


def integers(values: Sequence[int]) -> NDArray[np.int64]:
    """Return axes, shapes or permutations as int64, the type ONNX requires."""
    return np.array(values, dtype=np.int64)
