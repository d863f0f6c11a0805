"""The blocks of an embedding, how each is scaled to a fixed variance, and how all are projected to one width.

An embedding concatenates several vectors: what the recurrent layers made of the values, what they made of the
differences, the per-sequence statistics, and so on. The variance of a block after training is arbitrary and would
dominate Euclidean distances, so each block is rescaled to a fixed variance. Still, what many numbers have in common
would dominate: the projection damps the directions in which training sequences differ most, so that a large difference
that does not matter cannot hide a small one that does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# Strength of the damping: a direction that holds the share s of all variance is multiplied by (1 + 20 s)^-1/2. On 38
# sets of 20 to 180 sequences, 34 of them made, 10 to 30 did equally well; a strength that grows with the number of
# sequences, as whitening does, lost 14 points of accuracy on seven sets of 800.
_DAMPING = 20.0
_MIN_DEVIATION = 1e-12  # of a block's numbers: below it they are constant, and its inverse could exceed float32
_MIN_SHARE = 1e-9  # of the variance: a direction with less is rounding


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


@dataclass(frozen=True, slots=True)
class Projection:
    """A map of an embedding to fewer numbers: ``tanh((embedding - mean) * slope) @ matrix + offset``.

    Attributes:
        mean: float32 (embedding_dim), mean over training sequences.
        slope: float32 (embedding_dim), half of one over the typical deviation of a number of the block, so that no
            outlier dominates; 0 where the numbers of a block are constant.
        matrix: float32 (embedding_dim, width), zero in the last columns where training sequences differ in fewer
            directions than `width`.
        offset: float32 (width), which makes the mean over training sequences 0.
        inverse: float32 (width, embedding_dim), and
        inverse_offset: float32 (embedding_dim), return the hyperbolic tangents of training sequences.
    """

    mean: NDArray[np.float32]
    slope: NDArray[np.float32]
    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]
    inverse: NDArray[np.float32]
    inverse_offset: NDArray[np.float32]

    def __call__(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return float32 (sequences, width) of vectors (sequences, embedding_dim)."""
        projected: NDArray[np.float32] = np.tanh((vectors - self.mean) * self.slope) @ self.matrix + self.offset
        return projected.astype(np.float32)


def fit_projection(vectors: NDArray[np.floating], block_widths: Sequence[int], width: int) -> Projection:
    """Return the projection to the directions in which training sequences differ most, the strongest of them damped.

    It is fitted without labels. On 38 sets with an untrained encoder it gave 2.5 ± 0.5 points of accuracy more than
    scaled blocks alone; the tanh is 0.4 ± 0.1 of them.

    Source: principal components; ridge whitening, with a ridge that is a share of the total variance.

    Args:
        vectors: float (sequences, embedding_dim), embeddings of training sequences, their blocks scaled.
        block_widths: Numbers of each block, in order.
        width: Numbers to keep.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    deviation = np.concatenate(
        [np.full(size, np.sqrt(block.sum() / size)) for size, block in _blocks(vectors.var(axis=0), block_widths)]
    )
    slope = np.divide(0.5, deviation, out=np.zeros_like(deviation), where=deviation > _MIN_DEVIATION)
    bounded = np.tanh((vectors - mean) * slope) * (2 * deviation)
    centre = bounded.mean(axis=0)
    _, values, directions = np.linalg.svd(bounded - centre, full_matrices=False)
    variances = values**2
    shares = variances / max(float(variances.sum()), 1e-300)
    directions, shares = directions[:width], shares[:width]
    kept = shares > _MIN_SHARE
    directions, shares = directions[kept], shares[kept]
    # The sign of a direction is arbitrary and differs between libraries: its largest number is positive.
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])
    gains = (signs / np.sqrt(1 + _DAMPING * shares))[:, None]
    turned = _rotation(len(gains))
    matrix, inverse = np.zeros((len(mean), width)), np.zeros((width, len(mean)))
    matrix[:, : len(gains)], inverse[: len(gains)] = (directions * gains).T @ turned, turned.T @ (directions / gains)
    arrays = (mean, slope, 2 * deviation[:, None] * matrix, -centre @ matrix, inverse * slope, centre * slope)
    return Projection(*(array.astype(np.float32) for array in arrays))


def _rotation(width: int) -> NDArray[np.float64]:
    """Return a fixed random rotation, which spreads the variance over all numbers and changes no distance.

    Without it the last numbers hold little but noise, and whoever standardises each number, as before a logistic
    regression, makes it as strong as the rest: 0.92 instead of 0.99 accuracy on JapaneseVowels.
    """
    orthogonal, triangle = np.linalg.qr(np.random.default_rng(0).standard_normal((width, width)))
    return orthogonal * np.sign(np.diag(triangle))


def _blocks(numbers: NDArray[np.floating], widths: Sequence[int]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the width of each block with its part of numbers (embedding_dim)."""
    start = 0
    for width in widths:
        yield width, numbers[start : start + width].astype(np.float64)
        start += width
