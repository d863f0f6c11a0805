"""Decoders: stock Keras models from an embedding back to steps.

All take ``embedding`` float32 (batch, embedding_dim) and ``mask`` bool (batch, time), true at each step to be written:
``np.arange(time) < lengths[:, None]``. The autoregressive one also takes ``previous`` float32 (batch, time, features)
and ``previous_categories`` int32 (batch, time, fields), as far as there are any: at each step the standardised step
before it and its ids, zeros at the first. Numbers and each field are answered from the same hidden steps.

    positional      the embedding and the place in the sequence, each step by itself → dense layers
    repeat          the embedding at every step → recurrent layers → dense a step
    reshape         the embedding as (time, k), widened where it does not divide → recurrent layers → dense a step
    dense           the embedding as one step → recurrent layers → dense of time × features, reshaped → dense a step
    autoregressive  previous step and embedding at every step, initial states from the embedding → dense a step

`reshape` and `dense` write one fixed length; a mask longer than that gets NaN past it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.errors import UsageError
from seqembed.data.schema import CategoricalField
from seqembed.trainer.backend import keras
from seqembed.trainer.categories import class_logits, embedded, output_name, plain_name
from seqembed.trainer.config import FIXED_LENGTH_DECODERS, ModelConfig
from seqembed.trainer.model import recurrent_layer, weights_taken_off

ops, layers = keras.ops, keras.layers

_OCTAVES = 8
# A recurrent layer of 4096 units holds 67 million recurrent weights: more is a wrong choice of decoder.
MAX_FIXED_UNITS = 4096


@dataclass(frozen=True, slots=True)
class DecoderGraph:
    """A decoder as a graph, from which models are cut.

    Attributes:
        inputs: Name → symbolic input.
        scores: Name (`output_name`) → symbolic output: of the numbers (batch, time, features), standardised values, or
            logits with binary cross-entropy; of each field logits (batch, time, classes).
    """

    inputs: dict[str, Any]
    scores: dict[str, Any]


def check_fixed_length(config: ModelConfig, fixed_length: int, num_features: int) -> None:
    """Refuse a fixed-length decoder of absurd size.

    Args:
        config: The architecture.
        fixed_length: Steps the decoder would write.
        num_features: Width of a step: numbers and categories.

    Raises:
        UsageError: The decoder would be too large.
    """
    if not config.reconstructs or config.decoder not in FIXED_LENGTH_DECODERS:
        return
    size = fixed_length * (num_features if config.decoder == "dense" else 1)
    if size > MAX_FIXED_UNITS:
        what = f"{fixed_length} steps" + (f" × {num_features} features" if config.decoder == "dense" else "")
        raise UsageError(
            f"--decoder {config.decoder} would write {what} = {size} at once; it is made for at most "
            f"{MAX_FIXED_UNITS}. Shorten the sequences with --max-length, or choose --decoder repeat."
        )


def build_decoder(
    config: ModelConfig,
    embedding_dim: int,
    num_features: int,
    fixed_length: int,
    fields: Sequence[CategoricalField] = (),
    weights: NDArray[np.float32] | None = None,
) -> DecoderGraph:
    """Build the decoder's graph.

    Args:
        config: The architecture.
        embedding_dim: Width of the embedding.
        num_features: Numbers of a step; may be 0 where there are fields.
        fixed_length: Steps that `reshape` and `dense` write; the others ignore it.
        fields: Categorical fields in model order.
        weights: float32 (embedding_dim), which the encoder multiplied the embedding by; None is 1.
    """
    embedding = keras.Input((embedding_dim,), name="embedding", dtype="float32")
    mask = keras.Input((None,), name="mask", dtype="bool")
    inputs = {"embedding": embedding, "mask": mask}
    embedding = weights_taken_off(embedding, weights)
    if config.decoder == "autoregressive":
        previous = _previous(inputs, num_features, fields)
        hidden = _autoregressive(config, embedding, mask, previous)
    elif config.decoder == "positional":
        hidden = _positional(config, embedding, mask)
    elif config.decoder == "repeat":
        hidden = _recurrent(config, _repeat(embedding, mask))
    elif config.decoder == "reshape":
        hidden = _recurrent(config, _reshape(embedding, fixed_length))
    else:
        hidden = _dense(config, embedding, fixed_length, num_features + len(fields))
    scores = told_apart(hidden, num_features, fields, "reconstruction", "steps")
    if config.decoder in FIXED_LENGTH_DECODERS:
        scores = {name: _fit(told, mask, fixed_length) for name, told in scores.items()}
    return DecoderGraph(inputs, scores)


def told_apart(
    hidden: Any, num_features: int, fields: Sequence[CategoricalField], head: str, name: str
) -> dict[str, Any]:
    """Return what a head says of hidden (…, units): numbers (…, features), and logits (…, classes) of each field."""
    scores = {}
    if num_features:
        scores[output_name(head)] = layers.Dense(num_features, name=name)(hidden)
    for place, field in enumerate(fields):
        told = class_logits(hidden, field, f"{name}_{place + 1}_{plain_name(field.name)}")
        scores[output_name(head, field)] = told
    return scores


def _previous(inputs: dict[str, Any], num_features: int, fields: Sequence[CategoricalField]) -> list[Any]:
    """Add the inputs of the steps before, and return what is read of them, each (batch, time, width)."""
    read = []
    if num_features:
        inputs["previous"] = keras.Input((None, num_features), name="previous", dtype="float32")
        read.append(inputs["previous"])
    if fields:
        inputs["previous_categories"] = keras.Input((None, len(fields)), name="previous_categories", dtype="int32")
        read.append(embedded(inputs["previous_categories"], inputs["mask"], fields, "embed_previous"))
    return read


def _name(config: ModelConfig, place: int) -> str:
    return f"decoder_{config.cell}_{place + 1}"


def _recurrent(config: ModelConfig, steps: Any) -> Any:
    """Run the recurrent layers; right padding cannot reach a real step, so they need no mask."""
    for place in range(config.decoder_layers or 1):
        steps = _decoder_layer(config, place)(steps)
    return steps  # (batch, time, decoder_units)


def _decoder_layer(config: ModelConfig, place: int) -> Any:
    return recurrent_layer(config, _name(config, place), config.decoder_units, return_sequences=True)


def _positional(config: ModelConfig, embedding: Any, mask: Any) -> Any:
    """Return (batch, time, decoder_units): over embedding and place, of which the embedding's part is computed once."""
    units = config.decoder_units
    counted = ops.cast(mask, "float32")
    length = ops.maximum(ops.sum(counted, axis=1, keepdims=True), 1.0)  # (batch, 1)
    place = ops.divide(ops.cumsum(ops.ones_like(counted), axis=1) - 0.5, length)  # (batch, time), of the whole
    angles = [ops.multiply(place, math.pi * 2**octave) for octave in range(_OCTAVES)]
    waves = [place, *(wave(angle) for angle in angles for wave in (ops.sin, ops.cos))]
    of_place = layers.Dense(units, name="decoder_place")(ops.stack(waves, axis=-1))
    of_embedding = layers.Dense(units, use_bias=False, name="decoder_embedding")(embedding)
    steps = layers.Activation("relu", name="decoder_hidden")(of_place + ops.expand_dims(of_embedding, 1))
    for place in range(1, config.decoder_layers or 1):
        steps = layers.Dense(units, activation="relu", name=f"decoder_dense_{place + 1}")(steps)
    return steps


def _repeat(embedding: Any, mask: Any) -> Any:
    """Return the embedding at every step, (batch, time, embedding_dim); time comes from the mask."""
    ones = ops.expand_dims(ops.ones_like(mask, dtype="float32"), -1)  # (batch, time, 1)
    return ops.multiply(ones, ops.expand_dims(embedding, 1))


def _reshape(embedding: Any, time: int) -> Any:
    """Return the embedding as (batch, time, k)."""
    embedding_dim = embedding.shape[-1]
    width = max(1, embedding_dim // time)
    if width * time != embedding_dim:
        embedding = layers.Dense(time * width, name="decoder_widen")(embedding)
    return layers.Reshape((time, width), name="decoder_reshape")(embedding)


def _dense(config: ModelConfig, embedding: Any, time: int, num_features: int) -> Any:
    """Return (batch, time, features) from recurrent layers that see the embedding as their only step."""
    steps = _recurrent(config, layers.Reshape((1, embedding.shape[-1]), name="decoder_one_step")(embedding))
    written = layers.Dense(time * num_features, name="decoder_steps")(steps)
    return layers.Reshape((time, num_features), name="decoder_reshape")(written)


def _autoregressive(config: ModelConfig, embedding: Any, mask: Any, previous: list[Any]) -> Any:
    """Return (batch, time, units); the embedding starts every layer's state and stands beside every previous step."""
    steps = layers.Concatenate(name="decoder_previous")([*previous, _repeat(embedding, mask)])
    num_states = 2 if config.cell == "lstm" else 1
    for place in range(config.decoder_layers or 1):
        names = [f"{_name(config, place)}_{state}" for state in ("state", "memory")[:num_states]]
        start = [layers.Dense(config.decoder_units, activation="tanh", name=state)(embedding) for state in names]
        steps = _decoder_layer(config, place)(steps, initial_state=start)
    return steps


def _fit(scores: Any, mask: Any, fixed_length: int) -> Any:
    """Cut scores (batch, fixed_length, features) to the mask's time; steps past the fixed length are NaN."""
    places = ops.cumsum(ops.ones_like(mask, dtype="int32"), axis=1) - 1  # (batch, time), from 0
    inside = ops.minimum(places, fixed_length - 1)
    cut = ops.take_along_axis(scores, ops.expand_dims(inside, -1), axis=1)
    return ops.where(ops.expand_dims(ops.less(places, fixed_length), -1), cut, float("nan"))
