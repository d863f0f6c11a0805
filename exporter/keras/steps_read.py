"""Check that each recurrent layer of a model reads as many steps as the sequence has.

A native LSTM or GRU gets the lengths of the sequences. If an operation before it returns fewer steps, ONNX Runtime
fails for every batch, with a message that names neither the layer nor the operation.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from seqembed.data.errors import BundleError
from seqembed.exporter.keras.libraries import keras, tf
from seqembed.exporter.keras.model import EncoderModel
from seqembed.exporter.keras.substitute import flat_layers

_STEPS = 32


def refuse_fewer_steps(model: EncoderModel) -> None:
    """Call a model on one sequence, and check how many steps each recurrent layer reads.

    The recurrent layers return zeros: only the number of their steps matters here, and tracing their loops would take
    a quarter of the time of an export.

    Args:
        model: The encoder; not changed.

    Raises:
        BundleError: A layer reads fewer steps than the sequence has, or Keras fails in another layer.
    """
    inputs = {
        "values": np.zeros((1, _STEPS, model.num_features), np.float32),
        "categories": np.zeros((1, _STEPS, model.num_fields), np.int32),
        "lengths": np.full(1, _STEPS, np.int32),
    }
    with _observed(model.keras_model) as steps_read:
        try:
            model.embed({name: tf.constant(inputs[name]) for name in model.interface})
        except tf.errors.OpError as error:
            raise BundleError(
                f"{model.source}: Keras fails on a sequence of {_STEPS} steps ({str(error).splitlines()[0]}). "
                "An encoder must accept any length from 1 on: if an operation over the time axis returns fewer "
                "steps, pad its result to the length of the input with keras.ops.pad, and set the weights again."
            ) from error
    expected = -(-_STEPS // model.frame)
    for layer, num_steps in steps_read:
        if num_steps < expected:
            raise BundleError(
                f"{model.source}: layer {layer!r} reads {int(num_steps)} steps of a sequence of {_STEPS}, expected "
                f"{expected}: a recurrent layer must read as many steps as the input has. If an operation before it "
                "returns fewer, as x[:, 1:] - x[:, :-1] does, pad its result to the length of the input with "
                "keras.ops.pad, and set the weights again. To export an encoder of `seqembed train`, pass its run "
                "directory."
            )


@contextmanager
def _observed(model: Any) -> Iterator[list[tuple[str, Any]]]:
    """Replace the calls of recurrent layers while the block runs; record name and number of steps of each."""
    kinds = keras.layers.LSTM | keras.layers.GRU | keras.layers.Bidirectional
    steps_read: list[tuple[str, Any]] = []
    observed: list[Any] = []

    def observing(layer: Any) -> Callable[..., Any]:
        def observe(sequences: Any, *args: Any, **kwargs: Any) -> Any:
            batch_size, num_steps = tf.unstack(tf.shape(sequences)[:2])
            steps_read.append((layer.name, num_steps))
            specs = layer.compute_output_spec(sequences, *args, **kwargs)
            return keras.tree.map_structure(lambda spec: _zeros(spec, batch_size, num_steps), specs)

        return observe

    try:
        for layer in flat_layers(model):
            if isinstance(layer, kinds) and layer not in observed:
                layer.call = observing(layer)
                observed.append(layer)
        yield steps_read
    finally:
        for layer in observed:
            del layer.call


def _zeros(spec: Any, batch_size: Any, num_steps: Any) -> Any:
    """Return zeros of the shape and type of a layer's output, whose batch and time axes are None in `spec`."""
    shape = (batch_size, *(num_steps if size is None else size for size in spec.shape[1:]))
    return tf.zeros(shape, spec.dtype)
