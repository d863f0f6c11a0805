"""Encoder, decoder and prediction head put together: one set of weights, seen through several Keras models."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.profile import SequenceProfile
from trainer.backend import keras
from trainer.config import ModelConfig
from trainer.decoders import DecoderGraph, build_decoder, check_fixed_length
from trainer.model import build_encoder, raw_values, standardised, valid_steps

ops, layers = keras.ops, keras.layers

_PROJECTION_DIM = 64


@dataclass(frozen=True, slots=True)
class Network:
    """Models that share their weights.

    Attributes:
        encoder: {values, lengths} → embedding (batch, embedding_dim).
        decoder: {embedding, mask} (and ``previous``) → steps in raw units, zeros where the mask is false; None where
            nothing is reconstructed. With a reversed target it writes the newest step first.
        autoencoder: {values, lengths} → what the task asks for, in raw units: the reconstruction (batch, time,
            features), the prediction of the next step (batch, features), or a dict of both; where views are only
            compared, what is compared: unit vectors (batch, branches, projection).
        scorer: {values, lengths} → dict of all heads as standardised values, logits or unit vectors: what the losses
            compare.
    """

    encoder: Any
    decoder: Any | None
    autoencoder: Any
    scorer: Any

    @property
    def num_parameters(self) -> int:
        """Trainable numbers of the whole network."""
        return sum(int(variable.shape.num_elements()) for variable in self.trainable)

    @property
    def trainable(self) -> list[Any]:
        """The TensorFlow variables that training moves, in a fixed order."""
        return [variable.value for variable in self.scorer.trainable_variables]


def build_network(
    config: ModelConfig,
    profile: SequenceProfile,
    fixed_length: int,
    difference_std: NDArray[np.float32] | None = None,
) -> Network:
    """Build all models of a training.

    Args:
        config: The architecture and the task.
        profile: Statistics of the training sequences.
        fixed_length: Steps of the longest sequence: what fixed-length decoders write.
        difference_std: float32 (features), by `trainer.model.changes_of`.

    Raises:
        UsageError: A fixed-length decoder would be of absurd size.
    """
    num_features = len(profile.mean)
    check_fixed_length(config, fixed_length, num_features)
    encoder = build_encoder(config, profile, difference_std)
    values = keras.Input((None, num_features), name="values", dtype="float32")
    lengths = keras.Input((), name="lengths", dtype="int32")
    inputs = {"values": values, "lengths": lengths}
    embedding = encoder(inputs)
    mask = valid_steps(values, lengths)
    decoder, scores, raw = None, {}, {}
    if "reconstruction" in config.heads:
        graph = build_decoder(config, embedding.shape[-1], num_features, fixed_length)
        decoder = _raw_decoder(graph, config, profile)
        scores["reconstruction"] = _reconstruct(config, profile, graph, values, embedding, mask)
        steps = raw_values(scores["reconstruction"], profile, config.loss, "reconstruction")
        raw["reconstruction"] = ops.where(ops.expand_dims(mask, -1), steps, 0.0)
    if "prediction" in config.heads:
        head = _prediction_head(config, embedding.shape[-1], num_features)
        scores["prediction"] = head(embedding)
        raw["prediction"] = raw_values(scores["prediction"], profile, config.loss, "prediction")
    if "contrast" in config.heads:
        scores["contrast"] = _projections(config, embedding, num_features)
        raw = raw or {"contrast": scores["contrast"]}
    outputs = raw if len(raw) > 1 else next(iter(raw.values()))
    return Network(
        encoder=encoder,
        decoder=decoder,
        autoencoder=keras.Model(inputs, outputs, name="autoencoder"),
        scorer=keras.Model(inputs, scores, name="scorer"),
    )


def _raw_decoder(graph: DecoderGraph, config: ModelConfig, profile: SequenceProfile) -> Any:
    steps = raw_values(graph.scores, profile, config.loss, "raw_units")
    masked = ops.where(ops.expand_dims(graph.inputs["mask"], -1), steps, 0.0)
    return keras.Model(graph.inputs, masked, name="decoder")


def _reconstruct(
    config: ModelConfig, profile: SequenceProfile, graph: DecoderGraph, values: Any, embedding: Any, mask: Any
) -> Any:
    """Return scores (batch, time, features) in the order of the sequence."""
    decode = keras.Model(graph.inputs, graph.scores, name="decoder_scores")
    given = {"embedding": embedding, "mask": mask}
    if config.decoder != "autoregressive":
        return decode(given)
    target = standardised(values, mask, profile, "previous_steps")
    if config.reverse_target:
        target = _reversed(target, mask)
    first = ops.zeros_like(target[:, :1])  # (batch, 1, features)
    given["previous"] = ops.concatenate([first, target[:, :-1]], axis=1)
    scores = decode(given)
    return _reversed(scores, mask) if config.reverse_target else scores


def _reversed(steps: Any, mask: Any) -> Any:
    """Return the real steps of (batch, time, features) in reverse; the padding holds copies of the first step."""
    counted = ops.cast(mask, "int32")
    lengths = ops.sum(counted, axis=1, keepdims=True)
    places = ops.cumsum(ops.ones_like(counted), axis=1)  # (batch, time), from 1
    return ops.take_along_axis(steps, ops.expand_dims(ops.maximum(lengths - places, 0), -1), axis=1)


def _projections(config: ModelConfig, embedding: Any, num_features: int) -> Any:
    """Return the unit vectors in which views are compared, (batch, branches, projection).

    What was made of the values and what was made of their differences are compared each by itself: both have to be
    telling. Mean and spread are not, since nothing can be learned of them. The encoder is served without projections.

    Source: Chen et al. (2020), "A simple framework for contrastive learning of visual representations".
    """
    if config.embedding_dim is not None:
        parts = [embedding]
    else:
        num_branches = 1 + (config.reads == "both")
        level = 2 * num_features if config.scaling == "sequence" else 0
        width = (embedding.shape[-1] - level) // num_branches
        parts = [embedding[:, place * width : (place + 1) * width] for place in range(num_branches)]
    return ops.stack([_projection(part, f"projection_{place}") for place, part in enumerate(parts, start=1)], axis=1)


def _projection(embedding: Any, name: str) -> Any:
    hidden = layers.Dense(_PROJECTION_DIM, activation="relu", name=f"{name}_hidden")(embedding)
    projected = layers.Dense(_PROJECTION_DIM, name=name)(hidden)
    return layers.UnitNormalization(name=f"{name}_direction")(projected)


def _prediction_head(config: ModelConfig, embedding_dim: int, num_features: int) -> Any:
    """Return embedding → scores of the next step, (batch, features)."""
    embedding = keras.Input((embedding_dim,), name="embedding", dtype="float32")
    hidden = layers.Dense(config.units, activation="relu", name="next_step_hidden")(embedding)
    scores = layers.Dense(num_features, name="next_step")(hidden)
    return keras.Model(embedding, scores, name="next_step_head")
