"""The encoder as a stock Keras model: {values, categories, lengths} → embedding.

Standardisation, imputation and the mask are layers and operations of the model, so that serving cannot drift from
training. Only layers and operations that Keras ships are used: any Keras 3 loads ``encoder.keras`` without seqembed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.parts import EmbeddingPart
from seqembed.data.profile import SequenceProfile
from seqembed.data.schema import CategoricalField
from seqembed.trainer.backend import keras
from seqembed.trainer.categories import embedded, summaries, summary_width, width_of
from seqembed.trainer.config import ModelConfig
from seqembed.trainer.course import course
from seqembed.trainer.scale import LEAST_SPREAD, MAX_DEVIATIONS, moments

ops, layers = keras.ops, keras.layers

_LEVEL_LIMIT = 5.0
# Of the parts of an embedding, found on sets of known structure. A level stays in standard units: it counts more the
# more features have one, and is never blown up, since sequences may all have one and the same.
_VARIANCE_OF_STEPS, _VARIANCE_OF_CATEGORIES, _VARIANCE_OF_COURSE = 2.0, 1.0, 1.0
_LARGEST_WEIGHT = 4.0  # ONNX Runtime may be off by as much more
_NOISE = 0.1
# ONNX Runtime goes through a tensor in runs of its last axis, up to twenty times slower where that is a feature or two;
# with so few the time goes last until the recurrent layers. One feature: a sixth faster to serve at 150 steps. Six: no
# faster, and to lay them out anew costs a fortieth.
_FEW_FEATURES = 2
_HIGHEST = 1e30  # above every activation: less so much, padding never wins a maximum


def valid_steps(values: Any, lengths: Any) -> Any:
    """Return the mask of real steps, bool (batch, time), of values or categories (batch, time, …) and lengths."""
    positions = ops.cumsum(ops.ones_like(values[:1, :, 0], dtype="int32"), axis=1)  # (1, time), from 1
    return ops.less_equal(positions, ops.expand_dims(lengths, 1))


def known_values(values: Any, mask: Any, time_axis: int = 1) -> Any:
    """Return where a value is there, bool like `values`: within the length, and not missing.

    Args:
        values: float32 (batch, time, features), or (batch, features, time).
        mask: bool (batch, time), true at real steps.
        time_axis: Which axis of `values` is the time, 1 or 2.
    """
    return ops.logical_and(ops.expand_dims(mask, 3 - time_axis), ops.logical_not(ops.isnan(values)))


def standardised(values: Any, known: Any, profile: SequenceProfile, name: str, time_axis: int = 1) -> Any:
    """Standardise; what is not `known` becomes 0, which is the mean. Layout and `time_axis` as for `known_values`.

    What lies further than `MAX_DEVIATIONS` from the mean counts as that far, so that one wild value cannot drown all
    others. Keras's Normalization would square the deviation, which float32 cannot hold below 1e-19 or above 1e19.
    """
    mean, std = (_along_features(numbers, time_axis) for numbers in moments(profile))
    centred = layers.Rescaling(1.0, (-mean).tolist(), name=f"{name}_mean")(values)
    scaled = layers.Rescaling((1 / std).tolist(), name=f"{name}_spread")(centred)
    return ops.where(known, ops.clip(scaled, -MAX_DEVIATIONS, MAX_DEVIATIONS), 0.0)


def _along_features(numbers: NDArray[np.float32], time_axis: int) -> NDArray[np.float32]:
    """Return numbers (features) in a shape that meets the features of a layout."""
    return numbers if time_axis == 1 else numbers[:, None]


def raw_values(scores: Any, profile: SequenceProfile, loss: str, name: str) -> Any:
    """Turn scores (…, features) into raw units; with binary cross-entropy, logits into probabilities."""
    if loss == "binary_crossentropy":
        return layers.Activation("sigmoid", name=name)(scores)
    mean, std = moments(profile)
    return layers.Rescaling(std.tolist(), mean.tolist(), name=name)(scores)


def recurrent_layer(config: ModelConfig, name: str, units: int | None = None, **options: Any) -> Any:
    """Return one forward recurrent layer of the configured cell and activation."""
    kind = layers.LSTM if config.cell == "lstm" else layers.GRU
    return kind(units or config.units, activation=config.activation, name=name, **options)


def network_inputs(num_features: int, num_fields: int) -> dict[str, Any]:
    """Return the symbolic inputs of an encoder by name: ``values`` and ``categories`` as far as there are any."""
    inputs = {"lengths": keras.Input((), name="lengths", dtype="int32")}
    if num_fields:
        inputs["categories"] = keras.Input((None, num_fields), name="categories", dtype="int32")
    if num_features:
        inputs["values"] = keras.Input((None, num_features), name="values", dtype="float32")
    return dict(reversed(inputs.items()))


def build_encoder(
    config: ModelConfig,
    profile: SequenceProfile,
    difference_std: NDArray[np.float32] | None = None,
    fields: Sequence[CategoricalField] = (),
    weights: NDArray[np.float32] | None = None,
) -> Any:
    """Build the encoder.

    Args:
        config: The architecture.
        profile: Statistics of the training sequences, to standardise with.
        difference_std: float32 (features), spread of the differences from step to step of standardised values; None
            takes them as they are.
        fields: Categorical fields in model order.
        weights: float32 (embedding_dim), what the numbers of the embedding are multiplied by; None is 1.

    Returns:
        A Keras model to the embedding, float32 (batch, embedding_dim), from ``lengths`` int32 (batch) and, as far as
        there are any, ``values`` float32 (batch, time, features), raw units, NaN allowed, and ``categories`` int32
        (batch, time, fields), ids. What stands beyond a length has no influence. The embedding holds what was made of
        the values and categories, then of the differences, then each feature's mean and spread, then the
        mean of each field's embedding and of a wider one, then the courses of the features, as far as `config` asks for
        them: see `embedding_parts`.
    """
    inputs = network_inputs(len(profile.mean), len(fields))
    lengths = inputs["lengths"]
    mask = valid_steps(inputs.get("values", inputs.get("categories")), lengths)  # (batch, time)
    frames = _frames(config, mask, lengths)
    reads: list[Any] = []
    branches: list[Any] = []
    level: list[Any] = []
    courses: list[Any] = []
    if "values" in inputs:
        values, time_axis = inputs["values"], 1
        if len(profile.mean) <= _FEW_FEATURES:
            values, time_axis = _other_layout(values), 2
        # Padding is no matter to recurrent layers, which are told the lengths, and it costs a tenth of one to wipe it.
        wiped = config.scaling == "sequence" or config.reads != "values" or frames.size + frames.overlap > 1
        there = known_values(values, mask, time_axis) if wiped else ops.logical_not(ops.isnan(values))
        steps = standardised(values, there, profile, "standardise", time_axis)
        known = ops.cast(there, "float32")
        read = steps
        if config.scaling == "sequence":
            read, level = by_its_own_scale(steps, known, time_axis)
        read = _other_layout(read) if time_axis == 2 else read
        if config.course:
            size = config.course_frame
            courses.append(course(mean_frames(read, size), _num_frames(lengths, size)[:, None], config.course))
        reads.append(_noisy(config, read, "noise"))
    if "categories" in inputs:
        reads.append(embedded(inputs["categories"], mask, fields, "embed"))
        if config.scaling == "sequence":
            level.append(mean_step(reads[-1], lengths))
            level += summaries(inputs["categories"], mask, fields, "summary")
    if config.reads != "differences":
        read = reads[0] if len(reads) == 1 else layers.Concatenate(name="numbers_and_categories")(reads)
        branches.append(_branch(config, read, frames, "encoder"))
    if config.reads != "values":
        changes = differences(steps, known, difference_std, time_axis)
        changes = _noisy(config, _other_layout(changes) if time_axis == 2 else changes, "noise_of_differences")
        branches.append(_branch(config, changes, frames, "encoder_differences"))
    if config.embedding_dim is not None:  # mixed, parts cannot be weighed afterwards: a course as one of its places
        courses = [ops.multiply(told, 1 / math.sqrt(config.course or 1)) for told in courses]
    parts = [*branches, *level, *courses]
    embedding = parts[0] if len(parts) == 1 else layers.Concatenate(name="joined")(parts)
    if config.embedding_dim is not None:
        embedding = layers.Dense(config.embedding_dim, name="embedding")(embedding)  # (batch, embedding_dim)
    return keras.Model(inputs, weighed(embedding, weights, "weights_of_parts"), name="encoder")


def embedding_parts(
    config: ModelConfig, num_features: int, fields: Sequence[CategoricalField]
) -> tuple[EmbeddingPart, ...]:
    """Return what the embedding of `build_encoder` is made of, in its order; one vector has one part.

    Args:
        config: The architecture.
        num_features: Numbers of a step.
        fields: Categorical fields in model order.
    """
    if config.embedding_dim is not None:
        return (EmbeddingPart("steps", config.embedding_dim, _VARIANCE_OF_STEPS, _LARGEST_WEIGHT),)
    branches = ("values", "differences") if config.reads == "both" else (str(config.reads),)
    width = (config.units or 0) * (2 if config.bidirectional else 1) * (3 if config.pooling == "concat" else 1)
    share = _VARIANCE_OF_STEPS / len(branches)
    parts = [EmbeddingPart(name, width, share, _LARGEST_WEIGHT) for name in branches]
    if config.scaling == "sequence":
        categories, summary = (sum(map(of, fields)) for of in (width_of, summary_width))
        share = _VARIANCE_OF_CATEGORIES / (2 if summary else 1)
        parts += [
            EmbeddingPart("level", 2 * num_features, 2.0 * max(num_features, 1), 1.0),
            EmbeddingPart("categories", categories, share, _LARGEST_WEIGHT),
            EmbeddingPart("summary of categories", summary, share, _LARGEST_WEIGHT),
        ]
    parts.append(EmbeddingPart("course", (config.course or 0) * num_features, _VARIANCE_OF_COURSE, _LARGEST_WEIGHT))
    return tuple(part for part in parts if part.width)


def weighed(embedding: Any, weights: NDArray[np.float32] | None, name: str) -> Any:
    """Return embedding (batch, embedding_dim) times weights (embedding_dim), by a layer of that name; None is 1."""
    return embedding if weights is None else layers.Rescaling(weights.tolist(), name=name)(embedding)


def weights_taken_off(embedding: Any, weights: NDArray[np.float32] | None) -> Any:
    """Return an embedding as it was before `weighed`."""
    return weighed(embedding, None if weights is None else np.float32(1) / weights, "weights_taken_off")


def mean_step(steps: Any, lengths: Any) -> Any:
    """Return the mean over time of (batch, time, width), whose padding is 0: (batch, width), 0 without any step."""
    count = ops.cast(ops.maximum(ops.expand_dims(lengths, 1), 1), "float32")  # (batch, 1)
    return ops.divide(ops.sum(steps, axis=1), count)


def _other_layout(values: Any) -> Any:
    """Turn (batch, time, features) into (batch, features, time), or back."""
    return ops.transpose(values, (0, 2, 1))


def _noisy(config: ModelConfig, steps: Any, name: str) -> Any:
    """Return steps (batch, time, features) with noise while views are learned from; as they are at any other time.

    It is added to what the recurrent layers read, so that it weighs the same for a quiet sequence and a loud one, for
    values and for differences. In the padding no recurrent layer reads it, but for the zeros that fill up a last frame.
    """
    return layers.GaussianNoise(_NOISE, name=name)(steps) if config.contrasts else steps


def by_its_own_scale(steps: Any, known: Any, time_axis: int = 1) -> tuple[Any, list[Any]]:
    """Centre and scale each feature of each sequence by its own mean and spread.

    Source: instance normalisation, Ulyanov et al. (2016), here over time and by what is known.

    Args:
        steps: float32 (batch, time, features), standardised; 0 where not known.
        known: float32 (batch, time, features), 1 where a value is there, 0 in the padding and where one is missing.
        time_axis: Which axis of both is the time, 1 or 2.

    Returns:
        The scaled steps, 0 where not known, and mean and spread, each float32 (batch, features) and within
        `_LEVEL_LIMIT`: so that no level outweighs all else in the embedding.
    """
    count = ops.maximum(ops.sum(known, axis=time_axis), 1.0)  # (batch, features)
    mean = ops.divide(ops.sum(steps, axis=time_axis), count)
    centred = ops.multiply(ops.subtract(steps, ops.expand_dims(mean, time_axis)), known)
    spread = ops.sqrt(ops.divide(ops.sum(ops.square(centred), axis=time_axis), count))
    scaled = ops.divide(centred, ops.expand_dims(ops.add(spread, LEAST_SPREAD), time_axis))
    return scaled, [ops.clip(mean, -_LEVEL_LIMIT, _LEVEL_LIMIT), ops.clip(spread, 0.0, _LEVEL_LIMIT)]


def differences(steps: Any, known: Any, difference_std: NDArray[np.float32] | None, time_axis: int = 1) -> Any:
    """Return how much each step differs from the one before it; 0 at the first one and wherever either is missing.

    Args:
        steps: float32 (batch, time, features), standardised.
        known: float32 (batch, time, features), 1 where a value is there, 0 in the padding and where one is missing.
        difference_std: float32 (features), what counts as a difference of 1; None is 1.
        time_axis: Which axis of steps and known is the time, 1 or 2.
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


@dataclass(frozen=True, slots=True)
class _Frames:
    """What recurrent layers are told of the frames they read, whatever those hold.

    Attributes:
        size: Steps from one frame to the next.
        overlap: Steps of the frames after it that a frame holds, too.
        length: int32 (batch, 1): how many frames hold a real step.
        mask: bool (batch, frames): which hold a real step.
        count: float32 (batch, 1): that length, at least 1.
        below: float32 (batch, frames, 1): added to what is read, 0 in real frames, and far below all else elsewhere.
        any: float32 (batch, 1): 0 for a sequence without steps, else 1.
    """

    size: int
    overlap: int
    length: Any
    mask: Any
    count: Any
    below: Any
    any: Any


def _frames(config: ModelConfig, mask: Any, lengths: Any) -> _Frames:
    size = config.frame or 1
    if size > 1:
        mask = mask[:, ::size]  # a frame is real where its first step is
        lengths = _num_frames(lengths, size)
    real = ops.expand_dims(ops.cast(mask, "float32"), -1)
    length = ops.expand_dims(lengths, 1)
    count = ops.cast(length, "float32")
    return _Frames(
        size=size,
        overlap=config.overlap or 0,
        length=length,
        mask=mask,
        count=ops.maximum(count, 1.0),
        below=ops.multiply(ops.subtract(real, 1.0), _HIGHEST),
        any=ops.minimum(count, 1.0),
    )


def _num_frames(lengths: Any, size: int) -> Any:
    """Return how many frames of `size` steps hold a real step, int32 like `lengths`."""
    return lengths if size == 1 else ops.floor_divide(ops.add(lengths, size - 1), size)


def _branch(config: ModelConfig, steps: Any, frames: _Frames, name: str) -> Any:
    """Return one vector a sequence, (batch, width), by recurrent layers over frames of `steps`, and pooling."""
    if frames.size > 1:
        steps = fold(steps, frames.size, f"whole_frames_of_{name}")  # (batch, frames, size × features)
    if frames.overlap:
        steps = with_next_steps(steps, frames.size, frames.overlap)  # (batch, frames, (size + overlap) × features)
    for place in range(config.layers):
        steps, states = _recurrent(config, f"{name}_{config.cell}_{place + 1}", steps, frames.mask)
    return _pool(config, steps, states, frames, name)


def fold(steps: Any, frame: int, name: str = "whole_frames") -> Any:
    """Lay `frame` consecutive steps side by side, as one.

    Args:
        steps: float32 (batch, time, features).
        frame: Steps in a frame; zeros fill up the last one.
        name: Of the layer that fills up, for people.

    Returns:
        float32 (batch, ceil(time / frame), frame × features).
    """
    return ops.concatenate(_places_of_frames(steps, frame, name), axis=-1)


def with_next_steps(frames: Any, size: int, overlap: int) -> Any:
    """Lay beside each frame the `overlap` steps that come after it; zeros beyond the last one.

    What begins in one frame and ends in the next is then seen whole by one of them, wherever in a frame it begins.

    Args:
        frames: float32 (batch, frames, size × features), by `fold`.
        size: Steps in a frame.
        overlap: Further steps.

    Returns:
        float32 (batch, frames, (size + overlap) × features).
    """
    features, most = frames.shape[-1] // size, -(-overlap // size)
    filled = ops.pad(frames, [(0, 0), (0, most), (0, 0)])
    after = [filled[:, place : (place - most) or None] for place in range(1, most + 1)]
    after[-1] = after[-1][:, :, : (overlap - (most - 1) * size) * features]
    return ops.concatenate([frames, *after], axis=-1)


def mean_frames(steps: Any, frame: int) -> Any:
    """Return the mean of each frame, float32 (batch, ceil(time / frame), features); zeros fill up the last one."""
    if frame == 1:
        return steps
    places = _places_of_frames(steps, frame, "course_frames")
    return ops.multiply(sum(places[1:], start=places[0]), 1 / frame)


def _places_of_frames(steps: Any, frame: int, name: str) -> list[Any]:
    """Return the first step of every frame, the second of every frame, …: (batch, ceil(time / frame), features)."""
    filled = layers.ZeroPadding1D((0, frame - 1), name=name)(steps)
    # Each slice ends so that all have ceil(time / frame) steps; a reshape would need the time, which is open here.
    return [filled[:, place : (place - (frame - 1)) or None : frame] for place in range(frame)]


def _recurrent(config: ModelConfig, name: str, steps: Any, mask: Any) -> tuple[Any, list[Any]]:
    """Return the outputs, zero in the padding, (batch, time, units × directions), and each direction's final state."""
    layer = recurrent_layer(config, name, return_sequences=True, return_state=True, zero_output_for_mask=True)
    if not config.bidirectional:
        outputs, *states = layer(steps, mask=mask)
        return outputs, states[:1]
    outputs, *states = layers.Bidirectional(layer, name=f"{name}_both_ways")(steps, mask=mask)
    return outputs, [states[0], states[len(states) // 2]]  # the hidden states; an LSTM's cell states stay inside


def _pool(config: ModelConfig, steps: Any, states: list[Any], frames: _Frames, name: str) -> Any:
    """Return one vector a sequence, (batch, width); a sequence without steps gets zeros from mean and max."""
    parts, pooling = [], config.pooling
    if pooling in ("last", "concat"):
        parts += states
    if pooling in ("mean", "concat"):
        parts.append(ops.divide(ops.sum(steps, axis=1), frames.count))
    if pooling in ("max", "concat"):
        parts.append(ops.multiply(ops.max(ops.add(steps, frames.below), axis=1), frames.any))
    return parts[0] if len(parts) == 1 else layers.Concatenate(name=f"{name}_pooled")(parts)
