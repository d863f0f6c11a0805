"""The blocks of the encoder's embedding, and layers that scale an embedding and undo the scaling."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.embedding_blocks import EmbeddingBlock
from seqembed.data.schema.schema import CategoricalField
from seqembed.trainer.config.resolved import ResolvedModel
from seqembed.trainer.model.backend import keras
from seqembed.trainer.model.categories import summary_width, width_of

# Variances of the embedding blocks, found on data sets of known structure. The per-sequence statistics stay in standard
# units: they count more the more features there are, and are never scaled up, since they may be equal for all
# sequences.
_VARIANCE_OF_STEPS, _VARIANCE_OF_CATEGORIES, _VARIANCE_OF_TRAJECTORY, _VARIANCE_OF_KERNELS = 2.0, 1.0, 1.0, 4.0
_MAX_SCALE = 4.0  # it multiplies the numerical error of ONNX Runtime as well


def embedding_blocks(
    config: ResolvedModel, num_features: int, fields: Sequence[CategoricalField]
) -> tuple[EmbeddingBlock, ...]:
    """Return the blocks of the embedding of `build_encoder`, in order.

    First what the recurrent layers made of the values and categories, then of the differences, then each feature's mean
    and spread, the mean of each field's embedding and of a wider one, the trajectories and the kernels, if `config`
    asks for them. With an embedding_dim other than 0, a dense layer mixes them into one block.

    Args:
        config: The architecture.
        num_features: Numbers per step.
        fields: Categorical fields in model order.
    """
    if config.embedding_dim:
        return (EmbeddingBlock("steps", config.embedding_dim, _VARIANCE_OF_STEPS, _MAX_SCALE),)
    branches = ("values", "differences") if config.channels == "both" else (config.channels,)
    width = config.units * (2 if config.bidirectional else 1) * (3 if config.pooling == "concat" else 1)
    share = _VARIANCE_OF_STEPS / len(branches)
    blocks = [EmbeddingBlock(name, width, share, _MAX_SCALE) for name in branches]
    if config.normalization == "sequence":
        categories, summary = (sum(map(of, fields)) for of in (width_of, summary_width))
        share = _VARIANCE_OF_CATEGORIES / (2 if summary else 1)
        blocks += [
            EmbeddingBlock("statistics", 2 * num_features, 2.0 * max(num_features, 1), 1.0),
            EmbeddingBlock("categories", categories, share, _MAX_SCALE),
            EmbeddingBlock("summary of categories", summary, share, _MAX_SCALE),
        ]
    blocks.append(EmbeddingBlock("trajectory", config.trajectory * num_features, _VARIANCE_OF_TRAJECTORY, _MAX_SCALE))
    blocks.append(EmbeddingBlock("kernels", config.kernels, _VARIANCE_OF_KERNELS, _MAX_SCALE))
    return tuple(block for block in blocks if block.width)


def scaled_by(embedding: Any, scales: NDArray[np.float32] | None, name: str) -> Any:
    """Return embedding (batch, embedding_dim) times scales (embedding_dim), by a layer called `name`; None is 1."""
    return embedding if scales is None else keras.layers.Rescaling(scales.tolist(), name=name)(embedding)


def unscaled(embedding: Any, scales: NDArray[np.float32] | None) -> Any:
    """Undo `scaled_by`."""
    return scaled_by(embedding, None if scales is None else np.float32(1) / scales, "unscaled")
