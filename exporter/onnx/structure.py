"""Check the structure of an exported graph: native recurrent nodes with lengths as input, and no control flow."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqembed.data.errors import BundleError
from seqembed.data.outputs import ModelOutput
from seqembed.exporter.keras.libraries import onnx

QUANTISED_LSTM, QUANTISED_LSTM_DOMAIN = "DynamicQuantizeLSTM", "com.microsoft"
_RECURRENT = {"fp32": ("LSTM", "GRU"), "int8": (QUANTISED_LSTM,)}  # by precision
_CONTROL_FLOW = ("Loop", "Scan", "If")
_TRANSPARENT = ("Cast", "Identity")
_SEQUENCE_LENS = 4  # index among the inputs of LSTM, GRU and DynamicQuantizeLSTM
_HINT = "This is a bug of the exporter or an unusual model; nothing was written. Report it with the model's layers."


@dataclass(frozen=True, slots=True)
class GraphStructure:
    """Summary of a checked graph.

    Attributes:
        op_counts: Operator → number of nodes.
        opset: ONNX operator set.
        recurrent_width: Units of the widest recurrent node of the encoder, summed over its directions; 0 without one.
    """

    op_counts: Mapping[str, int]
    opset: int
    recurrent_width: int = 0

    @property
    def num_nodes(self) -> int:
        """Nodes of the graph."""
        return sum(self.op_counts.values())

    @property
    def num_recurrent(self) -> int:
        """LSTM and GRU nodes, quantised ones included."""
        return sum(self.op_counts.get(operator, 0) for operators in _RECURRENT.values() for operator in operators)


def check_structure(
    model: Any,
    *,
    num_features: int,
    outputs: Sequence[ModelOutput],
    num_recurrent: int,
    opset: int,
    source: str,
    num_masked: int = 0,
    num_decoding: int = 0,
    frame: int = 1,
    num_ids: Sequence[int] = (),
    precision: str = "fp32",
) -> GraphStructure:
    """Check that an ONNX model has the structure of a bundle (DESIGN §4).

    Args:
        model: ONNX ModelProto.
        num_features: Width of ``values``; 0 if the graph has no such input.
        outputs: Expected outputs, in order.
        num_recurrent: Recurrent layers of the Keras model; a bidirectional one counts once.
        opset: Expected ONNX operator set.
        source: The converted model, for messages.
        num_masked: Recurrent layers that skip masked steps.
        num_decoding: Recurrent layers of the decoder, whose nodes follow those of the encoder.
        frame: Consecutive steps that the recurrent layers read as one.
        num_ids: Number of ids of each categorical field, in order: rows of its lookup table.
        precision: ``fp32``: standard operators only; ``int8``: every recurrent node is a DynamicQuantizeLSTM.

    Raises:
        BundleError: The model is not valid ONNX or has another structure.
    """
    graph = model.graph
    counts = Counter(node.op_type for node in graph.node)
    _check_operators(model, counts, opset, source, precision)
    _check_recurrent(graph, counts, num_recurrent, num_masked, num_decoding, frame, source, precision)
    _check_lookups(graph, num_ids, source)
    _check_interface(graph, num_features, len(num_ids), outputs, source)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"{source}: the converted graph is not valid ONNX: {error}. {_HINT}") from error
    width = _recurrent_width(_recurrent_nodes(graph, precision)[: num_recurrent - num_decoding])
    return GraphStructure(op_counts=dict(counts), opset=opset, recurrent_width=width)


def _recurrent_nodes(graph: Any, precision: str) -> list[Any]:
    """Return the recurrent nodes in order; those of a decoder come last, since they read the embedding."""
    return [node for node in graph.node if node.op_type in _RECURRENT[precision]]


def _recurrent_width(nodes: Sequence[Any]) -> int:
    widths = [0]
    for node in nodes:
        found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        directions = 2 if found.get("direction") == b"bidirectional" else 1
        widths.append(found["hidden_size"] * directions)
    return max(widths)


def _check_operators(model: Any, counts: Mapping[str, int], opset: int, source: str, precision: str) -> None:
    loops = [operator for operator in _CONTROL_FLOW if operator in counts]
    if loops:
        raise BundleError(
            f"{source}: the converted graph contains {', '.join(loops)}; an encoder must have none: they are slow, and "
            f"show that a layer was not converted natively. {_HINT}"
        )
    others = {(node.domain, node.op_type) for node in model.graph.node if node.domain not in ("", "ai.onnx")}
    allowed = {(QUANTISED_LSTM_DOMAIN, QUANTISED_LSTM)} if precision == "int8" else set()
    unknown = sorted(map(".".join, others - allowed))
    domains = {entry.domain: entry.version for entry in model.opset_import}
    if unknown or model.functions or set(domains) - {"", "ai.onnx"} - {domain for domain, _ in allowed}:
        raise BundleError(
            f"{source}: the converted graph uses operators outside standard ONNX: "
            f"{', '.join(unknown) or ', '.join(sorted(domains))}. {_HINT}"
        )
    found = domains.get("", domains.get("ai.onnx"))
    if found != opset:
        raise BundleError(f"{source}: the converted graph declares opset {found}, expected {opset}. {_HINT}")


def _check_recurrent(
    graph: Any,
    counts: Mapping[str, int],
    num_recurrent: int,
    num_masked: int,
    num_decoding: int,
    frame: int,
    source: str,
    precision: str,
) -> None:
    nodes = _recurrent_nodes(graph, precision)
    if len(nodes) != num_recurrent:
        raise BundleError(
            f"{source}: the converted graph has {len(nodes)} {' or '.join(_RECURRENT[precision])} nodes "
            f"({dict(counts)}), expected one for each of {num_recurrent} recurrent layers. {_HINT}"
        )
    makers = {output: node for node in graph.node for output in node.output}
    found_masked = 0
    for index, node in enumerate(nodes):
        decodes = index >= num_recurrent - num_decoding
        name, steps = _origin(graph, makers, node.input[_SEQUENCE_LENS] if len(node.input) > _SEQUENCE_LENS else "")
        if num_masked and not decodes and _counts_kept_steps(makers, name):
            found_masked += 1
            continue
        in_frames = frame > 1 and not decodes
        expected = [("Add", frame - 1), ("Div", frame)] if in_frames else []
        if decodes:  # a fixed number of steps bounds the lengths
            steps = [step for step in steps if step[0] != "Min"]
        if name != "lengths" or steps != expected:
            what = "the graph input 'lengths'" + (f" in frames of {frame} steps" if in_frames else "")
            raise BundleError(
                f"{source}: sequence_lens of {node.op_type} node {node.name!r} comes from {name or 'nowhere'!r}"
                f"{f' by {steps}' if steps else ''}, expected {what}: padding would change the embedding. {_HINT}"
            )
    if found_masked != num_masked:
        raise BundleError(
            f"{source}: {found_masked} recurrent nodes of the converted graph skip masked steps, expected "
            f"{num_masked}: skipped steps would change the embedding. {_HINT}"
        )


def _counts_kept_steps(makers: Mapping[str, Any], name: str) -> bool:
    """Return whether a tensor is a sum over steps that depends on the lengths, as is the number of unmasked steps."""
    if name not in makers or makers[name].op_type != "ReduceSum":
        return False
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += makers[name].input if name in makers else []
    return "lengths" in seen


def _origin(graph: Any, makers: Mapping[str, Any], name: str) -> tuple[str, list[tuple[str, int]]]:
    """Return the tensor `name` is computed from, and the operations with constants in between, in order."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    steps: list[tuple[str, int]] = []
    while name in makers:
        node = makers[name]
        if node.op_type in ("Add", "Div", "Min") and node.input[1] in constants:
            value = onnx.numpy_helper.to_array(constants[node.input[1]])
            steps.insert(0, (node.op_type, int(value.reshape(-1)[0])))
        elif node.op_type not in _TRANSPARENT:
            break
        name = node.input[0]
    return name, steps


def _check_lookups(graph: Any, num_ids: Sequence[int], source: str) -> None:
    """Check that every field has one or more lookup tables of weights, with as many rows as its vocabulary has ids."""
    tables = {tensor.name: tensor.dims for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    gathers = [node for node in graph.node if node.op_type == "Gather" and len(tables.get(node.input[0], ())) == 2]
    found = [int(tables[node.input[0]][0]) for node in gathers]
    if Counter(num_ids) - Counter(found) or set(found) - set(num_ids):
        raise BundleError(
            f"{source}: the converted graph looks categories up in tables of {found or 'no'} rows, expected one or "
            f"more for each field, of {list(num_ids)}: the model and the vocabularies are from different trainings, or "
            f"a field was lost. {_HINT}"
        )


def _check_interface(
    graph: Any, num_features: int, num_fields: int, outputs: Sequence[ModelOutput], source: str
) -> None:
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = sorted(_describe(tensor) for tensor in graph.input if tensor.name not in initializers)
    returned = [_describe(tensor) for tensor in graph.output]
    expected = ["lengths int32 (batch)"]
    expected += [f"values float32 (batch, time, {num_features})"] if num_features else []
    expected += [f"categories int32 (batch, time, {num_fields})"] if num_fields else []
    expected.sort()
    expected_outputs = list(map(str, outputs))
    if inputs != expected or returned != expected_outputs:
        raise BundleError(
            f"{source}: the converted graph takes {'; '.join(inputs)} and returns {'; '.join(returned)}, expected "
            f"{'; '.join(expected)} and {'; '.join(expected_outputs)}. {_HINT}"
        )


def _describe(tensor: Any) -> str:
    kind = tensor.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return f"{tensor.name} {dtype} ({', '.join(d.dim_param or str(d.dim_value) for d in kind.shape.dim)})"
