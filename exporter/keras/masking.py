"""Translate Keras masks, by which a model skips steps, to recurrent ONNX nodes, which only take lengths.

A native LSTM or GRU reads the first ``sequence_lens`` steps of a sequence. So the unmasked steps are moved to the
front, in order, and their number becomes ``sequence_lens``: the state passes over skipped steps unchanged, as in Keras.
Where the outputs of all steps are used, they are scattered back to the original steps: Keras repeats the last output
at a skipped step, and returns 0 before the first unmasked one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.errors import BundleError
from seqembed.exporter.keras.libraries import tf

# Elementwise arithmetic, which IEEE 754 rounds identically everywhere, so that equality with a mask value means the
# same in TensorFlow and in ONNX Runtime. By operator: the inverse, from (result, constant) to the input.
_UNDONE = {
    "AddV2": np.subtract,
    "Sub": np.add,
    "Mul": np.divide,
    "RealDiv": np.multiply,
}
_KINDS = {"AddV2": "term", "Sub": "term", "Mul": "factor", "RealDiv": "factor"}
# Operators that select or cast values without rounding float32.
_SELECTING = (
    "Cast",
    "ConcatV2",
    "Const",
    "ExpandDims",
    "Fill",
    "GatherV2",
    "OnesLike",
    "Pack",
    "Pad",
    "PadV2",
    "Reshape",
    "ResourceGather",
    "ReverseV2",
    "SelectV2",
    "Squeeze",
    "StridedSlice",
    "Tile",
    "Transpose",
    "ZerosLike",
)
_ROUNDED = "rounding would decide which steps are skipped"
_SELECTED = "which steps of the data are skipped cannot be determined, so the export cannot be checked on them"
_UNCHANGED = ("Identity", "EnsureShape")
_COUNTED = (tf.int32, tf.int64, tf.float32)  # types that can hold any number of steps


def is_padding(mask: Any, lengths: Any, frame: int = 1) -> bool:
    """Return whether a mask is certain to keep exactly the steps within the length, so that lengths alone suffice.

    Two forms are recognised: a constant True, and a cumulative sum of ones compared with the length. Any other mask is
    applied step by step, which is also correct, but slower.

    Args:
        mask: Symbolic bool (batch, time).
        lengths: Symbolic int32 (batch), the graph input.
        frame: Steps that recurrent layers read as one; the mask of the first applies to all.
    """
    mask = _unwrapped(mask)
    if frame > 1:
        if not _is_slice(mask, strides=[1, frame], new_axes=0):
            return False
        mask = _unwrapped(mask.op.inputs[0])
    if _is_ones(mask):
        return True
    if mask.op.type not in ("LessEqual", "GreaterEqual"):
        return False
    steps, limits = mask.op.inputs if mask.op.type == "LessEqual" else reversed(mask.op.inputs)
    return _counts_steps(_unwrapped(steps)) and _is_column(_unwrapped(limits), lengths)


def _counts_steps(tensor: Any) -> bool:
    """Return whether a tensor is 1, 2, 3, … along the second axis."""
    if tensor.op.type != "Cumsum" or tensor.op.get_attr("exclusive") or tensor.op.get_attr("reverse"):
        return False
    ones, axis = tensor.op.inputs
    return tf.get_static_value(axis) in (1, -1) and len(ones.shape) == 2 and _is_ones(_unwrapped(ones))


def _is_column(tensor: Any, lengths: Any) -> bool:
    """Return whether a tensor is `lengths` as (batch, 1)."""
    if tensor.op.type == "ExpandDims":
        as_column = tf.get_static_value(tensor.op.inputs[1]) in (1, -1)
    else:
        as_column = _is_slice(tensor, strides=[1, 1], new_axes=2)
    return as_column and _unwrapped(tensor.op.inputs[0]).name == lengths.name


def _is_ones(tensor: Any) -> bool:
    """Return whether a tensor is 1 or True everywhere."""
    if tensor.op.type == "Fill":
        return bool(tf.get_static_value(tensor.op.inputs[1]) == 1)
    return bool(tensor.op.type == "OnesLike")


def _is_slice(tensor: Any, strides: list[int], new_axes: int) -> bool:
    """Return whether a tensor is a slice over the full range of each axis.

    Args:
        tensor: Symbolic, (batch, …).
        strides: Step of each axis.
        new_axes: Bit mask of the axes that the slice adds.
    """
    if tensor.op.type != "StridedSlice":
        return False
    bits = {
        name: tensor.op.get_attr(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    all_bits = {"begin": 3 - new_axes, "end": 3 - new_axes, "ellipsis": 0, "new_axis": new_axes, "shrink_axis": 0}
    return bits == all_bits and np.array_equal(tf.get_static_value(tensor.op.inputs[3]), strides)


def _unwrapped(tensor: Any) -> Any:
    """Return the tensor below operations that do not change any number."""
    while tensor.op.type in _UNCHANGED or (
        tensor.op.type == "Cast" and {tensor.dtype, tensor.op.inputs[0].dtype} <= {*_COUNTED}
    ):
        tensor = tensor.op.inputs[0]
    return tensor


class KeptSteps:
    """The unmasked steps of a batch: moves them to the front, and their outputs back.

    Args:
        kept: Symbolic bool (batch, time); False beyond the lengths.

    Attributes:
        lengths: Symbolic int32 (batch), number of kept steps.
    """

    def __init__(self, kept: Any) -> None:
        self._kept = kept
        counted = tf.cast(kept, tf.int32)
        self._before = tf.cumsum(counted, axis=1, exclusive=True)  # (batch, time), number of kept steps before each
        self.lengths = tf.reduce_sum(counted, axis=1)

    def first(self, sequences: Any) -> Any:
        """Return `sequences`, (batch, time, features), with the kept steps first, in their order."""
        time = tf.shape(self._kept)[1]
        positions = tf.expand_dims(tf.range(time), 0)  # (1, time)
        ranks = tf.where(self._kept, positions, positions + time)
        # top_k sorts descending, so the keys are negated; they are distinct integers.
        order = tf.math.top_k(-ranks, k=time).indices
        return tf.gather(sequences, order, batch_dims=1)

    def spread(self, steps: Any, *, reverse: bool, zero_where_skipped: bool) -> Any:
        """Return the outputs of one direction at every step, from its outputs at the kept steps.

        Args:
            steps: float32 (batch, time, units), the outputs at kept steps first.
            reverse: The direction runs from the last step to the first, so a skipped step repeats the output of a later
                one.
            zero_where_skipped: Skipped steps get 0 instead of the previous output.
        """
        indices = self._before if reverse else self._before + tf.cast(self._kept, tf.int32) - 1
        reached = tf.logical_and(indices >= 0, indices < tf.expand_dims(self.lengths, 1))
        known = self._kept if zero_where_skipped else reached
        outputs = tf.gather(steps, tf.where(reached, indices, 0), batch_dims=1)
        return tf.where(tf.expand_dims(known, 2), outputs, 0.0)

    def where_any(self, states: Any, otherwise: Any) -> Any:
        """Return `states`, (..., batch, units), for sequences with a kept step, and `otherwise` for those without."""
        return tf.where(tf.expand_dims(self.lengths > 0, 1), states, otherwise)


def raw_mask_value(layer: Any, inputs: Any, source: str) -> NDArray[np.float32]:
    """Return the raw values of the step that a Masking layer skips.

    Args:
        layer: The ``keras.layers.Masking``.
        inputs: Its input, symbolic float32 (batch, time, features).
        source: File of the model, for messages.

    Returns:
        float32 (features), in units of the model's input.

    Raises:
        BundleError: The layer reads numbers that other layers computed, whose last bits differ between TensorFlow and
            ONNX Runtime: whether one equals the mask value would be chance. Or it reads a selection of the raw values,
            from which no raw step can be found to check the export on.
    """
    value: Any = np.broadcast_to(np.asarray(layer.mask_value, np.float32), (inputs.shape[2],))
    tensor, done = inputs, set()
    with np.errstate(all="ignore"):  # a feature scaled by 0 has no raw value
        while tensor.op.type != "Placeholder":
            operator, operands = tensor.op.type, tensor.op.inputs
            constant = tf.get_static_value(operands[1]) if operator in _UNDONE else None
            if operator == "SelectV2" and operands[1].op.type == "Placeholder":  # missing values and padding, filled
                tensor = operands[1]
            elif operator in _UNCHANGED or constant is not None:
                # TensorFlow merges two consecutive factors or terms into one, which rounds only once.
                kind = _KINDS.get(operator)
                if kind in done:
                    raise _mask_error(layer, source, f"the result of two scalings ({operator})", _ROUNDED)
                done |= {kind} - {None}
                value = value if constant is None else _UNDONE[operator](value, constant)
                tensor = operands[0]
            elif operator in _SELECTING:
                raise _mask_error(layer, source, f"a tensor other than the model's input ({operator})", _SELECTED)
            else:
                raise _mask_error(layer, source, f"the result of other layers ({operator})", _ROUNDED)
    return np.asarray(value, np.float32).reshape(-1)


def _mask_error(layer: Any, source: str, what: str, reason: str) -> BundleError:
    return BundleError(
        f"{source}: layer {layer.name!r} compares its mask_value with {what}; {reason}. Put Masking directly "
        "after the model's float32 input, or after one Normalization or Rescaling, and set the weights again."
    )
