"""A fixed projection of embeddings to a few dimensions, in integers, so that no order of summation moves a bit."""

import functools
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from seqembed.data.decode.hashing import mix
from seqembed.data.statistics.definition import MAX_DIMENSIONS, STEPS_PER_SCALE, VectorGrid

_SEED: Final = 20261126
_FINE: Final = 4096  # steps per unit before the projection, and per 1 of the projection's own numbers
_MAX_FINE: Final = 256 * _FINE
MAX_STEPS: Final = 64 * STEPS_PER_SCALE  # of a projected number; its square has 28 bits
_WIDTH_PER_SEQUENCE: Final = 128
_MAX_PRODUCTS: Final = 1 << 18  # of one call: OpenBLAS starts threads of its own above it


def vector_grid(std: Sequence[float]) -> VectorGrid:
    """Return how embeddings are counted whose dimensions have these standard deviations, each (embedding_dim)."""
    unit = float(np.sqrt(np.mean(np.square(std))))
    # A projection costs 5 ns per number of the embedding: of wide ones some are counted, for half a µs per sequence.
    stride = -(-len(std) // _WIDTH_PER_SEQUENCE)
    return VectorGrid(min(MAX_DIMENSIONS, len(std)), unit if 1e-30 < unit < 1e30 else 1.0, stride)


@functools.lru_cache(maxsize=4)
def directions(width: int, num: int) -> NDArray[np.float64]:
    """Return orthonormal directions, float64 (width, num), rounded to 1/4096 so that every host has the same ones."""
    # Drawn by a hash, since numpy may change what its generators draw. Then Gram-Schmidt, twice for the sake of
    # rounding: 1 ms, where the first call of LAPACK starts threads and costs 30 ms.
    drawn = mix(np.arange(_SEED, _SEED + num * width, dtype=np.uint64)) >> np.uint64(11)
    found = (drawn.astype(np.float64) / 2**53 - 0.5).reshape(num, width)
    for index, direction in enumerate(found):
        for _ in range(2):
            for earlier in found[:index]:
                direction -= (direction * earlier).sum() * earlier
        direction /= np.sqrt((direction * direction).sum())
    rounded: NDArray[np.float64] = np.rint(found.T * _FINE) / _FINE
    return rounded


class Projection:
    """Projects embeddings, after subtracting the training mean.

    Every number is an integer below 2^53 held in float64, so sums are exact whatever their order.
    """

    def __init__(self, mean: Sequence[float], grid: VectorGrid) -> None:
        """Take the mean embedding of training, (embedding_dim), and the grid."""
        self._mean = np.asarray(mean, dtype=np.float32)
        self._steps = np.float32(_FINE / grid.unit)
        self._directions = directions(len(mean), grid.dimensions) * _FINE
        self._rows = max(1, _MAX_PRODUCTS // self._directions.size)

    def __call__(self, vectors: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float64], int]]:
        """Yield some rows of `vectors`, finite float32 (sequences, embedding_dim), at a time.

        Yields:
            Whole numbers, float64 (rows, dimensions), in `STEPS_PER_SCALE` per unit; and how many were clipped.
        """
        for start in range(0, len(vectors), self._rows):
            with np.errstate(over="ignore"):  # what is beyond float32 is clipped like anything else far away
                fine = vectors[start : start + self._rows] - self._mean
                fine *= self._steps
            fine = np.clip(np.rint(fine, out=fine), -_MAX_FINE, _MAX_FINE, out=fine)
            steps = np.rint(fine.astype(np.float64) @ self._directions / (_FINE * _FINE // STEPS_PER_SCALE))
            outside = int(np.count_nonzero(np.abs(steps) > MAX_STEPS))
            yield np.clip(steps, -MAX_STEPS, MAX_STEPS, out=steps), outside
