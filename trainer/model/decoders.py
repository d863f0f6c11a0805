"""Decoders: stock Keras models from an embedding back to steps.

All decoders take ``embedding`` float32 (batch, embedding_dim) and ``mask`` bool (batch, time), true at each step to
write: ``np.arange(time) < lengths[:, None]``. The autoregressive decoder also takes ``previous`` float32 (batch, time,
features) and ``previous_categories`` int32 (batch, time, fields), where there are any: at each step the standardised
previous step and its ids, zeros at the first. Numbers and fields share the hidden steps; each has an output layer.

    positional      the embedding and the position in the sequence, each step by itself → dense layers
    repeat          the embedding at every step → recurrent layers → dense per step
    reshape         the embedding as (time, k), widened if it does not divide → recurrent layers → dense per step
    dense           the embedding as one step → recurrent layers → dense of time × features, reshaped → dense per step
    autoregressive  previous step and embedding at every step, initial states from the embedding → dense per step

`reshape` and `dense` write a fixed length; steps beyond it are NaN.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seqembed.data.errors import UsageError
from seqembed.data.schema.schema import CategoricalField
from seqembed.trainer.config.model import FIXED_LENGTH_DECODERS
from seqembed.trainer.config.resolved import ResolvedModel
from seqembed.trainer.model.backend import keras
from seqembed.trainer.model.blocks import OutputMap
from seqembed.trainer.model.categories import class_logits, embedded, output_name, plain_name
from seqembed.trainer.model.encoder import recurrent_layer

ops, layers = keras.ops, keras.layers

_OCTAVES = 8
# A recurrent layer of 4096 units has 67 million recurrent weights: with more, the decoder is the wrong choice.
MAX_FIXED_UNITS = 4096


@dataclass(frozen=True, slots=True)
class DecoderGraph:
    """A decoder as symbolic inputs and outputs, from which models are built.

    Attributes:
        inputs: Name → symbolic input.
        scores: Name (`output_name`) → symbolic output. Numbers (batch, time, features) are standardised values, or
            logits with binary cross-entropy; each field has logits (batch, time, classes).
    """

    inputs: dict[str, Any]
    scores: dict[str, Any]


def check_fixed_length(config: ResolvedModel, fixed_length: int, num_features: int) -> None:
    """Refuse a fixed-length decoder that would be too large.

    Args:
        config: The architecture.
        fixed_length: Steps the decoder would write.
        num_features: Numbers and categories per step.

    Raises:
        UsageError: The decoder would be too large.
    """
    if not config.reconstructs or config.decoder not in FIXED_LENGTH_DECODERS:
        return
    size = fixed_length * (num_features if config.decoder == "dense" else 1)
    if size > MAX_FIXED_UNITS:
        what = f"{fixed_length} steps" + (f" × {num_features} features" if config.decoder == "dense" else "")
        raise UsageError(
            f"--decoder {config.decoder} would write {what} = {size} values at once; the limit is {MAX_FIXED_UNITS}. "
            "Shorten the sequences with --max-length, or choose --decoder repeat."
        )


def build_decoder(
    config: ResolvedModel,
    embedding_dim: int,
    num_features: int,
    fixed_length: int,
    fields: Sequence[CategoricalField] = (),
    output: OutputMap | None = None,
) -> DecoderGraph:
    """Build the decoder's graph.

    Args:
        config: The architecture.
        embedding_dim: Width of the embedding.
        num_features: Numbers per step; may be 0 where there are fields.
        fixed_length: Steps that `reshape` and `dense` write; the others ignore it.
        fields: Categorical fields in model order.
        output: What the encoder did to the blocks of the embedding.
    """
    embedding = keras.Input((embedding_dim,), name="embedding", dtype="float32")
    mask = keras.Input((None,), name="mask", dtype="bool")
    inputs = {"embedding": embedding, "mask": mask}
    embedding = embedding if output is None else output.undo(embedding)
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
    scores = output_layers(hidden, num_features, fields, "reconstruction", "steps")
    if config.decoder in FIXED_LENGTH_DECODERS:
        scores = {name: _fit(score, mask, fixed_length) for name, score in scores.items()}
    return DecoderGraph(inputs, scores)


def output_layers(
    hidden: Any, num_features: int, fields: Sequence[CategoricalField], head: str, name: str
) -> dict[str, Any]:
    """Return the scores of a head from hidden (…, units): numbers (…, features), and logits (…, classes) per field."""
    scores = {}
    if num_features:
        scores[output_name(head)] = layers.Dense(num_features, name=name)(hidden)
    for index, field in enumerate(fields):
        logits = class_logits(hidden, field, f"{name}_{index + 1}_{plain_name(field.name)}")
        scores[output_name(head, field)] = logits
    return scores


def _previous(inputs: dict[str, Any], num_features: int, fields: Sequence[CategoricalField]) -> list[Any]:
    """Add the inputs of the previous steps, and return them as vectors, each (batch, time, width)."""
    read = []
    if num_features:
        inputs["previous"] = keras.Input((None, num_features), name="previous", dtype="float32")
        read.append(inputs["previous"])
    if fields:
        inputs["previous_categories"] = keras.Input((None, len(fields)), name="previous_categories", dtype="int32")
        read.append(embedded(inputs["previous_categories"], inputs["mask"], fields, "embed_previous"))
    return read


def _name(config: ResolvedModel, index: int) -> str:
    return f"decoder_{config.cell}_{index + 1}"


def _recurrent(config: ResolvedModel, steps: Any) -> Any:
    """Apply the recurrent layers; padding at the end cannot influence a real step, so they need no mask."""
    for index in range(config.decoder_layers):
        steps = _decoder_layer(config, index)(steps)
    return steps  # (batch, time, decoder_units)


def _decoder_layer(config: ResolvedModel, index: int) -> Any:
    return recurrent_layer(config, _name(config, index), config.decoder_units, return_sequences=True)


def _positional(config: ResolvedModel, embedding: Any, mask: Any) -> Any:
    """Return (batch, time, decoder_units) from position and embedding; the embedding's term is computed only once."""
    units = config.decoder_units
    counted = ops.cast(mask, "float32")
    length = ops.maximum(ops.sum(counted, axis=1, keepdims=True), 1.0)  # (batch, 1)
    position = ops.divide(ops.cumsum(ops.ones_like(counted), axis=1) - 0.5, length)  # (batch, time), 0…1
    angles = [ops.multiply(position, math.pi * 2**octave) for octave in range(_OCTAVES)]
    waves = [position, *(wave(angle) for angle in angles for wave in (ops.sin, ops.cos))]
    from_position = layers.Dense(units, name="decoder_position")(ops.stack(waves, axis=-1))
    from_embedding = layers.Dense(units, use_bias=False, name="decoder_embedding")(embedding)
    steps = layers.Activation("relu", name="decoder_hidden")(from_position + ops.expand_dims(from_embedding, 1))
    for index in range(1, config.decoder_layers):
        steps = layers.Dense(units, activation="relu", name=f"decoder_dense_{index + 1}")(steps)
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


def _dense(config: ResolvedModel, embedding: Any, time: int, num_features: int) -> Any:
    """Return (batch, time, features) from recurrent layers whose only step is the embedding."""
    steps = _recurrent(config, layers.Reshape((1, embedding.shape[-1]), name="decoder_one_step")(embedding))
    written = layers.Dense(time * num_features, name="decoder_steps")(steps)
    return layers.Reshape((time, num_features), name="decoder_reshape")(written)


def _autoregressive(config: ResolvedModel, embedding: Any, mask: Any, previous: list[Any]) -> Any:
    """Return (batch, time, units); the embedding sets every layer's initial state and is repeated at every step."""
    steps = layers.Concatenate(name="decoder_previous")([*previous, _repeat(embedding, mask)])
    num_states = 2 if config.cell == "lstm" else 1
    for index in range(config.decoder_layers):
        names = [f"{_name(config, index)}_{state}" for state in ("state", "memory")[:num_states]]
        start = [layers.Dense(config.decoder_units, activation="tanh", name=state)(embedding) for state in names]
        steps = _decoder_layer(config, index)(steps, initial_state=start)
    return steps


def _fit(scores: Any, mask: Any, fixed_length: int) -> Any:
    """Cut scores (batch, fixed_length, features) to the mask's time; steps past the fixed length are NaN."""
    positions = ops.cumsum(ops.ones_like(mask, dtype="int32"), axis=1) - 1  # (batch, time), from 0
    inside = ops.minimum(positions, fixed_length - 1)
    cut = ops.take_along_axis(scores, ops.expand_dims(inside, -1), axis=1)
    return ops.where(ops.expand_dims(ops.less(positions, fixed_length), -1), cut, float("nan"))
