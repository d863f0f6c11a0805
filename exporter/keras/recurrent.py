"""Convert weights and options of a Keras recurrent layer to the shapes and gate order of ONNX LSTM and GRU.

Gate order: Keras LSTM i, f, c, o → ONNX i, o, f, c; both GRUs are z, r, h. Keras GRU with ``reset_after=True`` is the
ONNX one with ``linear_before_reset=1``. Source: the ONNX operator specification, LSTM-14 and GRU-14.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqembed.data.errors import BundleError
from seqembed.exporter.keras.libraries import keras

Direction = Literal["forward", "reverse", "bidirectional"]

# Keras activation → ONNX name, alpha, beta. Keras 3 defines hard_sigmoid as relu6(x + 3) / 6.
_ACTIVATIONS: dict[str, tuple[str, float | None, float | None]] = {
    "tanh": ("Tanh", None, None),
    "relu": ("Relu", None, None),
    "sigmoid": ("Sigmoid", None, None),
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
}
_LSTM_GATES = (0, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class RecurrentSpec:
    """One ONNX LSTM or GRU node.

    Attributes:
        layer: Name of the Keras layer.
        operator: ``LSTM`` or ``GRU``.
        direction: ``forward``, ``reverse`` or ``bidirectional``.
        units: Width of the state of one direction.
        activations: ONNX names, those of the forward direction first.
        alphas, betas: Parameters of the activations that have them, in order.
        linear_before_reset: GRU only: the reset gate is applied after the matrix product.
        kernel: float32 (directions, gates * units, features).
        recurrent_kernel: float32 (directions, gates * units, units).
        bias: float32 (directions, 2 * gates * units).
        flip_output: Outputs are ordered from the last valid step to the first.
        return_sequences, return_state, merge_mode: As in Keras; `merge_mode` is None for a single direction.
        zero_output_for_mask: As in Keras: the output of a masked step is 0 instead of the previous output.
    """

    layer: str
    operator: Literal["LSTM", "GRU"]
    direction: Direction
    units: int
    activations: tuple[str, ...]
    alphas: tuple[float, ...]
    betas: tuple[float, ...]
    linear_before_reset: bool
    kernel: NDArray[np.float32]
    recurrent_kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    flip_output: bool
    return_sequences: bool
    return_state: bool
    merge_mode: str | None
    zero_output_for_mask: bool = False

    @property
    def num_directions(self) -> int:
        """1, or 2 if bidirectional."""
        return len(self.kernel)

    @property
    def num_states(self) -> int:
        """State tensors per direction: h and c for an LSTM, h for a GRU."""
        return 2 if self.operator == "LSTM" else 1


def recurrent_spec(layer: Any, source: str) -> RecurrentSpec:
    """Read a built ``keras.layers.LSTM``, ``GRU`` or ``Bidirectional`` of these.

    Args:
        layer: The layer.
        source: File of its model, for messages.

    Raises:
        BundleError: The layer is stateful, has an activation without ONNX equivalent, or combines two directions that
            do not mirror each other.
    """
    directions = _directions(layer, source)
    first = directions[0]
    weights = [_arrays(direction) for direction in directions]
    functions = [function for direction in directions for function in _activations(direction, source)]
    backwards = len(directions) == 1 and first.go_backwards
    return RecurrentSpec(
        layer=layer.name,
        operator="LSTM" if isinstance(first, keras.layers.LSTM) else "GRU",
        direction="bidirectional" if len(directions) == 2 else "reverse" if backwards else "forward",
        units=first.units,
        activations=tuple(name for name, _, _ in functions),
        alphas=tuple(alpha for _, alpha, _ in functions if alpha is not None),
        betas=tuple(beta for _, _, beta in functions if beta is not None),
        linear_before_reset=bool(getattr(first, "reset_after", False)),
        kernel=np.stack([arrays[0] for arrays in weights]),
        recurrent_kernel=np.stack([arrays[1] for arrays in weights]),
        bias=np.stack([arrays[2] for arrays in weights]),
        flip_output=backwards,
        return_sequences=first.return_sequences,
        return_state=first.return_state,
        merge_mode=layer.merge_mode if len(directions) == 2 else None,
        zero_output_for_mask=bool(first.zero_output_for_mask),
    )


def _directions(layer: Any, source: str) -> list[Any]:
    """Return the LSTM or GRU layers of a layer, one per direction, checked.

    Raises:
        BundleError: They cannot be expressed as one ONNX node.
    """
    bidirectional = isinstance(layer, keras.layers.Bidirectional)
    directions = [layer.forward_layer, layer.backward_layer] if bidirectional else [layer]
    for direction in directions:
        if type(direction) not in (keras.layers.LSTM, keras.layers.GRU):
            raise BundleError(
                f"{source}: layer {layer.name!r} runs a {type(direction).__name__}; only LSTM and GRU have an ONNX "
                "operator. Rebuild the layer with one of these."
            )
        if direction.stateful:
            raise BundleError(
                f"{source}: layer {layer.name!r} is stateful: an embedding would depend on the previous batch. "
                "Rebuild the layer with stateful=False."
            )
    if bidirectional:
        forward, backward = directions
        same = [
            (type(d), d.units, getattr(d, "reset_after", None), d.return_sequences, d.return_state) for d in directions
        ]
        if same[0] != same[1] or forward.go_backwards or not backward.go_backwards:
            raise BundleError(
                f"{source}: layer {layer.name!r} combines {_describe(forward)} and {_describe(backward)}; an ONNX node "
                "needs the same cell and units in both directions, the first one forward. Rebuild it as two layers."
            )
    return directions


def _describe(layer: Any) -> str:
    return f"{type(layer).__name__}(units={layer.units}, go_backwards={layer.go_backwards})"


def _arrays(layer: Any) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return kernel (gates * units, features), recurrent kernel (gates * units, units), bias (2 * gates * units)."""
    cell = layer.cell
    num_gates = 4 if isinstance(layer, keras.layers.LSTM) else 3
    order = _LSTM_GATES if num_gates == 4 else (0, 1, 2)
    bias = np.zeros((2, num_gates * layer.units), np.float32)
    if cell.bias is not None:
        given = np.asarray(cell.bias, np.float32)  # (gates * units), or (2, gates * units) for GRU with reset_after
        bias[: 1 if given.ndim == 1 else 2] = given

    def reorder(array: NDArray[np.float32]) -> NDArray[np.float32]:
        gates = np.split(array, num_gates, axis=-1)
        return np.concatenate([gates[gate] for gate in order], axis=-1)

    return (
        np.ascontiguousarray(reorder(np.asarray(cell.kernel, np.float32)).T),
        np.ascontiguousarray(reorder(np.asarray(cell.recurrent_kernel, np.float32)).T),
        reorder(bias).reshape(-1),
    )


def _activations(layer: Any, source: str) -> list[tuple[str, float | None, float | None]]:
    """Return the ONNX activations of one direction: f, g, h for an LSTM, f, g for a GRU.

    Raises:
        BundleError: One has no ONNX equivalent.
    """
    roles = {"recurrent_activation": layer.recurrent_activation, "activation": layer.activation}
    found = {}
    for role, function in roles.items():
        name = keras.activations.serialize(function)
        if not isinstance(name, str) or name not in _ACTIVATIONS:
            raise BundleError(
                f"{source}: layer {layer.name!r} has {role}={name!r}; the exporter supports {', '.join(_ACTIVATIONS)}. "
                "Train with one of these."
            )
        found[role] = _ACTIVATIONS[name]
    gate, state = found["recurrent_activation"], found["activation"]
    return [gate, state, state] if isinstance(layer, keras.layers.LSTM) else [gate, state]
