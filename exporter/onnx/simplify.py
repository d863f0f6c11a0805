"""Simplify a converted graph so that it runs faster and computes the same.

The other nodes of a graph cost up to a sixth as much as an LSTM of 64 units, and some of that is avoidable:

* A constant with one number per feature is expanded along the time axis before it is combined with the values: ONNX
  Runtime processes runs of common last axes, and runs of eight numbers take five times as long as runs of hundreds.
* Multiplications by one and additions of zero, which a Keras Rescaling produces, are removed.
* A minimum followed by a maximum, each with one number, becomes a Clip, which also propagates NaN; Where(Not(c), a, b)
  becomes Where(c, b, a).

Tried without gain: pooling the steps in the layout of the recurrent node, (time, directions, batch, units), instead of
(batch, time, width). In ONNX Runtime a maximum over the first axis is eight times slower.

The exporter measures parity on the simplified graph.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from seqembed.exporter.keras.libraries import onnx
from seqembed.exporter.onnx.convolutions import convolve_over_time
from seqembed.exporter.onnx.graph import add_constant, constants, integers, replace_nodes
from seqembed.exporter.onnx.layouts import keep_batch_last

_MIN_RUN = 64  # length of the last axis from which on expanding a constant gains nothing


def simplify(model: Any) -> None:
    """Rewrite a graph of standard operators in place."""
    rewrites = (_remove_identities, _fuse_clips, convolve_over_time, keep_batch_last)
    for rewrite in (*rewrites, _swap_negated_choices, _keep_indices, _expand_constants):
        replace_nodes(model, rewrite(model))


def _remove_identities(model: Any) -> list[Any]:
    """Return the nodes without multiplications by a scalar 1 and additions of a scalar 0."""
    arrays, results = constants(model), {output.name for output in model.graph.output}
    replacements: dict[str, str] = {}
    nodes = []
    for node in model.graph.node:
        _rename(node, replacements)
        kept = _identity_input(node, arrays)
        if kept is None or node.output[0] in results:
            nodes.append(node)
        else:
            replacements[node.output[0]] = kept
    return nodes


def _identity_input(node: Any, arrays: Mapping[str, NDArray[Any]]) -> str | None:
    """Return the input that the node returns unchanged, or None."""
    neutral = {"Mul": 1.0, "Add": 0.0}.get(node.op_type)
    for one, other in ((0, 1), (1, 0)) if neutral is not None else ():
        array = arrays.get(node.input[other])
        if array is not None and array.ndim == 0 and float(array) == neutral:
            return str(node.input[one])
    return None


def _rename(node: Any, names: Mapping[str, str]) -> None:
    inputs = [names.get(name, name) for name in node.input]
    del node.input[:]
    node.input.extend(inputs)


def _fuse_clips(model: Any) -> list[Any]:
    """Return the nodes with Max(Min(x, high), low) as Clip(x, low, high), if nothing else reads the Min."""
    arrays = constants(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    read = Counter(name for node in model.graph.node for name in node.input)
    nodes = []
    for node in model.graph.node:
        inner = makers.get(node.input[0]) if node.op_type == "Max" else None
        if inner is not None and inner.op_type == "Min" and read[inner.output[0]] == 1:
            given = [arrays.get(each.input[1]) for each in (node, inner) if len(each.input) == 2]
            bounds = [array.reshape(()) for array in given if array is not None and array.size == 1]
            if len(bounds) == 2:
                names = (f"{node.name}/low", f"{node.name}/high")
                inputs = [add_constant(model, name, array) for name, array in zip(names, bounds, strict=True)]
                node = onnx.helper.make_node("Clip", [inner.input[0], *inputs], list(node.output), name=node.name)
        nodes.append(node)
    return nodes


def _swap_negated_choices(model: Any) -> list[Any]:
    """Return the nodes with Where(Not(c), a, b) as Where(c, b, a)."""
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        condition = makers.get(node.input[0]) if node.op_type == "Where" else None
        if condition is not None and condition.op_type == "Not":
            _, chosen, other = node.input
            del node.input[:]
            node.input.extend([condition.input[0], other, chosen])
    return list(model.graph.node)


def _keep_indices(model: Any) -> list[Any]:
    """Return the nodes with Gather(x, Where(i < 0, i + n, i)) as Gather(x, i)."""
    arrays = constants(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        choice = makers.get(node.input[1]) if node.op_type == "Gather" else None
        if choice is None or choice.op_type != "Where":
            continue
        is_negative, wrapped = (makers.get(name) for name in choice.input[:2])
        if is_negative is None or wrapped is None or (is_negative.op_type, wrapped.op_type) != ("Less", "Add"):
            continue
        index, zero = is_negative.input[0], arrays.get(is_negative.input[1])
        if choice.input[2] == index and index in wrapped.input and zero is not None and not zero.any():
            node.input[1] = index
    return list(model.graph.node)


def _expand_constants(model: Any) -> list[Any]:
    """Return the nodes with constants (features) expanded to (time, features) where combined with `values`.

    `values` is (batch, time, features); chains of sums and products with constants are followed from the graph's input.
    """
    width = next((t.type.tensor_type.shape.dim[2].dim_value for t in model.graph.input if t.name == "values"), 0)
    arrays, like_values, shape = constants(model), {"values"}, ""
    nodes: list[Any] = []
    for node in model.graph.node:
        if node.op_type in ("Add", "Mul", "Sub") and width < _MIN_RUN and node.input[0] in like_values:
            array = arrays.get(node.input[1])
            if array is not None and array.shape in ((), (width,)):
                like_values.add(node.output[0])
                if array.ndim:
                    shape = shape or _sequence_shape(model, nodes)
                    wide = f"{node.name}/wide"
                    nodes.append(onnx.helper.make_node("Expand", [node.input[1], shape], [wide], name=wide))
                    node.input[1] = wide
        nodes.append(node)
    return nodes


def _sequence_shape(model: Any, nodes: list[Any]) -> str:
    """Add nodes that compute the shape (time, features) of `values`; return the name of their output."""
    bounds = [add_constant(model, f"sequence_shape/{axis}", integers([axis])) for axis in (1, 3)]
    nodes.append(onnx.helper.make_node("Shape", ["values"], ["batch_shape"], name="batch_shape"))
    nodes.append(onnx.helper.make_node("Slice", ["batch_shape", *bounds], ["sequence_shape"], name="sequence_shape"))
    return "sequence_shape"
