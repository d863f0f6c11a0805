"""The complete network: encoder, decoder and prediction head as Keras models that share one set of weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.batching import SequenceBatch, pad, plan_batches
from seqembed.data.embedding_blocks import EmbeddingBlock, block_scales, fit_projection
from seqembed.data.profile import SequenceProfile
from seqembed.data.schema.schema import CategoricalField
from seqembed.data.sequences import SequenceBlock
from seqembed.trainer.config.resolved import ResolvedModel
from seqembed.trainer.input.source import MAX_BATCH_STEPS
from seqembed.trainer.model.backend import keras
from seqembed.trainer.model.blocks import OutputMap, embedding_blocks
from seqembed.trainer.model.decoders import DecoderGraph, build_decoder, check_fixed_length, output_layers
from seqembed.trainer.model.encoder import (
    Landmark,
    encoder_graph,
    known_values,
    network_inputs,
    raw_values,
    standardised,
    valid_steps,
)
from seqembed.trainer.model.fused import fused
from seqembed.trainer.model.kernels import Kernels
from seqembed.trainer.model.pairs import Pairs

ops, layers = keras.ops, keras.layers

_PROJECTION_DIM = 64
_EMBEDDED_AT_ONCE = 64
_COMPARED = ("steps", "values", "differences")


@dataclass(frozen=True, slots=True)
class Network:
    """Models that share their weights.

    All take ``lengths`` and, where there are any, ``values`` and ``categories``.

    Attributes:
        encoder: Sequences → embedding (batch, embedding_dim).
        decoder: {embedding, mask} (and the previous steps) → steps in raw units, zeros where the mask is false; None
            where nothing is reconstructed. With a reversed target it writes the newest step first.
        autoencoder: Sequences → what the task asks for, in raw units: the reconstruction (batch, time, features), the
            prediction of the next step (batch, features), or a dict of both. With the objective ``contrast`` it returns
            the projections that are compared: unit vectors (batch, branches, projection). With fields it always returns
            a dict, as the decoder does; ``head.field`` holds class probabilities (…, classes), see
            `seqembed.trainer.model.categories`.
        heads: Title → model from the embedding to what only training needs: the comparison of views, the next step.
        landmarks: What the encoder computes outside of layers.
        scorer: Sequences → dict of all heads as standardised values, logits or unit vectors: inputs of the losses.
    """

    encoder: Any
    decoder: Any | None
    autoencoder: Any
    scorer: Any
    heads: Mapping[str, Any]
    landmarks: tuple[Landmark, ...]

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters of the network."""
        return sum(int(variable.shape.num_elements()) for variable in self.trainable)

    @property
    def trainable(self) -> list[Any]:
        """The TensorFlow variables that training updates, in a fixed order."""
        return [variable.value for variable in self.scorer.trainable_variables]


def build_network(
    config: ResolvedModel,
    profile: SequenceProfile,
    fixed_length: int,
    difference_std: NDArray[np.float32] | None = None,
    fields: Sequence[CategoricalField] = (),
    output: OutputMap | None = None,
    kernels: Kernels | None = None,
    pairs: Pairs | None = None,
    trained: Network | None = None,
) -> Network:
    """Build all models of a training.

    Args:
        config: The architecture and the task.
        profile: Statistics of the training sequences.
        fixed_length: Steps of the longest sequence, which fixed-length decoders write.
        difference_std: float32 (features), from `seqembed.trainer.input.scale.changes_of`.
        fields: Categorical fields in model order.
        output: What the encoder does to the blocks of its embedding; whatever takes the embedding undoes it.
        kernels: Fixed kernels, from `seqembed.trainer.model.kernels.fit_kernels`; None without them.
        pairs: Functions of consecutive steps, from `seqembed.trainer.model.pairs.fit_pairs`; None without them.
        trained: The same network without `output`, whose encoder's layers are used again; None builds all layers.

    Raises:
        UsageError: A fixed-length decoder would be too large.
    """
    num_features = len(profile.mean)
    check_fixed_length(config, fixed_length, num_features + len(fields))
    if trained is None or output is None:
        graph_of_encoder = encoder_graph(config, profile, difference_std, fields, output, kernels, pairs)
        encoder, landmarks = graph_of_encoder.model, graph_of_encoder.landmarks
    else:
        mapped = output.apply(trained.encoder.output)
        encoder, landmarks = keras.Model(trained.encoder.input, mapped, name="encoder"), trained.landmarks
    inputs = network_inputs(num_features, len(fields))
    embedding = encoder(inputs)
    mask = valid_steps(inputs.get("values", inputs.get("categories")), inputs["lengths"])
    decoder: Any | None = None
    heads: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    if "reconstruction" in config.heads:
        graph = build_decoder(config, embedding.shape[-1], num_features, fixed_length, fields, output)
        decoder = _raw_decoder(graph, config, profile, as_dict=bool(fields))
        found = _reconstruct(config, profile, graph, inputs, embedding, mask)
        scores |= found
        raw |= {name: _masked(steps, mask) for name, steps in _raw(found, config, profile, "reconstruction").items()}
    plain = embedding if output is None else output.undo(embedding)
    if "prediction" in config.heads:
        heads["next step"] = _prediction_head(config, plain.shape[-1], num_features, fields)
        found = heads["next step"](plain)
        found = found if fields else {"prediction": found}
        scores |= found
        raw |= _raw(found, config, profile, "prediction")
    if "contrast" in config.heads:
        heads["comparison of views"] = _comparison(embedding_blocks(config, num_features, fields))
        scores["contrast"] = heads["comparison of views"](plain)
        raw = raw or {"contrast": scores["contrast"]}
    outputs = raw if len(raw) > 1 or fields else next(iter(raw.values()))
    return Network(
        encoder=encoder,
        decoder=decoder,
        autoencoder=keras.Model(inputs, outputs, name="autoencoder"),
        scorer=keras.Model(inputs, scores, name="scorer"),
        heads=heads,
        landmarks=landmarks,
    )


def with_output_map(
    network: Network,
    build: Callable[..., Network],
    blocks: Sequence[EmbeddingBlock],
    vectors: NDArray[np.float32],
    width: int,
) -> Network:
    """Return the same network with every block of its embedding scaled to its fixed variance, and all projected.

    Args:
        network: The trained network; its embedding is the blocks as they are.
        build: Builds the same network with ``output`` and ``trained``.
        blocks: Blocks of its embedding; a single one is not scaled.
        vectors: float32 (sequences, numbers), its embeddings of some training sequences.
        width: Width of the projection; 0 is none.
    """
    if len(blocks) == 1 and not width:
        return network
    scales = block_scales(vectors, blocks) if len(blocks) > 1 else np.ones(vectors.shape[1], np.float32)
    widths = [block.width for block in blocks]
    projection = fit_projection(vectors * scales, widths, width) if width else None
    other = build(output=OutputMap(scales, projection), trained=network)
    for mine, trained in zip(other.trainable, network.trainable, strict=True):
        mine.assign(trained)
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
    with fused(network.encoder):  # or Keras runs a loop in Python over the steps
        return np.asarray(network.encoder(inputs_of(network.encoder, batch)))


def inputs_of(model: Any, batch: Any) -> dict[str, Any]:
    """Return the inputs of a model, by name, from a batch of sequences."""
    return {name: getattr(batch, name) for name in model.input}


def _raw(scores: dict[str, Any], config: ResolvedModel, profile: SequenceProfile, name: str) -> dict[str, Any]:
    """Return numbers in raw units (the output without a dot in its name), and probabilities of classes."""
    return {
        output: raw_values(score, profile, config.loss, name)
        if output in ("reconstruction", "prediction")
        else ops.softmax(score, axis=-1)
        for output, score in scores.items()
    }


def _masked(steps: Any, mask: Any) -> Any:
    return ops.where(ops.expand_dims(mask, -1), steps, 0.0)


def _raw_decoder(graph: DecoderGraph, config: ResolvedModel, profile: SequenceProfile, *, as_dict: bool) -> Any:
    raw = _raw(graph.scores, config, profile, "raw_units")
    masked = {name: _masked(steps, graph.inputs["mask"]) for name, steps in raw.items()}
    return keras.Model(graph.inputs, masked if as_dict else masked["reconstruction"], name="decoder")


def _reconstruct(
    config: ResolvedModel,
    profile: SequenceProfile,
    graph: DecoderGraph,
    inputs: dict[str, Any],
    embedding: Any,
    mask: Any,
) -> dict[str, Any]:
    """Return scores (batch, time, …) by output name, in the order of the sequence."""
    decode = keras.Model(graph.inputs, graph.scores, name="decoder_scores")
    given = {"embedding": embedding, "mask": mask}
    if config.decoder != "autoregressive":
        return dict(decode(given))
    if "values" in inputs:
        known = known_values(inputs["values"], mask)
        target = standardised(inputs["values"], known, profile, "previous_steps")
        given["previous"] = _shifted(target, mask, reverse=config.reverse_target)
    if "categories" in inputs:
        given["previous_categories"] = _shifted(inputs["categories"], mask, reverse=config.reverse_target)
    scores = decode(given)
    return {name: _reversed(score, mask) if config.reverse_target else score for name, score in scores.items()}


def _shifted(steps: Any, mask: Any, *, reverse: bool) -> Any:
    """Return the step before each of (batch, time, width), in the order of writing; zeros at the first."""
    if reverse:
        steps = _reversed(steps, mask)
    return ops.concatenate([ops.zeros_like(steps[:, :1]), steps[:, :-1]], axis=1)


def _reversed(steps: Any, mask: Any) -> Any:
    """Return the real steps of (batch, time, features) in reverse; the padding holds copies of the first step."""
    counted = ops.cast(mask, "int32")
    lengths = ops.sum(counted, axis=1, keepdims=True)
    positions = ops.cumsum(ops.ones_like(counted), axis=1)  # (batch, time), from 1
    return ops.take_along_axis(steps, ops.expand_dims(ops.maximum(lengths - positions, 0), -1), axis=1)


def _comparison(blocks: Sequence[EmbeddingBlock]) -> Any:
    """Return a model from the embedding to the unit vectors by which views are compared, (batch, branches, projection).

    The blocks of values and of differences are compared separately, so that both have to be informative. The
    per-sequence statistics and the trajectory are not compared. The encoder is served without projections.

    Source: Chen et al. (2020), "A simple framework for contrastive learning of visual representations".
    """
    starts = np.cumsum([0, *(block.width for block in blocks)]).tolist()
    embedding = keras.Input((starts[-1],), name="embedding", dtype="float32")
    branches = [index for index, block in enumerate(blocks) if block.name in _COMPARED]
    compared = [embedding[:, starts[index] : starts[index + 1]] for index in branches]
    vectors = [_projection(block, f"projection_{index + 1}") for index, block in enumerate(compared)]
    return keras.Model(embedding, ops.stack(vectors, axis=1), name="comparison")


def _projection(embedding: Any, name: str) -> Any:
    hidden = layers.Dense(_PROJECTION_DIM, activation="relu", name=f"{name}_hidden")(embedding)
    projected = layers.Dense(_PROJECTION_DIM, name=name)(hidden)
    return layers.UnitNormalization(name=f"{name}_direction")(projected)


def _prediction_head(
    config: ResolvedModel, embedding_dim: int, num_features: int, fields: Sequence[CategoricalField]
) -> Any:
    """Return a model from the embedding to scores of the next step, (batch, features); with fields a dict by name."""
    embedding = keras.Input((embedding_dim,), name="embedding", dtype="float32")
    hidden = layers.Dense(config.decoder_units, activation="relu", name="next_step_hidden")(embedding)
    scores = output_layers(hidden, num_features, fields, "prediction", "next_step")
    return keras.Model(embedding, scores if fields else scores["prediction"], name="next_step_head")
