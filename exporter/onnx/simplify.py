"""Make a converted graph cheaper without changing what it computes.

Around an LSTM of 64 units the other nodes of a graph cost up to a sixth of it, and some of that is avoidable:

* A constant of one number a feature is laid out along the time before it meets the values: ONNX Runtime combines two
  arrays in runs of their common last axes, and runs of eight numbers take five times as long as runs of hundreds.
* Products with one and sums with zero, which a Keras Rescaling leaves behind, go.
* A minimum and a maximum with one number each become a Clip, which also hands NaN on; a choice by what is not becomes
  the other choice by what is.

What did not pay: to pool the steps as the recurrent node writes them, (time, directions, batch, units), without laying
them out as (batch, time, width) first. ONNX Runtime takes a maximum over the first axis eight times slower.

The exporter measures parity after this.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from seqembed.exporter.keras.libraries import onnx
from seqembed.exporter.onnx.graph import add_constant, constants, integers, put_nodes

_WIDE_ENOUGH = 64  # numbers along the last axis from which on laying out a constant gains nothing


def simplify(model: Any) -> None:
    """Rewrite a graph of standard operators in place."""
    for rewrite in (_drop_neutral, _fuse_clips, _turn_choices, _widen_constants):
        put_nodes(model, rewrite(model))


def _drop_neutral(model: Any) -> list[Any]:
    """Return the nodes without products with a single 1 and sums with a single 0."""
    held, results = constants(model), {output.name for output in model.graph.output}
    stands_for: dict[str, str] = {}
    nodes = []
    for node in model.graph.node:
        _rename(node, stands_for)
        kept = _neutral_to(node, held)
        if kept is None or node.output[0] in results:
            nodes.append(node)
        else:
            stands_for[node.output[0]] = kept
    return nodes


def _neutral_to(node: Any, held: Mapping[str, NDArray[Any]]) -> str | None:
    """Return the input that the node hands on unchanged, if it does."""
    neutral = {"Mul": 1.0, "Add": 0.0}.get(node.op_type)
    for one, other in ((0, 1), (1, 0)) if neutral is not None else ():
        array = held.get(node.input[other])
        if array is not None and array.ndim == 0 and float(array) == neutral:
            return str(node.input[one])
    return None


def _rename(node: Any, names: Mapping[str, str]) -> None:
    inputs = [names.get(name, name) for name in node.input]
    del node.input[:]
    node.input.extend(inputs)


def _fuse_clips(model: Any) -> list[Any]:
    """Return the nodes with Max(Min(x, highest), lowest) as Clip(x, lowest, highest), if nothing else reads the Min."""
    held = constants(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    read = Counter(name for node in model.graph.node for name in node.input)
    nodes = []
    for node in model.graph.node:
        inner = makers.get(node.input[0]) if node.op_type == "Max" else None
        if inner is not None and inner.op_type == "Min" and read[inner.output[0]] == 1:
            bounds = [(each.input[1], held.get(each.input[1])) for each in (node, inner) if len(each.input) == 2]
            if len(bounds) == 2 and all(array is not None and array.ndim == 0 for _, array in bounds):
                inputs = [inner.input[0], *(name for name, _ in bounds)]
                node = onnx.helper.make_node("Clip", inputs, list(node.output), name=node.name)
        nodes.append(node)
    return nodes


def _turn_choices(model: Any) -> list[Any]:
    """Return the nodes with Where(Not(c), a, b) as Where(c, b, a)."""
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        condition = makers.get(node.input[0]) if node.op_type == "Where" else None
        if condition is not None and condition.op_type == "Not":
            _, chosen, other = node.input
            del node.input[:]
            node.input.extend([condition.input[0], other, chosen])
    return list(model.graph.node)


def _widen_constants(model: Any) -> list[Any]:
    """Return the nodes with constants (features) as (time, features) where they meet `values` (batch, time, features).

    Followed are sums and products with constants, one after the other, from the graph's input on.
    """
    width = next((t.type.tensor_type.shape.dim[2].dim_value for t in model.graph.input if t.name == "values"), 0)
    held, like_values, shape = constants(model), {"values"}, ""
    nodes: list[Any] = []
    for node in model.graph.node:
        if node.op_type in ("Add", "Mul", "Sub") and width < _WIDE_ENOUGH and node.input[0] in like_values:
            array = held.get(node.input[1])
            if array is not None and array.shape in ((), (width,)):
                like_values.add(node.output[0])
                if array.ndim:
                    shape = shape or _shape_of_a_sequence(model, nodes)
                    wide = f"{node.name}/wide"
                    nodes.append(onnx.helper.make_node("Expand", [node.input[1], shape], [wide], name=wide))
                    node.input[1] = wide
        nodes.append(node)
    return nodes


def _shape_of_a_sequence(model: Any, nodes: list[Any]) -> str:
    """Add nodes that tell (time, features) of `values`; return the name of what they tell."""
    bounds = [add_constant(model, f"sequence_shape/{axis}", integers([axis])) for axis in (1, 3)]
    nodes.append(onnx.helper.make_node("Shape", ["values"], ["batch_shape"], name="batch_shape"))
    nodes.append(onnx.helper.make_node("Slice", ["batch_shape", *bounds], ["sequence_shape"], name="sequence_shape"))
    return "sequence_shape"
