"""Quantise an fp32 graph to int8: each LSTM node becomes ONNX Runtime's DynamicQuantizeLSTM, the rest stays fp32.

The operator takes int8 weights with a scale, and computes scales for its input and states at each call
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). The nodes are built here rather than
by onnxruntime.quantization, whose result they equal bit for bit, because that works on files, logs, and would add a
second module that imports onnxruntime. Dense layers and lookup tables stay fp32: their cost next to an LSTM is small.

Three measured choices:

* One scale per column of a weight matrix, (directions, 4 * units), although one per direction is allowed. It is no
  slower, and the error of an LSTM-64 falls from 0.016 to 0.007 with the seven-bit weights of the next point.
* Weights within ±64, seven bits. Processors with AVX2 but without VNNI add two products of a byte and a weight in 16
  bits, and saturate ("reduce_range", https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html):
  2 * 255 * 127 overflows, 2 * 255 * 64 does not. So every host computes the same integer sums, and the measurements
  of the export gate are valid everywhere. With a scale per column the eighth bit would reduce the error by only 0.001.
* The input is set to zero beyond the lengths. Its scale is computed over the batch, padding included, so garbage there
  would change the vectors. The mask is applied to (time, batch * features), since over rows of 8 features it takes
  at least twice as long.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.errors import UsageError
from seqembed.exporter.keras.libraries import onnx
from seqembed.exporter.onnx.graph import add_constant, constants, integers, replace_nodes
from seqembed.exporter.onnx.structure import QUANTISED_LSTM, QUANTISED_LSTM_DOMAIN, GraphStructure

_MAX_QUANTISED = 64
# Indices of the inputs of LSTM; DynamicQuantizeLSTM has the same ones and appends its own.
_INPUT, _KERNEL, _RECURRENT_KERNEL, _LENGTHS, _PEEPHOLES = 0, 1, 2, 4, 7
_TIME_BATCH = [0, 2, 1, 3]  # the transpose that `seqembed.exporter.onnx.lower` puts between two recurrent nodes


def refuse_unquantisable(structure: GraphStructure, source: str) -> None:
    """Check that all recurrent nodes of an fp32 graph are LSTM nodes.

    Raises:
        UsageError: One is a GRU, or there are none.
    """
    counts = {operator: structure.op_counts.get(operator, 0) for operator in ("LSTM", "GRU")}
    if counts["GRU"] or not counts["LSTM"]:
        raise UsageError(
            f"{source}: --precision int8 quantises LSTM layers, and this encoder has {counts['LSTM']} LSTM and "
            f"{counts['GRU']} GRU nodes; ONNX Runtime has no quantised GRU. Nothing was written. Export with "
            "--precision fp32, or train with --cell lstm."
        )


def quantise(model: Any) -> Any:
    """Return a copy of an fp32 graph with int8 LSTM nodes.

    Args:
        model: ONNX ModelProto whose LSTM nodes have lengths and constant weights, as built by `lower.py`; not changed.
    """
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    arrays = constants(quantised)
    makers = {output: node for node in quantised.graph.node for output in node.output if output}
    nodes: list[Any] = []
    for node in quantised.graph.node:
        if node.op_type != "LSTM":
            nodes.append(node)
            continue
        if not _is_zero_padded(node.input[_INPUT], makers):
            width = arrays[node.input[_KERNEL]].shape[2]
            nodes += _zero_padding(quantised, node, width)
        nodes.append(_quantised_node(quantised, node, arrays))
    replace_nodes(quantised, nodes)
    quantised.opset_import.append(onnx.helper.make_opsetid(QUANTISED_LSTM_DOMAIN, 1))
    return quantised


def quantised_weights(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise weights for DynamicQuantizeLSTM.

    Args:
        weights: float32 (directions, 4 * units, inputs), in the layout of LSTM.

    Returns:
        int8 (directions, inputs, 4 * units) within ±64, and the scales, float32 (directions, 4 * units).
    """
    columns = np.ascontiguousarray(weights.transpose(0, 2, 1))
    largest = np.abs(columns).max(axis=1)
    scales = np.where(largest > 0, largest / np.float32(_MAX_QUANTISED), np.float32(1)).astype(np.float32)
    integers = np.rint(columns / scales[:, None]).clip(-_MAX_QUANTISED, _MAX_QUANTISED)
    return integers.astype(np.int8), scales


def _quantised_node(model: Any, node: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    inputs = [*node.input, *[""] * (_PEEPHOLES + 1 - len(node.input))]
    for index in (_KERNEL, _RECURRENT_KERNEL):
        name = inputs[index]
        integers, scales = quantised_weights(arrays[name])
        inputs[index] = add_constant(model, f"{name}/int8", integers)
        inputs.append(add_constant(model, f"{name}/scale", scales))
        inputs.append(add_constant(model, f"{name}/zero_point", np.zeros(scales.shape, np.int8)))
    made = onnx.helper.make_node(
        QUANTISED_LSTM, inputs, list(node.output), name=node.name, domain=QUANTISED_LSTM_DOMAIN
    )
    made.attribute.extend(node.attribute)
    return made


def _is_zero_padded(name: str, makers: dict[str, Any]) -> bool:
    """Return whether a tensor is the output of another LSTM, which is already 0 beyond the lengths."""
    for operator in ("Reshape", "Transpose", "LSTM"):
        node = makers.get(name)
        if node is None or node.op_type != operator or name != node.output[0]:
            return False
        if operator == "Transpose" and list(node.attribute[0].ints) != _TIME_BATCH:
            return False
        name = node.input[0]
    return True


def _zero_padding(model: Any, node: Any, width: int) -> list[Any]:
    """Return nodes that set an LSTM's input (time, batch, width) to 0 beyond the lengths, and connect them to it."""
    sequences, lengths, prefix = node.input[_INPUT], node.input[_LENGTHS], f"{node.name}/wiped"
    numbers = {
        "zero": np.int64(0),
        "none": np.int32(0),
        "one": np.int32(1),
        "padding": np.float32(0),
        "axis": integers([1]),
        "width": integers([1, width]),
        "all": integers([-1]),
        "flat": integers([0, -1]),
        "wide": integers([0, -1, width]),
    }
    names = {name: add_constant(model, f"{prefix}/{name}", np.asarray(number)) for name, number in numbers.items()}
    int32 = onnx.TensorProto.INT32
    nodes: list[Any] = []

    def add(operator: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{prefix}/{len(nodes)}"
        nodes.append(onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    time = add("Gather", [add("Shape", [sequences]), names["zero"]])
    steps = add("Range", [names["none"], add("Cast", [time], to=int32), names["one"]])  # (time), from 0
    each = add("Expand", [add("Unsqueeze", [lengths, names["axis"]]), names["width"]])  # (batch, width)
    ends = add("Reshape", [each, names["all"]])  # (batch * width)
    within = add("Less", [add("Unsqueeze", [steps, names["axis"]]), ends])  # (time, batch * width)
    flat = add("Reshape", [sequences, names["flat"]])
    node.input[_INPUT] = add("Reshape", [add("Where", [within, flat, names["padding"]]), names["wide"]])
    return nodes
