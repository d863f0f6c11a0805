"""How many steps the recurrent layers of a model read: no fewer than the sequence has, since the lengths say how many.

A native LSTM or GRU is given the lengths of the sequences. Where an operation before it leaves fewer steps than that,
ONNX Runtime fails at every batch, with words that name neither the layer nor the operation.
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
    """Call a model on one sequence, and check how many steps each recurrent layer reads of it.

    Args:
        model: The encoder; not changed.

    Raises:
        BundleError: A layer reads fewer than there are, or Keras fails.
    """
    inputs = {
        "values": np.zeros((1, _STEPS, model.num_features), np.float32),
        "categories": np.zeros((1, _STEPS, model.num_fields), np.int32),
        "lengths": np.full(1, _STEPS, np.int32),
    }
    with _observed(model.keras_model) as steps_read:

        def count(*tensors: Any) -> list[Any]:
            steps_read.clear()
            model.call(dict(zip(model.interface, tensors, strict=True)))
            return [num_steps for _, num_steps in steps_read]

        try:
            counts = tf.function(count, input_signature=model.signature)(*(inputs[name] for name in model.interface))
        except tf.errors.OpError as error:
            raise BundleError(
                f"{model.source}: Keras fails on a sequence of {_STEPS} steps ({str(error).splitlines()[0]}). "
                "An encoder takes sequences of any length from 1 on: where an operation over the time axis leaves no "
                "step, pad its result to the length of the input with keras.ops.pad, and set the weights again."
            ) from error
    expected = -(-_STEPS // model.frame)
    for (layer, _), num_steps in zip(steps_read, counts, strict=True):
        if num_steps < expected:
            raise BundleError(
                f"{model.source}: layer {layer!r} reads {int(num_steps)} steps of a sequence of {_STEPS}, expected "
                f"{expected}: a recurrent layer must read as many as the lengths say. Where an operation before it "
                "leaves some out, as x[:, 1:] - x[:, :-1] does, pad its result to the length of the input with "
                "keras.ops.pad instead of slicing, and set the weights again."
            )


@contextmanager
def _observed(model: Any) -> Iterator[list[tuple[str, Any]]]:
    """Note each call of a recurrent layer while the block runs: its name, and symbolically how many steps it reads."""
    kinds = keras.layers.LSTM | keras.layers.GRU | keras.layers.Bidirectional
    steps_read: list[tuple[str, Any]] = []
    observed: list[Any] = []

    def observing(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def observe(sequences: Any, *args: Any, **kwargs: Any) -> Any:
            steps_read.append((layer.name, tf.shape(sequences)[1]))
            return call(sequences, *args, **kwargs)

        return observe

    try:
        for layer in flat_layers(model):
            if isinstance(layer, kinds) and layer not in observed:
                layer.call = observing(layer, layer.call)
                observed.append(layer)
        yield steps_read
    finally:
        for layer in observed:
            del layer.call
