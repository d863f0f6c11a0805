"""The blocks of the encoder's embedding, and layers that map them to the output and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqembed.data.embedding_blocks import EmbeddingBlock, Projection
from seqembed.data.schema.schema import CategoricalField
from seqembed.trainer.config.resolved import ResolvedModel
from seqembed.trainer.model.backend import keras
from seqembed.trainer.model.categories import summary_width, width_of

ops = keras.ops

# Variances of the embedding blocks, found on data sets of known structure. The per-sequence statistics stay in standard
# units: they count more the more features there are, and are never scaled up, since they may be equal for all
# sequences.
_VARIANCE_OF_STEPS, _VARIANCE_OF_CATEGORIES, _VARIANCE_OF_TRAJECTORY, _VARIANCE_OF_KERNELS = 2.0, 1.0, 1.0, 4.0
_VARIANCE_OF_PAIRS = 2.0  # 1 and 4 were as good on simulated payments
_MAX_TANH = 0.9999  # beyond it float32 has too few digits to undo a tanh
_MAX_SCALE = 4.0  # it multiplies the numerical error of ONNX Runtime as well


def embedding_blocks(
    config: ResolvedModel, num_features: int, fields: Sequence[CategoricalField]
) -> tuple[EmbeddingBlock, ...]:
    """Return the blocks of the embedding of `build_encoder`, in order.

    First what the recurrent layers made of the values and categories, then of the differences, then each feature's mean
    and spread, the mean of each field's embedding and of a wider one, the trajectories, the kernels and the pairs, if
    `config` asks for them. With the objective ``reconstruct``, the normalization ``dataset`` and an embedding_dim, a
    dense layer mixes them into one block.

    Args:
        config: The architecture.
        num_features: Numbers per step.
        fields: Categorical fields in model order.
    """
    if config.mixes:
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
    blocks.append(EmbeddingBlock("pairs", config.pairs, _VARIANCE_OF_PAIRS, _MAX_SCALE))
    return tuple(block for block in blocks if block.width)


@dataclass(frozen=True, slots=True)
class OutputMap:
    """What happens to the blocks of an embedding after training: each is scaled, and all may be projected.

    Attributes:
        scales: float32 (numbers), factor of each number of the blocks.
        projection: The projection of the scaled blocks; None leaves them as they are.
    """

    scales: NDArray[np.float32]
    projection: Projection | None = None

    def apply(self, blocks: Any) -> Any:
        """Return the embedding, (batch, embedding_dim), of blocks (batch, numbers)."""
        if self.projection is None:
            return keras.layers.Rescaling(self.scales.tolist(), name="block_scales")(blocks)
        slope = (self.projection.slope * self.scales).tolist()
        shift = (-self.projection.mean * self.projection.slope).tolist()
        bounded = ops.tanh(keras.layers.Rescaling(slope, shift, name="bounded_blocks")(blocks))
        return _linear(bounded, self.projection.matrix, self.projection.offset, "embedding")

    def undo(self, embedding: Any) -> Any:
        """Return the blocks of an embedding, but for what the projection drops."""
        if self.projection is None:
            return keras.layers.Rescaling((1 / self.scales).tolist(), name="unscaled")(embedding)
        bounded = _linear(embedding, self.projection.inverse, self.projection.inverse_offset, "bounded_again")
        steep = self.projection.slope * self.scales
        scale = np.divide(1, steep, out=np.zeros_like(steep), where=steep > 0)
        straight = ops.arctanh(ops.clip(bounded, -_MAX_TANH, _MAX_TANH))
        mean = self.projection.mean / self.scales
        return keras.layers.Rescaling(scale.tolist(), mean.tolist(), name="unscaled")(straight)


def _linear(vectors: Any, matrix: NDArray[np.floating], offset: NDArray[np.floating], name: str) -> Any:
    layer = keras.layers.Dense(matrix.shape[1], name=name, trainable=False)
    mapped = layer(vectors)
    layer.set_weights([matrix.astype(np.float32), offset.astype(np.float32)])
    return mapped
