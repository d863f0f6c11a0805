"""The blocks of an embedding, and how each is scaled to a fixed variance.

An embedding concatenates several vectors: what the recurrent layers made of the values, what they made of the
differences, the per-sequence statistics, and so on. The variance of a block after training is arbitrary and would
dominate Euclidean distances, so each block is rescaled to a fixed variance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EmbeddingBlock:
    """A contiguous block of an embedding's dimensions with one meaning.

    Attributes:
        name: What it describes.
        width: Number of dimensions.
        variance: Variance over the training sequences that the block is scaled to, summed over its dimensions.
        max_scale: Upper bound of the scale factor, since scaling up what hardly varies scales up its errors, too.
    """

    name: str
    width: int
    variance: float
    max_scale: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        return cls(value["name"], value["width"], value["variance"], value["max_scale"])


def block_scales(vectors: NDArray[np.floating], blocks: Sequence[EmbeddingBlock]) -> NDArray[np.float32]:
    """Return the factor that brings each dimension of an embedding to the variance of its block.

    Args:
        vectors: float (sequences, embedding_dim), unscaled embeddings of training sequences.
        blocks: Blocks of the embedding, in order.

    Returns:
        float32 (embedding_dim), equal within a block.
    """
    variances = vectors.var(axis=0, dtype=np.float64)
    scales, start = [], 0
    for block in blocks:
        variance = float(variances[start : start + block.width].sum())
        wanted = np.sqrt(block.variance / variance) if variance > 0 else block.max_scale
        scales += [min(wanted, block.max_scale)] * block.width
        start += block.width
    return np.array(scales, dtype=np.float32)
