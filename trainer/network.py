"""Encoder, decoder and prediction head put together: one set of weights, seen through several Keras models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.batching import SequenceBatch, pad, plan_batches
from seqembed.data.parts import EmbeddingPart, part_weights
from seqembed.data.profile import SequenceProfile
from seqembed.data.schema import CategoricalField
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.backend import keras
from seqembed.trainer.config import ModelConfig
from seqembed.trainer.decoders import DecoderGraph, build_decoder, check_fixed_length, told_apart
from seqembed.trainer.model import (
    build_encoder,
    embedding_parts,
    known_values,
    network_inputs,
    raw_values,
    standardised,
    valid_steps,
    weights_taken_off,
)
from seqembed.trainer.source import MAX_BATCH_STEPS

ops, layers = keras.ops, keras.layers

_PROJECTION_DIM = 64
_EMBEDDED_AT_ONCE = 64
_COMPARED = ("steps", "values", "differences")


@dataclass(frozen=True, slots=True)
class Network:
    """Models that share their weights.

    All take ``values`` and ``categories``, as far as there are any, and ``lengths``.

    Attributes:
        encoder: Sequences → embedding (batch, embedding_dim).
        decoder: {embedding, mask} (and the steps before) → steps in raw units, zeros where the mask is false; None
            where nothing is reconstructed. With a reversed target it writes the newest step first.
        autoencoder: Sequences → what the task asks for, in raw units: the reconstruction (batch, time, features), the
            prediction of the next step (batch, features), or a dict of both; where views are only compared, what is
            compared: unit vectors (batch, branches, projection). With fields it is always a dict, and ``head.field``
            holds how likely each class is (…, classes), by `seqembed.trainer.categories`; so does the decoder's.
        scorer: Sequences → dict of all heads as standardised values, logits or unit vectors: what the losses compare.
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
    fields: Sequence[CategoricalField] = (),
    weights: NDArray[np.float32] | None = None,
) -> Network:
    """Build all models of a training.

    Args:
        config: The architecture and the task.
        profile: Statistics of the training sequences.
        fixed_length: Steps of the longest sequence: what fixed-length decoders write.
        difference_std: float32 (features), by `seqembed.trainer.model.changes_of`.
        fields: Categorical fields in model order.
        weights: float32 (embedding_dim), what the encoder multiplies its embedding by, by
            `seqembed.data.parts.part_weights`; what is made of the embedding divides by them. None is 1.

    Raises:
        UsageError: A fixed-length decoder would be of absurd size.
    """
    num_features = len(profile.mean)
    check_fixed_length(config, fixed_length, num_features + len(fields))
    encoder = build_encoder(config, profile, difference_std, fields, weights)
    inputs = network_inputs(num_features, len(fields))
    embedding = encoder(inputs)
    mask = valid_steps(inputs.get("values", inputs.get("categories")), inputs["lengths"])
    decoder: Any | None = None
    scores: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    if "reconstruction" in config.heads:
        graph = build_decoder(config, embedding.shape[-1], num_features, fixed_length, fields, weights)
        decoder = _raw_decoder(graph, config, profile, as_dict=bool(fields))
        told = _reconstruct(config, profile, graph, inputs, embedding, mask)
        scores |= told
        raw |= {name: _masked(steps, mask) for name, steps in _raw(told, config, profile, "reconstruction").items()}
    plain = weights_taken_off(embedding, weights)
    if "prediction" in config.heads:
        told = _prediction_head(config, embedding.shape[-1], num_features, fields)(plain)
        told = told if fields else {"prediction": told}
        scores |= told
        raw |= _raw(told, config, profile, "prediction")
    if "contrast" in config.heads:
        scores["contrast"] = _projections(plain, embedding_parts(config, num_features, fields))
        raw = raw or {"contrast": scores["contrast"]}
    outputs = raw if len(raw) > 1 or fields else next(iter(raw.values()))
    return Network(
        encoder=encoder,
        decoder=decoder,
        autoencoder=keras.Model(inputs, outputs, name="autoencoder"),
        scorer=keras.Model(inputs, scores, name="scorer"),
    )


def weighed_by_parts(
    network: Network, build: Callable[..., Network], parts: Sequence[EmbeddingPart], sample: SequenceBlock
) -> Network:
    """Return the same network with every part of its embedding brought to the variance it should have.

    Args:
        network: Trained, without weights of parts.
        build: Makes another one of its kind from ``weights``.
        parts: Of its embedding; one alone is left as it is.
        sample: Training sequences, none of them empty.
    """
    if len(parts) == 1:
        return network
    other = build(weights=part_weights(embed(network, sample), parts))
    other.scorer.set_weights(network.scorer.get_weights())
    return other


def embed(network: Network, block: SequenceBlock) -> NDArray[np.float32]:
    """Return the embeddings of a block's sequences, none of them empty, float32 (sequences, embedding_dim)."""
    width = network.encoder.output_shape[-1]
    embeddings = np.zeros((block.num_sequences, width), dtype=np.float32)
    for rows in plan_batches(block.lengths, _EMBEDDED_AT_ONCE, MAX_BATCH_STEPS):
        embeddings[rows] = embed_batch(network, pad(block, rows))
    return embeddings


def embed_batch(network: Network, batch: SequenceBatch) -> NDArray[np.float32]:
    """Return the embeddings of a batch, float32 (batch, embedding_dim)."""
    return np.asarray(network.encoder(inputs_of(network.encoder, batch)))


def inputs_of(model: Any, batch: Any) -> dict[str, Any]:
    """Return what a model takes of a batch of sequences, by the names of its inputs."""
    return {name: getattr(batch, name) for name in model.input}


def _raw(scores: dict[str, Any], config: ModelConfig, profile: SequenceProfile, name: str) -> dict[str, Any]:
    """Return numbers in raw units (the output without a dot in its name), and probabilities of classes."""
    return {
        output: raw_values(told, profile, config.loss, name)
        if output in ("reconstruction", "prediction")
        else ops.softmax(told, axis=-1)
        for output, told in scores.items()
    }


def _masked(steps: Any, mask: Any) -> Any:
    return ops.where(ops.expand_dims(mask, -1), steps, 0.0)


def _raw_decoder(graph: DecoderGraph, config: ModelConfig, profile: SequenceProfile, *, as_dict: bool) -> Any:
    raw = _raw(graph.scores, config, profile, "raw_units")
    masked = {name: _masked(steps, graph.inputs["mask"]) for name, steps in raw.items()}
    return keras.Model(graph.inputs, masked if as_dict else masked["reconstruction"], name="decoder")


def _reconstruct(
    config: ModelConfig,
    profile: SequenceProfile,
    graph: DecoderGraph,
    inputs: dict[str, Any],
    embedding: Any,
    mask: Any,
) -> dict[str, Any]:
    """Return scores (batch, time, …) by name, in the order of the sequence."""
    decode = keras.Model(graph.inputs, graph.scores, name="decoder_scores")
    given = {"embedding": embedding, "mask": mask}
    if config.decoder != "autoregressive":
        return dict(decode(given))
    if "values" in inputs:
        known = known_values(inputs["values"], mask)
        target = standardised(inputs["values"], known, profile, "previous_steps")
        given["previous"] = _one_step_late(target, mask, reverse=config.reverse_target)
    if "categories" in inputs:
        given["previous_categories"] = _one_step_late(inputs["categories"], mask, reverse=config.reverse_target)
    scores = decode(given)
    return {name: _reversed(told, mask) if config.reverse_target else told for name, told in scores.items()}


def _one_step_late(steps: Any, mask: Any, *, reverse: bool) -> Any:
    """Return the step before each of (batch, time, width), in the order of writing; zeros at the first."""
    if reverse:
        steps = _reversed(steps, mask)
    return ops.concatenate([ops.zeros_like(steps[:, :1]), steps[:, :-1]], axis=1)


def _reversed(steps: Any, mask: Any) -> Any:
    """Return the real steps of (batch, time, features) in reverse; the padding holds copies of the first step."""
    counted = ops.cast(mask, "int32")
    lengths = ops.sum(counted, axis=1, keepdims=True)
    places = ops.cumsum(ops.ones_like(counted), axis=1)  # (batch, time), from 1
    return ops.take_along_axis(steps, ops.expand_dims(ops.maximum(lengths - places, 0), -1), axis=1)


def _projections(embedding: Any, parts: Sequence[EmbeddingPart]) -> Any:
    """Return the unit vectors in which views are compared, (batch, branches, projection).

    What was made of the values and what was made of their differences are compared each by itself: both have to be
    telling. What a sequence is on the whole, and its course, are not. The encoder is served without projections.

    Source: Chen et al. (2020), "A simple framework for contrastive learning of visual representations".
    """
    starts = np.cumsum([0, *(part.width for part in parts)]).tolist()
    branches = [place for place, part in enumerate(parts) if part.name in _COMPARED]
    compared = [embedding[:, starts[place] : starts[place + 1]] for place in branches]
    return ops.stack([_projection(part, f"projection_{place + 1}") for place, part in enumerate(compared)], axis=1)


def _projection(embedding: Any, name: str) -> Any:
    hidden = layers.Dense(_PROJECTION_DIM, activation="relu", name=f"{name}_hidden")(embedding)
    projected = layers.Dense(_PROJECTION_DIM, name=name)(hidden)
    return layers.UnitNormalization(name=f"{name}_direction")(projected)


def _prediction_head(
    config: ModelConfig, embedding_dim: int, num_features: int, fields: Sequence[CategoricalField]
) -> Any:
    """Return embedding → scores of the next step, (batch, features); with fields a dict by name."""
    embedding = keras.Input((embedding_dim,), name="embedding", dtype="float32")
    hidden = layers.Dense(config.decoder_units, activation="relu", name="next_step_hidden")(embedding)
    scores = told_apart(hidden, num_features, fields, "prediction", "next_step")
    return keras.Model(embedding, scores if fields else scores["prediction"], name="next_step_head")
