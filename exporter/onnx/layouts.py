"""Keep the batch as the last axis of what is computed with numbers, which ONNX Runtime would undo.

It moves a Transpose behind the operators that follow, to where another one undoes it: the mean of each feature is then
subtracted from runs of a few features instead of runs of the complete batch, which takes up to four times as long. It
moves none across a Reshape. And it copies all numbers of a Transpose one by one unless a single axis moves: six
features of a hundred steps take five times as long in one such Transpose as in two that move one axis each.
"""

from typing import Any

from seqembed.exporter.keras.libraries import onnx
from seqembed.exporter.onnx.graph import add_constant, constants, integers

_TIME_FEATURES_BATCH, _BATCH_TIME_FEATURES = [1, 2, 0], [2, 0, 1]  # of (batch, time, features), and back


def keep_batch_last(model: Any) -> list[Any]:
    """Return the nodes with such layouts fixed: of the input ``values``, and of what convolutions over time read."""
    return _Layouts(model).nodes


class _Layouts:
    """Rewrites one graph.

    Args:
        model: The graph; only its constants change.

    Attributes:
        nodes: The nodes of the result.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._arrays = constants(model)
        self._makers = {output: node for node in model.graph.node for output in node.output}
        self._made: dict[str, str] = {}  # tensor (time, features, batch) → the same as (batch, features, time)
        self.nodes: list[Any] = []
        for node in model.graph.node:
            if node.op_type == "Transpose" and node.input[0] == "values" and _axes(node) == _TIME_FEATURES_BATCH:
                self._values(node)
            else:
                if node.op_type == "Conv" and node.input[1] in self._arrays:
                    self._convolution(node)
                self.nodes.append(node)

    def _values(self, node: Any) -> None:
        """Replace the Transpose of ``values`` (batch, time, features)."""
        width = next(t.type.tensor_type.shape.dim[2].dim_value for t in self._model.graph.input if t.name == "values")
        flat = self._add("Reshape", ["values", self._constant([0, -1])], "values/flat")
        turned = self._add("Transpose", [flat], "values/turned", perm=[1, 0])  # (time * features, batch)
        self.nodes.append(onnx.helper.make_node("Reshape", [turned, self._shape([-1, width])], [node.output[0]]))

    def _convolution(self, node: Any) -> None:
        """Let a convolution read one common tensor (batch, features, time), or every n-th step of it."""
        width = self._arrays[node.input[1]].shape[1]
        read = self._before(node.input[0], "Squeeze")
        laid_out = self._before(read, "Transpose", "Reshape")
        steps = self._before(laid_out, "Unsqueeze")  # (batch, time, features)
        slices = self._makers.get(steps) if steps else None
        every = slices if slices is not None and slices.op_type == "Slice" else None
        source = self._makers.get(steps if every is None else every.input[0]) if steps else None
        if source is None or source.op_type != "Transpose" or _axes(source) != _BATCH_TIME_FEATURES:
            return
        node.input[0] = self._time_last(source.input[0], width)
        if every is not None:
            stride = int(self._arrays[every.input[4]][1])
            bounds = [self._constant([number]) for number in (0, 1 << 31, 2, stride)]
            node.input[0] = self._add("Slice", [node.input[0], *bounds], f"{node.name}/every_{stride}")

    def _time_last(self, steps: str, width: int) -> str:
        """Return the name of `steps`, (time, features, batch), as (batch, features, time)."""
        if steps not in self._made:
            name, flat = f"{steps}/time_last", steps
            if width > 1:
                flat = self._add("Transpose", [flat], f"{name}/features", perm=[1, 0, 2])
            flat = self._add("Reshape", [flat, self._shape([-1])], f"{name}/flat")  # (features * time, batch)
            turned = self._add("Transpose", [flat], f"{name}/turned", perm=[1, 0])
            self._made[steps] = self._add("Reshape", [turned, self._constant([0, width, -1])], name)
        return self._made[steps]

    def _before(self, tensor: str | None, *operators: str) -> str | None:
        """Return what the node with this output reads, None if it is another operator."""
        maker = self._makers.get(tensor) if tensor else None
        return str(maker.input[0]) if maker is not None and maker.op_type in operators else None

    def _shape(self, first: list[int]) -> str:
        """Return the name of a shape that ends with the size of the batch."""
        if "batch_size" not in self._made:
            size = self._add("Shape", ["values"], "values/shape")
            bounds = [self._constant([number]) for number in (0, 1)]
            self._made["batch_size"] = self._add("Slice", [size, *bounds], "values/batch_size")
        inputs = [self._constant(first), self._made["batch_size"]]
        return self._add("Concat", inputs, f"values/shape_{len(self.nodes)}", axis=0)

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, values: list[int]) -> str:
        name = f"layouts/{','.join(map(str, values))}"
        if name not in self._arrays:
            self._arrays[name] = integers(values)
            add_constant(self._model, name, self._arrays[name])
        return name


def _axes(node: Any) -> list[int]:
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), [])
