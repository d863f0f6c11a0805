"""What an embedding is made of, and how much each part of it weighs.

An embedding is several vectors side by side: what recurrent layers made of the values, of their differences, the level
of each feature, and so on. Whoever measures distances hears the loudest of them. How loud a part becomes in training is
an accident; so afterwards each is weighed such that its numbers have the variance it should have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EmbeddingPart:
    """Some numbers of an embedding that stand side by side and belong together.

    Attributes:
        name: What they tell of.
        width: How many they are.
        variance: What all of them together should have over the training sequences.
        largest_weight: What they are multiplied by at most: to blow up what hardly differs blows up its errors, too.
    """

    name: str
    width: int
    variance: float
    largest_weight: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        return cls(value["name"], value["width"], value["variance"], value["largest_weight"])


def part_weights(vectors: NDArray[np.floating], parts: Sequence[EmbeddingPart]) -> NDArray[np.float32]:
    """Return what each number of an embedding is to be multiplied by.

    Args:
        vectors: float (sequences, embedding_dim), not weighed yet, of training sequences.
        parts: Of the embedding, in its order.

    Returns:
        float32 (embedding_dim), equal within a part.
    """
    variances = vectors.var(axis=0, dtype=np.float64)
    weights, start = [], 0
    for part in parts:
        variance = float(variances[start : start + part.width].sum())
        wanted = np.sqrt(part.variance / variance) if variance > 0 else part.largest_weight
        weights += [min(wanted, part.largest_weight)] * part.width
        start += part.width
    return np.array(weights, dtype=np.float32)
