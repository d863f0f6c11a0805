"""Write convolutions over time as such, so that ONNX Runtime computes them with their bias and clipping in one pass.

TensorFlow convolves over one axis with an operation over two, removes the second axis, and then adds the bias. ONNX
Runtime fuses only direct successors, and changes to another layout for two axes, and back: measured for fixed kernels,
which return eighty numbers for each that they read, twice the time of the convolution.
"""

from collections import Counter
from typing import Any

from numpy.typing import NDArray

from seqembed.exporter.keras.libraries import onnx
from seqembed.exporter.onnx.graph import add_constant, constants, integers

_AXIS = 2  # of one step, before the time


def convolve_over_time(model: Any) -> list[Any]:
    """Return the nodes with Add(Squeeze(Conv(x, w)), b) over two axes as Conv(Squeeze(x), w, b) over the last one."""
    nodes, arrays = list(model.graph.node), constants(model)
    outputs = {output.name for output in model.graph.output}
    read = Counter(name for node in nodes for name in node.input)
    next_of = {node.input[0]: node for node in nodes if node.input and read[node.input[0]] == 1}
    gone: set[str] = set()  # by what a node returns
    found: list[Any] = []
    for node in nodes:
        width = _width(node, arrays)
        squeeze = next_of.get(node.output[0]) if width else None
        if squeeze is not None and squeeze.op_type == "Squeeze" and squeeze.output[0] not in outputs:
            add = next_of.get(squeeze.output[0])
            bias = None if add is None else _bias(arrays, add, len(arrays[node.input[1]]))
            if add is not None and bias is not None:
                gone |= {squeeze.output[0], add.output[0]}
                found += _over_time(model, node, width, (arrays[node.input[1]], bias), add.output[0])
                continue
        if node.output[0] not in gone:
            found.append(node)
    return found


def _width(node: Any, arrays: dict[str, NDArray[Any]]) -> int:
    """Return over how many steps a node convolves, 0 if it is not such a convolution without bias."""
    if node.op_type != "Conv" or len(node.input) != 2 or node.input[1] not in arrays:
        return 0
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    plain = set(values.get("strides", [1])) == {1} and "pads" not in values
    shape = arrays[node.input[1]].shape
    return int(shape[3]) if plain and len(shape) == 4 and shape[2] == 1 else 0


def _bias(arrays: dict[str, NDArray[Any]], add: Any, num_kernels: int) -> NDArray[Any] | None:
    """Return what a node after a convolution adds, (kernels), or None if it is not one constant per kernel."""
    added = arrays.get(add.input[1]) if add.op_type == "Add" else None
    if added is None or added.size != num_kernels or added.shape[-2:] != (num_kernels, 1):
        return None
    bias: NDArray[Any] = added.ravel()
    return bias


def _over_time(
    model: Any, node: Any, width: int, weights: tuple[NDArray[Any], NDArray[Any]], output: str
) -> tuple[Any, Any]:
    """Return the nodes that compute a convolution over the last axis."""
    kernels, bias = weights
    names = {part: f"{node.name}/{part}" for part in ("axes", "steps", "kernels", "bias")}
    add_constant(model, names["axes"], integers([_AXIS]))
    add_constant(model, names["kernels"], kernels[:, :, 0])
    add_constant(model, names["bias"], bias)
    steps = onnx.helper.make_node("Squeeze", [node.input[0], names["axes"]], [names["steps"]], name=names["steps"])
    inputs = [names["steps"], names["kernels"], names["bias"]]
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    apart = values.get("dilations", [1, 1])[-1]
    reach = apart * (width - 1)  # ONNX Runtime does not find out the padding of kernels with steps between their taps
    sizes = {"kernel_shape": [width], "dilations": [apart], "pads": [reach // 2, reach - reach // 2]}
    return steps, onnx.helper.make_node("Conv", inputs, [output], name=node.name, **sizes)
