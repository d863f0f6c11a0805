"""Replace each opaque recurrent op of a converted ONNX graph by one native LSTM or GRU node.

This happens after tf2onnx's own optimizer, which moves transposes and does not support ``sequence_lens``.
"""

from typing import Any

import numpy as np

from seqembed.exporter.keras.libraries import onnx
from seqembed.exporter.keras.recurrent import RecurrentSpec
from seqembed.exporter.onnx.graph import add_constant, replace_nodes

OPAQUE_DOMAIN = "seqembed"
OPAQUE_TYPE = "Recurrent"


class Lowering:
    """Rewrites one graph, whose nodes are in topological order.

    Args:
        model: ONNX model with opaque nodes; modified in place.
        specs: The recurrent layers, indexed by the ``spec`` attribute of the opaque nodes.
    """

    def __init__(self, model: Any, specs: list[RecurrentSpec]) -> None:
        self._model = model
        self._specs = specs
        self._nodes: list[Any] = []
        self._time_major: dict[str, str] = {}  # (batch, time, width) tensor → the same as (time, batch, width)

    def run(self) -> None:
        """Replace every opaque node, and remove unused nodes."""
        graph = self._model.graph
        for node in graph.node:
            if node.domain == OPAQUE_DOMAIN:
                spec = next(attribute.i for attribute in node.attribute if attribute.name == "spec")
                self._lower(node, self._specs[spec], f"{OPAQUE_TYPE.lower()}_{spec}")
            else:
                self._nodes.append(node)
        replace_nodes(self._model, self._nodes)

    def _lower(self, node: Any, spec: RecurrentSpec, name: str) -> None:
        sequences, lengths, *initial = node.input
        steps, *states = node.output
        width = spec.num_directions * spec.units
        native_steps = f"{name}/Y"  # (time, directions, batch, units)
        weights = [
            self._constant(f"{name}/{key}", array)
            for key, array in (("W", spec.kernel), ("R", spec.recurrent_kernel), ("B", spec.bias))
        ]
        self._add(
            spec.operator,
            [self._as_time_major(sequences, name), *weights, lengths, *initial],
            [native_steps, *states],
            name,
            **_attributes(spec),
        )
        rows = native_steps
        if spec.flip_output:
            rows = self._flip(native_steps, lengths, name)
        # (time, directions, batch, units) → (time, batch, directions * units), for a following recurrent layer
        shape = self._constant(f"{name}/width", np.array([0, 0, width], np.int64))
        self._add("Transpose", [rows], [f"{name}/time_batch"], f"{name}/time_batch", perm=[0, 2, 1, 3])
        self._add("Reshape", [f"{name}/time_batch", shape], [f"{name}/time_major"], f"{name}/time_major")
        self._time_major[steps] = f"{name}/time_major"
        # … and (batch, time, directions * units), for other readers; whichever is unused is removed at the end
        self._add("Transpose", [rows], [f"{name}/batch_time"], f"{name}/batch_time", perm=[2, 0, 1, 3])
        self._add("Reshape", [f"{name}/batch_time", shape], [steps], f"{name}/steps")

    def _as_time_major(self, sequences: str, name: str) -> str:
        if sequences not in self._time_major:
            source, order = sequences, [1, 0, 2]
            made = next((node for node in self._nodes if sequences in node.output), None)
            if made is not None and made.op_type == "Transpose":  # one for both: they copy all numbers
                source, axes = made.input[0], list(made.attribute[0].ints)
                order = [axes[axis] for axis in order]
            self._add("Transpose", [source], [f"{name}/X"], f"{name}/X", perm=order)
            self._time_major[sequences] = f"{name}/X"
        return self._time_major[sequences]

    def _flip(self, rows: str, lengths: str, name: str) -> str:
        """Reverse each sequence within its length, since Keras's backward layer returns the last step first."""
        axis = self._constant(f"{name}/direction_axis", np.array([1], np.int64))
        self._add("Squeeze", [rows, axis], [f"{name}/one"], f"{name}/one")  # (time, batch, units)
        self._add("Cast", [lengths], [f"{name}/lengths64"], f"{name}/lengths64", to=onnx.TensorProto.INT64)
        self._add(
            "ReverseSequence",
            [f"{name}/one", f"{name}/lengths64"],
            [f"{name}/flipped"],
            f"{name}/flip",
            time_axis=0,
            batch_axis=1,
        )
        self._add("Unsqueeze", [f"{name}/flipped", axis], [f"{name}/Y_flipped"], f"{name}/Y_flipped")
        return f"{name}/Y_flipped"

    def _add(self, operator: str, inputs: list[str], outputs: list[str], name: str, **attributes: Any) -> None:
        self._nodes.append(onnx.helper.make_node(operator, inputs, outputs, name=name, **attributes))

    def _constant(self, name: str, array: np.ndarray) -> str:
        return add_constant(self._model, name, array)


def _attributes(spec: RecurrentSpec) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "hidden_size": spec.units,
        "direction": spec.direction,
        "activations": list(spec.activations),
    }
    if spec.alphas:
        attributes["activation_alpha"] = list(spec.alphas)
    if spec.betas:
        attributes["activation_beta"] = list(spec.betas)
    if spec.operator == "GRU":
        attributes["linear_before_reset"] = int(spec.linear_before_reset)
    return attributes
