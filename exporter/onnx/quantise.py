"""From an fp32 graph to an int8 one: each LSTM node becomes ONNX Runtime's DynamicQuantizeLSTM, all else stays.

The operator takes weights as int8 with a scale, and at each call finds scales for its input and its states by
itself (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). The nodes are built here and not
by onnxruntime.quantization, whose result they equal bit for bit: it works on files, logs, and would be a second file
that names onnxruntime. Dense layers and tables stay fp32: beside an LSTM they cost next to nothing.

Three choices, measured:

* A scale for each column of a weight matrix, (directions, 4 * units) of them, where one per direction would do.
  It is no slower, and the error of an LSTM-64 falls from 0.016 to 0.007 with the weights of the next point.
* Weights in ±64, seven bits. Processors with AVX2 but without VNNI add two products of a byte and a weight in 16 bits,
  and saturate ("reduce_range", https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html):
  2 * 255 * 127 does not fit, 2 * 255 * 64 does. So every host adds up the same integers, and what the gate
  measured at export holds on it. With a scale a column the eighth bit would buy 0.001 of error.
* The input is wiped beyond the lengths. Its scale is taken over the batch, padding included, so garbage there would
  move the vectors. It is laid out as (time, batch * features) for that: a mask over rows of 8 features takes twice
  as long or more.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.errors import UsageError
from seqembed.exporter.keras.libraries import onnx
from seqembed.exporter.onnx.graph import add_constant, constants, integers, put_nodes
from seqembed.exporter.onnx.structure import QUANTISED_LSTM, QUANTISED_LSTM_DOMAIN, GraphStructure

_LARGEST = 64
# Indices of the inputs of LSTM; those up to the first state and behind it are the same in DynamicQuantizeLSTM.
_INPUT, _KERNEL, _RECURRENT_KERNEL, _LENGTHS, _PEEPHOLES = 0, 1, 2, 4, 7
_TIME_BATCH = [0, 2, 1, 3]  # how `seqembed.exporter.onnx.lower` lays out what one recurrent node hands to the next


def refuse_unquantisable(structure: GraphStructure, source: str) -> None:
    """Check that all recurrent nodes of an fp32 graph are LSTM nodes.

    Raises:
        UsageError: One is a GRU, or there is none at all.
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
        model: ONNX ModelProto whose LSTM nodes have lengths and constant weights, as `lower.py` makes
            them; not changed.
    """
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    held = constants(quantised)
    makers = {output: node for node in quantised.graph.node for output in node.output if output}
    nodes: list[Any] = []
    for node in quantised.graph.node:
        if node.op_type != "LSTM":
            nodes.append(node)
            continue
        if not _is_wiped(node.input[_INPUT], makers):
            width = held[node.input[_KERNEL]].shape[2]
            nodes += _wipe(quantised, node, width)
        nodes.append(_quantised_node(quantised, node, held))
    put_nodes(quantised, nodes)
    quantised.opset_import.append(onnx.helper.make_opsetid(QUANTISED_LSTM_DOMAIN, 1))
    return quantised


def quantised_weights(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return weights as DynamicQuantizeLSTM takes them.

    Args:
        weights: float32 (directions, 4 * units, inputs), as LSTM takes them.

    Returns:
        int8 (directions, inputs, 4 * units) within ±64, and float32 (directions, 4 * units), what a 1 is worth.
    """
    columns = np.ascontiguousarray(weights.transpose(0, 2, 1))
    largest = np.abs(columns).max(axis=1)
    scales = np.where(largest > 0, largest / np.float32(_LARGEST), np.float32(1)).astype(np.float32)
    integers = np.rint(columns / scales[:, None]).clip(-_LARGEST, _LARGEST)
    return integers.astype(np.int8), scales


def _quantised_node(model: Any, node: Any, held: dict[str, NDArray[Any]]) -> Any:
    inputs = [*node.input, *[""] * (_PEEPHOLES + 1 - len(node.input))]
    for index in (_KERNEL, _RECURRENT_KERNEL):
        name = inputs[index]
        integers, scales = quantised_weights(held[name])
        inputs[index] = add_constant(model, f"{name}/int8", integers)
        inputs.append(add_constant(model, f"{name}/scale", scales))
        inputs.append(add_constant(model, f"{name}/zero_point", np.zeros(scales.shape, np.int8)))
    made = onnx.helper.make_node(
        QUANTISED_LSTM, inputs, list(node.output), name=node.name, domain=QUANTISED_LSTM_DOMAIN
    )
    made.attribute.extend(node.attribute)
    return made


def _is_wiped(name: str, makers: dict[str, Any]) -> bool:
    """Return whether a tensor is nothing but the steps of another LSTM, which are 0 beyond its lengths."""
    for operator in ("Reshape", "Transpose", "LSTM"):
        node = makers.get(name)
        if node is None or node.op_type != operator or name != node.output[0]:
            return False
        if operator == "Transpose" and list(node.attribute[0].ints) != _TIME_BATCH:
            return False
        name = node.input[0]
    return True


def _wipe(model: Any, node: Any, width: int) -> list[Any]:
    """Return nodes that put 0 beyond the lengths of an LSTM's input (time, batch, width), and have it read theirs."""
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
    held = {name: add_constant(model, f"{prefix}/{name}", np.asarray(number)) for name, number in numbers.items()}
    int32 = onnx.TensorProto.INT32
    nodes: list[Any] = []

    def add(operator: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{prefix}/{len(nodes)}"
        nodes.append(onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    time = add("Gather", [add("Shape", [sequences]), held["zero"]])
    steps = add("Range", [held["none"], add("Cast", [time], to=int32), held["one"]])  # (time), from 0
    each = add("Expand", [add("Unsqueeze", [lengths, held["axis"]]), held["width"]])  # (batch, width)
    ends = add("Reshape", [each, held["all"]])  # (batch * width)
    within = add("Less", [add("Unsqueeze", [steps, held["axis"]]), ends])  # (time, batch * width)
    flat = add("Reshape", [sequences, held["flat"]])
    node.input[_INPUT] = add("Reshape", [add("Where", [within, flat, held["padding"]]), held["wide"]])
    return nodes
