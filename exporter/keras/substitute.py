"""Replace layers of a Keras model, while it is traced, by calls that tf2onnx can convert.

A masked Keras LSTM or GRU is a while loop in TensorFlow, and would become a Loop in ONNX. Here each one becomes a
single opaque op with its inputs and the index of its `RecurrentSpec`; after the conversion
``seqembed.exporter.onnx.lower`` replaces it by the native node. Masks that Keras propagates from Masking layers are
applied (`seqembed.exporter.keras.masking`); padding follows from the lengths. The model is restored afterwards.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.errors import BundleError
from seqembed.exporter.keras.libraries import keras, tf
from seqembed.exporter.keras.masking import KeptSteps, is_padding, raw_mask_value
from seqembed.exporter.keras.recurrent import RecurrentSpec, recurrent_spec

OPAQUE_NAME = "seqembed_recurrent_"


class Tracing:
    """State shared by the replaced layers during one trace.

    Args:
        source: File of the model, for messages.

    Attributes:
        lengths: Symbolic int32 (batch), the graph input; set by `start`, which the traced function calls first.
        lengths_read: Symbolic int32 (batch), lengths as recurrent layers read them, in steps or frames; set by `start`.
        specs: One per recurrent layer, in the order of the calls; its index is the number in the op's name.
        num_masked: How many of them skip masked steps.
        num_decoding: How many of them, the last ones, are of the decoder.
        masked_steps: The raw steps that Masking layers skip, each float32 (features).
        error: First error of a replaced layer, unchanged: Keras and TensorFlow add their tracebacks to the message of
            an error that passes through them.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.lengths: Any = None
        self.lengths_read: Any = None
        self.specs: list[RecurrentSpec] = []
        self.num_masked = self.num_decoding = 0
        self._frame = 1
        self.masked_steps: list[NDArray[np.float32]] = []
        self.error: BundleError | None = None

    def start(self, lengths: Any, frame: int) -> None:
        """Begin a trace.

        Args:
            lengths: Symbolic int32 (batch), the graph input.
            frame: Steps that recurrent layers read as one.
        """
        self.lengths, self._frame = lengths, frame
        # All are positive, so ONNX's truncating division is a floor division.
        self.lengths_read = tf.truncatediv(lengths + (frame - 1), frame) if frame > 1 else lengths
        self.specs.clear()
        self.masked_steps.clear()
        self.num_masked = self.num_decoding = 0

    def recording_error(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call`, with its first error also stored in `error`."""

        @wraps(call)
        def kept(*args: Any, **kwargs: Any) -> Any:
            try:
                return call(*args, **kwargs)
            except BundleError as error:
                self.error = self.error or error
                raise

        return kept

    def valid_steps(self, sequences: Any) -> Any:
        """Return bool (batch, time, 1): which steps of `sequences`, (batch, time, features), are within the length."""
        positions = tf.cumsum(tf.ones_like(sequences[:, :, 0], dtype=tf.int32), axis=1)
        return tf.expand_dims(positions <= tf.expand_dims(self.lengths, 1), 2)

    def recurrent(self, layer: Any) -> Callable[..., Any]:
        """Return a replacement for the `call` of an LSTM, GRU or Bidirectional layer."""
        spec = recurrent_spec(layer, self.source)

        def call(sequences: Any, initial_state: Any = None, mask: Any = None, training: Any = None) -> Any:
            initial = _stack_states(spec, initial_state)
            if not self._is_determined(mask):
                return self._masked(spec, sequences, initial, mask)
            steps, states = self._opaque(spec, sequences, self.lengths_read, initial)
            return _keras_outputs(spec, steps, states[0], states)

        return call

    def decoding(self, layer: Any) -> Callable[..., Any]:
        """Return a replacement for the `call` of an LSTM or GRU layer of a decoder, which writes steps, not frames.

        Such a layer has no mask, and what it writes beyond a length is not used. One that writes a fixed number of
        steps writes as many of them as the sequence has.
        """
        spec = recurrent_spec(layer, self.source)

        def call(sequences: Any, initial_state: Any = None, mask: Any = None, training: Any = None) -> Any:
            written = sequences.shape[1]
            lengths = self.lengths if written is None else tf.minimum(self.lengths, written)
            self.num_decoding += 1
            steps, states = self._opaque(spec, sequences, lengths, _stack_states(spec, initial_state))
            return _keras_outputs(spec, steps, states[0], states)

        return call

    def _masked(self, spec: RecurrentSpec, sequences: Any, initial: list[Any], mask: Any) -> Any:
        """Return the output of the Keras layer under `mask`, bool (batch, time)."""
        if self.lengths_read is not self.lengths:
            raise BundleError(
                f"{self.source}: layer {spec.layer!r} skips masked steps and reads frames of steps; the two cannot be "
                "exported together. Rebuild the model without Masking, or without frames."
            )
        if spec.zero_output_for_mask and not spec.return_sequences:
            raise BundleError(
                f"{self.source}: layer {spec.layer!r} has zero_output_for_mask=True and returns its last output only, "
                "which has no equivalent in ONNX. Rebuild it with zero_output_for_mask=False and set its weights."
            )
        self.num_masked += 1
        kept = KeptSteps(self._kept(sequences, mask))
        # The order of Keras's outputs is restored below, over all steps instead of the kept ones.
        steps, states = self._opaque(replace(spec, flip_output=False), kept.first(sequences), kept.lengths, initial)
        last = kept.where_any(states[0], 0.0)
        states = [kept.where_any(state, first) for state, first in zip(states, initial or [0.0] * 2, strict=False)]
        directions = tf.split(steps, spec.num_directions, axis=2)
        backwards = [spec.direction == "reverse", True]
        spread = [
            kept.spread(steps, reverse=reverse, zero_where_skipped=spec.zero_output_for_mask)
            for steps, reverse in zip(directions, backwards, strict=False)
        ]
        steps = tf.concat(spread, axis=2)
        if spec.flip_output:
            steps = tf.reverse_sequence(steps, self.lengths, seq_axis=1)
        return _keras_outputs(spec, steps, last, states)

    def _is_determined(self, mask: Any) -> bool:
        """Return whether `mask`, bool (batch, time) or None, is determined by the lengths."""
        return mask is None or is_padding(mask, self.lengths, self._frame)

    def _kept(self, sequences: Any, mask: Any) -> Any:
        """Return bool (batch, time): the unmasked steps of `sequences` within the length."""
        return tf.logical_and(tf.cast(mask, tf.bool), tf.squeeze(self.valid_steps(sequences), 2))

    def _opaque(self, spec: RecurrentSpec, sequences: Any, lengths: Any, initial: list[Any]) -> tuple[Any, list[Any]]:
        """Return the steps, (batch, time, directions * units), and the states, each (directions, batch, units)."""
        inputs = [sequences, lengths, *initial]
        outputs = tf.numpy_function(
            _not_runnable, inputs, [tf.float32] * (1 + spec.num_states), name=f"{OPAQUE_NAME}{len(self.specs)}"
        )
        self.specs.append(spec)
        # set_shape does not survive into the converted graph, ensure_shape does.
        steps = tf.ensure_shape(outputs[0], [None, None, spec.num_directions * spec.units])
        return steps, [tf.ensure_shape(state, [spec.num_directions, None, spec.units]) for state in outputs[1:]]

    def average_pooling(self, layer: Any) -> Callable[..., Any]:
        """Return a replacement for `GlobalAveragePooling1D.call`: the mean over the valid steps."""

        def call(inputs: Any, mask: Any = None) -> Any:
            if not self._is_determined(mask):
                kept = tf.expand_dims(self._kept(inputs, mask), 2)
                total = tf.reduce_sum(tf.where(kept, inputs, 0.0), axis=1, keepdims=bool(layer.keepdims))
                # As in Keras, the mean of a sequence without unmasked steps is 0 / 0, NaN.
                return total / tf.reduce_sum(tf.cast(kept, tf.float32), axis=1, keepdims=bool(layer.keepdims))
            total = tf.reduce_sum(tf.where(self.valid_steps(inputs), inputs, 0.0), axis=1)
            pooled = total / tf.cast(tf.expand_dims(tf.maximum(self.lengths, 1), 1), tf.float32)
            return tf.expand_dims(pooled, 1) if layer.keepdims else pooled

        return call

    def max_pooling(self, layer: Any) -> Callable[..., Any]:
        """Return a replacement for `GlobalMaxPooling1D.call`: the maximum over valid steps, also masked ones."""

        def call(inputs: Any) -> Any:
            lowest = np.finfo(np.float32).min
            return tf.reduce_max(
                tf.where(self.valid_steps(inputs), inputs, lowest), axis=1, keepdims=bool(layer.keepdims)
            )

        return call

    def masking(self, layer: Any) -> Callable[..., Any]:
        """Return a replacement for `Masking.call`: 0 at masked steps. Keras itself propagates the mask."""

        def call(inputs: Any) -> Any:
            self.masked_steps.append(raw_mask_value(layer, inputs, self.source))
            kept = tf.reduce_any(tf.not_equal(inputs, layer.mask_value), axis=-1, keepdims=True)
            return tf.where(kept, inputs, 0.0)

        return call


def _not_runnable(*_: Any) -> Any:
    raise AssertionError("the opaque op is only converted, never run")


def _stack_states(spec: RecurrentSpec, initial_state: Any) -> list[Any]:
    """Return a tensor (directions, batch, units) per kind of state, from Keras's list, ordered by direction."""
    if initial_state is None:
        return []
    states = tf.nest.flatten(initial_state)
    return [tf.stack(states[kind :: spec.num_states], axis=0) for kind in range(spec.num_states)]


def _keras_outputs(spec: RecurrentSpec, steps: Any, last: Any, states: list[Any]) -> Any:
    """Return the outputs in Keras's order: sequences or last output, then the states if requested, by direction."""
    directions = range(spec.num_directions)
    joined = steps if spec.return_sequences else tf.concat([last[direction] for direction in directions], axis=-1)
    if spec.num_directions == 1 or spec.merge_mode == "concat":
        outputs = [joined]
    else:
        outputs = _merge(spec.merge_mode, joined[..., : spec.units], joined[..., spec.units :])
    if spec.return_state and spec.num_directions == 1:
        outputs += [tf.squeeze(state, 0) for state in states]  # one node; state[0] would be two
    elif spec.return_state:
        outputs += [state[direction] for direction in directions for state in states]
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _merge(merge_mode: str | None, forward: Any, backward: Any) -> list[Any]:
    if merge_mode is None:
        return [forward, backward]
    if merge_mode == "mul":
        return [forward * backward]
    return [(forward + backward) / 2.0 if merge_mode == "ave" else forward + backward]


def _embedding(layer: Any, source: str) -> Callable[..., Any]:
    """Return a replacement for `Embedding.call`: one table lookup, an ONNX Gather.

    Gather counts a negative id from the end of the table, as Keras does; here it is mapped beyond the table, where ONNX
    Runtime raises an error. An invalid id must not silently get the vector of another.
    """
    if layer.mask_zero:
        raise BundleError(
            f"{source}: layer {layer.name!r} has mask_zero=True; the lengths already define the padding, and id 0 "
            "is a value like any other. Rebuild it with mask_zero=False and set its weights."
        )
    num_ids = layer.input_dim

    def call(inputs: Any) -> Any:
        ids = tf.cast(inputs, tf.int32)
        return tf.gather(layer.embeddings.value, tf.where(ids < 0, num_ids, ids))

    return call


def _normalization(layer: Any) -> Callable[..., Any]:
    """Return a replacement for `Normalization.call` with numpy constants.

    The layer's own mean and variance are eager tensors, which a traced function captures; they would become required
    inputs of the ONNX graph.
    """
    mean = np.asarray(layer.mean, np.float32)
    spread = np.maximum(np.sqrt(np.asarray(layer.variance, np.float32)), np.float32(keras.config.epsilon()))
    return lambda inputs: inputs * spread + mean if layer.invert else (inputs - mean) / spread


def _dilated(layer: Any) -> Callable[..., Any] | None:
    """Return a replacement for `Conv1D.call` of the trainer's kernels with steps between their taps, None for others.

    TensorFlow deals such steps out to several batches and convolves each, which becomes fifty nodes in ONNX.
    """
    rate = layer.dilation_rate[0]
    is_plain = layer.use_bias and layer.groups == 1 and layer.activation is keras.activations.linear
    if rate == 1 or layer.padding != "same" or not is_plain:
        return None

    def call(inputs: Any) -> Any:
        steps, kernel = tf.expand_dims(inputs, 1), tf.expand_dims(layer.kernel.value, 0)
        every, dilations = [1, 1, 1, 1], [1, 1, rate, 1]
        found = tf.raw_ops.Conv2D(input=steps, filter=kernel, strides=every, padding="SAME", dilations=dilations)
        return tf.squeeze(found, 1) + layer.bias.value

    return call


def _replacement(layer: Any, tracing: Tracing, *, of_decoder: bool) -> Callable[..., Any] | None:
    layers = keras.layers
    if isinstance(layer, layers.LSTM | layers.GRU | layers.Bidirectional):
        return tracing.decoding(layer) if of_decoder else tracing.recurrent(layer)
    if isinstance(layer, layers.GlobalAveragePooling1D | layers.GlobalMaxPooling1D):
        if layer.data_format != "channels_last":
            raise BundleError(
                f"{tracing.source}: layer {layer.name!r} pools {layer.data_format}; only channels_last can be exported."
            )
        average = isinstance(layer, layers.GlobalAveragePooling1D)
        return tracing.average_pooling(layer) if average else tracing.max_pooling(layer)
    if isinstance(layer, layers.Embedding):
        return _embedding(layer, tracing.source)
    if isinstance(layer, layers.Masking):
        return tracing.masking(layer)
    if isinstance(layer, layers.Conv1D):
        return _dilated(layer)
    return _normalization(layer) if isinstance(layer, layers.Normalization) else None


def flat_layers(model: Any) -> Iterator[Any]:
    """Yield the layers of a model, including those of nested models."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from flat_layers(layer)
        else:
            yield layer


@contextmanager
def substituted(model: Any, source: str, decoder: Any | None = None) -> Iterator[Tracing]:
    """Replace the calls of layers inside `model` while the block runs.

    Args:
        model: A Keras model.
        source: Its file, for messages.
        decoder: The Keras model of its decoder; None without one.

    Raises:
        BundleError: A layer has an option without equivalent in ONNX.
    """
    tracing = Tracing(source)
    replaced: list[Any] = []
    regularized: list[tuple[Any, Any]] = []
    try:
        found = [(layer, False) for layer in flat_layers(model)]
        found += [] if decoder is None else [(layer, True) for layer in flat_layers(decoder)]
        for layer, of_decoder in found:
            call = _replacement(layer, tracing, of_decoder=of_decoder)
            if call is not None and layer not in replaced:
                layer.call = tracing.recording_error(call)
                replaced.append(layer)
            if layer.activity_regularizer is not None:  # a training loss, which is not part of the graph
                regularized.append((layer, layer.activity_regularizer))
                layer.activity_regularizer = None
        yield tracing
    finally:
        for layer in replaced:
            del layer.call
        for layer, regularizer in regularized:
            layer.activity_regularizer = regularizer
