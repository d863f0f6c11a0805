"""The encoder as a stock Keras model: {values, categories, lengths} → embedding.

Standardisation, imputation and the mask are part of the model, so that serving cannot drift from training. Only layers
and operations that Keras ships are used: any Keras 3 loads ``encoder.keras`` without seqembed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.plurals import counted
from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.schema import CategoricalField
from seqembed.data.standardise import MAX_DEVIATIONS, moments
from seqembed.trainer.config.resolved import ResolvedModel
from seqembed.trainer.input.scale import MIN_SPREAD
from seqembed.trainer.model.backend import keras
from seqembed.trainer.model.blocks import OutputMap
from seqembed.trainer.model.categories import embedded, summaries
from seqembed.trainer.model.frames import Frames, fold, frames_of, mean_frames, num_frames
from seqembed.trainer.model.kernels import Kernels, kernel_shares
from seqembed.trainer.model.pairs import Pairs, pair_means
from seqembed.trainer.model.trajectory import trajectory

ops, layers = keras.ops, keras.layers

_MAX_STATISTIC = 5.0
_NOISE = 0.1


def valid_steps(values: Any, lengths: Any) -> Any:
    """Return the mask of real steps, bool (batch, time), of values or categories (batch, time, …) and lengths."""
    positions = ops.cumsum(ops.ones_like(values[:1, :, 0], dtype="int32"), axis=1)  # (1, time), from 1
    return ops.less_equal(positions, ops.expand_dims(lengths, 1))


def known_values(values: Any, mask: Any, time_axis: int = 1) -> Any:
    """Return which values are present, bool like `values`: within the length, and not missing.

    Args:
        values: float32 (batch, time, features), or (time, features, batch).
        mask: bool (batch, time), true at real steps.
        time_axis: Which axis of `values` is the time, 1 or 0.
    """
    laid_out = ops.expand_dims(mask if time_axis == 1 else ops.transpose(mask), time_axis + 1)
    return ops.logical_and(laid_out, ops.logical_not(ops.isnan(values)))


def standardised(values: Any, known: Any, profile: SequenceProfile, name: str, time_axis: int = 1) -> Any:
    """Standardise; what is not `known` becomes 0, which is the mean. Layout and `time_axis` as for `known_values`.

    Values are clipped at `MAX_DEVIATIONS` standard deviations, so that one outlier cannot dominate all other values.
    Keras's Normalization would square the deviation, which float32 cannot hold below 1e-19 or above 1e19.
    """
    mean, std = (_along_features(numbers, time_axis) for numbers in moments(profile))
    centred = layers.Rescaling(1.0, (-mean).tolist(), name=f"{name}_mean")(values)
    scaled = layers.Rescaling((1 / std).tolist(), name=f"{name}_spread")(centred)
    return ops.where(known, ops.clip(scaled, -MAX_DEVIATIONS, MAX_DEVIATIONS), 0.0)


def _along_features(numbers: NDArray[np.float32], time_axis: int) -> NDArray[np.float32]:
    """Return numbers (features) in a shape that broadcasts over the features of a layout."""
    return numbers if time_axis == 1 else numbers[:, None]


def raw_values(scores: Any, profile: SequenceProfile, loss: str, name: str) -> Any:
    """Turn scores (…, features) into raw units; with binary cross-entropy, logits into probabilities."""
    if loss == "binary_crossentropy":
        return layers.Activation("sigmoid", name=name)(scores)
    mean, std = moments(profile)
    return layers.Rescaling(std.tolist(), mean.tolist(), name=name)(scores)


def recurrent_layer(config: ResolvedModel, name: str, units: int, **options: Any) -> Any:
    """Return one forward recurrent layer of the configured cell and activation."""
    kind = layers.LSTM if config.cell == "lstm" else layers.GRU
    return kind(units, activation=config.activation, name=name, **options)


def network_inputs(num_features: int, num_fields: int) -> dict[str, Any]:
    """Return the symbolic inputs of an encoder by name, ``values`` and ``categories`` only where needed."""
    inputs = {"lengths": keras.Input((), name="lengths", dtype="int32")}
    if num_fields:
        inputs["categories"] = keras.Input((None, num_fields), name="categories", dtype="int32")
    if num_features:
        inputs["values"] = keras.Input((None, num_features), name="values", dtype="float32")
    return dict(reversed(inputs.items()))


@dataclass(frozen=True, slots=True)
class Landmark:
    """A symbolic tensor inside the encoder that operations compute and no layer: what a picture shows beside layers.

    Attributes:
        name: What it is.
        kind: How it is made.
        tensor: The tensor.
    """

    name: str
    kind: str
    tensor: Any


@dataclass(frozen=True, slots=True)
class EncoderGraph:
    """An encoder as a Keras model, with its landmarks."""

    model: Any
    landmarks: tuple[Landmark, ...]


def build_encoder(
    config: ResolvedModel,
    profile: SequenceProfile,
    difference_std: NDArray[np.float32] | None = None,
    fields: Sequence[CategoricalField] = (),
    output: OutputMap | None = None,
    kernels: Kernels | None = None,
    pairs: Pairs | None = None,
) -> Any:
    """Return the Keras model of `encoder_graph`."""
    return encoder_graph(config, profile, difference_std, fields, output, kernels, pairs).model


def encoder_graph(
    config: ResolvedModel,
    profile: SequenceProfile,
    difference_std: NDArray[np.float32] | None = None,
    fields: Sequence[CategoricalField] = (),
    output: OutputMap | None = None,
    kernels: Kernels | None = None,
    pairs: Pairs | None = None,
) -> EncoderGraph:
    """Build the encoder.

    Args:
        config: The architecture.
        profile: Statistics of the training sequences, to standardise with.
        difference_std: float32 (features), spread of the differences from step to step of standardised values; None
            takes them as they are.
        fields: Categorical fields in model order.
        output: Scales and projection of the blocks, found after training; None leaves them as they are.
        kernels: Fixed kernels; None without them.
        pairs: Functions of consecutive steps; None without them.

    Returns:
        Its model goes to the embedding, float32 (batch, embedding_dim). Its inputs are ``lengths`` int32 (batch) and,
        where there are any, ``values`` float32 (batch, time, features), raw units, NaN allowed, and ``categories``
        int32 (batch, time, fields), ids. Padding has no influence. `blocks.py` lists what the embedding
        holds.
    """
    inputs = network_inputs(len(profile.mean), len(fields))
    lengths = inputs["lengths"]
    mask = valid_steps(inputs.get("values", inputs.get("categories")), lengths)  # (batch, time)
    frames = frames_of(config, mask, lengths)
    time_axis = 1
    channels: list[Any] = []
    branches: list[Any] = []
    statistics: list[Any] = []
    trajectories: list[Any] = []
    shares: list[Any] = []
    numbers: list[Any] = []
    marks: list[Landmark] = []
    if "values" in inputs:
        # Recurrent layers get the lengths and ignore the padding, and zeroing it costs a tenth of such a layer.
        zeroed = config.normalization == "sequence" or config.channels != "values" or frames.size + frames.overlap > 1
        zeroed = zeroed or kernels is not None or pairs is not None
        # ONNX Runtime iterates over the last axes of a tensor, several times slower where these have few numbers, as
        # features or the mean of each have. What is more than a scale is computed with the batch as the last axis.
        time_axis = 0 if zeroed else 1
        values = _batch_last(inputs["values"]) if zeroed else inputs["values"]
        present = known_values(values, mask, time_axis) if zeroed else ops.logical_not(ops.isnan(values))
        steps = standardised(values, present, profile, "standardise", time_axis)
        known = ops.cast(present, "float32")
        read = steps
        if config.normalization == "sequence":
            read, statistics = normalize_sequences(steps, known, time_axis)
            names = ("sequence_mean", "sequence_spread")
            marks += [Landmark(name, "over known values", one) for name, one in zip(names, statistics, strict=True)]
        if config.trajectory:
            size = config.trajectory_frame
            frames_read = ops.expand_dims(num_frames(lengths, size), 1)
            means = _batch_first(mean_frames(read, size, time_axis), time_axis)
            trajectories.append(trajectory(means, frames_read, config.trajectory))
            marks.append(Landmark("trajectory", f"{config.trajectory} points of each feature", trajectories[0]))
        if kernels is not None:
            shares.append(kernel_shares(_batch_first(read, time_axis), mask, lengths, kernels))
            marks.append(Landmark("kernels", "share of steps that each fits", shares[0]))
        if pairs is not None:
            numbers = [_batch_first(one, time_axis) for one in (read, known)]
        channels.append(_noisy(config, read, "noise"))
    if "categories" in inputs:
        channels.append(embedded(inputs["categories"], mask, fields, "embed"))
        if config.normalization == "sequence":
            statistics.append(mean_step(channels[-1], lengths))
            marks.append(Landmark("mean_of_categories", "over the steps", statistics[-1]))
            wide = summaries(inputs["categories"], mask, fields, "summary")
            marks += [Landmark(f"mean_of_summary_{i + 1}", "over the steps", one) for i, one in enumerate(wide)]
            statistics += wide
    if config.channels != "differences":
        read, axis = channels[0], 1 if "categories" in inputs else time_axis
        if len(channels) > 1:
            first = _batch_first(channels[0], time_axis)
            read = layers.Concatenate(name="numbers_and_categories")([first, channels[1]])
        branches.append(_branch(config, read, frames, "encoder", marks, axis))
    if config.channels != "values":
        changes = _noisy(config, differences(steps, known, difference_std, time_axis), "noise_of_differences")
        branches.append(_branch(config, changes, frames, "encoder_differences", marks, time_axis))
    if pairs is not None:
        shares.append(pair_means(numbers, inputs.get("categories"), mask, lengths, pairs, fields))
    if config.mixes:  # a dense layer mixes the blocks: a trajectory shall count as one of its points
        trajectories = [ops.multiply(points, 1 / math.sqrt(config.trajectory)) for points in trajectories]
    blocks = [*branches, *statistics, *trajectories, *shares]
    embedding = blocks[0] if len(blocks) == 1 else layers.Concatenate(name="joined")(blocks)
    if config.mixes:
        embedding = layers.Dense(config.embedding_dim, name="embedding")(embedding)  # (batch, embedding_dim)
    if output is not None:
        embedding = output.apply(embedding)
    model = keras.Model(inputs, embedding, name="encoder")
    return EncoderGraph(model, tuple(marks))


def mean_step(steps: Any, lengths: Any) -> Any:
    """Return the mean over time of (batch, time, width), whose padding is 0: (batch, width), 0 without steps."""
    count = ops.cast(ops.maximum(ops.expand_dims(lengths, 1), 1), "float32")  # (batch, 1)
    return ops.divide(ops.sum(steps, axis=1), count)


def _batch_last(steps: Any) -> Any:
    """Return (time, features, batch) of (batch, time, features)."""
    return ops.transpose(steps, (1, 2, 0))


def _batch_first(steps: Any, time_axis: int) -> Any:
    """Return (batch, time, features) of steps in the layout with that time axis."""
    return steps if time_axis == 1 else ops.transpose(steps, (2, 0, 1))


def _noisy(config: ResolvedModel, steps: Any, name: str) -> Any:
    """Add noise to steps (batch, time, features) while training on views, and at no other time.

    The noise is added to the normalised inputs of the recurrent layers, so it is equally strong for sequences of small
    and large amplitude, and for values and differences. Recurrent layers ignore it in the padding, except for the zeros
    that pad the last frame.
    """
    return layers.GaussianNoise(_NOISE, name=name)(steps) if config.contrasts else steps


def normalize_sequences(steps: Any, known: Any, time_axis: int = 1) -> tuple[Any, list[Any]]:
    """Standardise each feature of each sequence by its own mean and spread.

    Source: instance normalisation, Ulyanov et al. (2016), here over the known values in time.

    Args:
        steps: float32 (batch, time, features) or (time, features, batch), standardised; 0 where not known.
        known: float32 like `steps`, 1 where a value is there, 0 in the padding and where one is missing.
        time_axis: Which axis of both is the time, 1 or 0.

    Returns:
        The scaled steps, 0 where not known, and the per-sequence statistics: mean and spread, each float32
        (batch, features). They are clipped at `_MAX_STATISTIC`, so that none dominates the embedding.
    """
    count = ops.maximum(ops.sum(known, axis=time_axis, keepdims=True), 1.0)  # 1 step instead of the time
    mean = ops.divide(ops.sum(steps, axis=time_axis, keepdims=True), count)
    centred = ops.multiply(ops.subtract(steps, mean), known)
    spread = ops.sqrt(ops.divide(ops.sum(ops.square(centred), axis=time_axis, keepdims=True), count))
    scaled = ops.divide(centred, ops.add(spread, MIN_SPREAD))
    statistics = [ops.squeeze(_batch_first(one, time_axis), 1) for one in (mean, spread)]
    bounds = ((-_MAX_STATISTIC, _MAX_STATISTIC), (0.0, _MAX_STATISTIC))
    return scaled, [ops.clip(one, *between) for one, between in zip(statistics, bounds, strict=True)]


def differences(steps: Any, known: Any, difference_std: NDArray[np.float32] | None, time_axis: int = 1) -> Any:
    """Return the difference of each step from the one before; 0 at the first step and where either value is missing.

    Args:
        steps: float32 (batch, time, features) or (time, features, batch), standardised.
        known: float32 like `steps`, 1 where a value is there, 0 in the padding and where one is missing.
        difference_std: float32 (features), the unit of the differences; None is 1.
        time_axis: Which axis of steps and known is the time, 1 or 0.
    """
    before = (slice(None),) * time_axis
    earlier, later = (*before, slice(None, -1)), (*before, slice(1, None))
    both = ops.multiply(known[later], known[earlier])
    changes = ops.multiply(ops.subtract(steps[later], steps[earlier]), both)
    if difference_std is not None:
        scale = _along_features(np.float32(1) / difference_std, time_axis).tolist()
        changes = layers.Rescaling(scale, name="standardise_differences")(changes)
    first = [(1, 0) if axis == time_axis else (0, 0) for axis in range(3)]
    return ops.pad(ops.clip(changes, -MAX_DEVIATIONS, MAX_DEVIATIONS), first)


def _branch(config: ResolvedModel, steps: Any, frames: Frames, name: str, marks: list[Landmark], time_axis: int) -> Any:
    """Return one vector per sequence, (batch, width): recurrent layers over frames of `steps`, then pooling."""
    steps = fold(steps, frames.size, frames.overlap, time_axis)
    steps = _batch_first(steps, time_axis)  # (batch, frames, (size + overlap) × features)
    if frames.size + frames.overlap > 1:
        kind = f"{counted(frames.size, 'step')}" + (f" and the next {frames.overlap}" if frames.overlap else "")
        marks.append(Landmark(f"frames_of_{name}", kind, steps))
    for index in range(config.layers):
        steps, states = _recurrent(config, f"{name}_{config.cell}_{index + 1}", steps, frames.mask)
    return _pool(config, steps, states, frames, name)


def _recurrent(config: ResolvedModel, name: str, steps: Any, mask: Any) -> tuple[Any, list[Any]]:
    """Return the outputs, zero in the padding, (batch, time, units × directions), and each direction's final state."""
    layer = recurrent_layer(
        config, name, config.units, return_sequences=True, return_state=True, zero_output_for_mask=True
    )
    if not config.bidirectional:
        outputs, *states = layer(steps, mask=mask)
        return outputs, states[:1]
    outputs, *states = layers.Bidirectional(layer, name=f"{name}_both_ways")(steps, mask=mask)
    return outputs, [states[0], states[len(states) // 2]]  # the hidden states; an LSTM's cell states stay inside


def _pool(config: ResolvedModel, steps: Any, states: list[Any], frames: Frames, name: str) -> Any:
    """Return one vector per sequence, (batch, width); a sequence without steps gets zeros from mean and max."""
    pooled, pooling = [], config.pooling
    if pooling in ("last", "concat"):
        pooled += states
    if pooling in ("mean", "concat"):
        pooled.append(ops.divide(ops.sum(steps, axis=1), frames.count))
    if pooling in ("max", "concat"):
        pooled.append(ops.multiply(ops.max(ops.add(steps, frames.below), axis=1), frames.any))
    return pooled[0] if len(pooled) == 1 else layers.Concatenate(name=f"{name}_pooled")(pooled)
