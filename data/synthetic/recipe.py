"""What every generated sample has in common: a name, features, and sequences made chunk by chunk from a seed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.sequences import SequenceBlock

# Sequences made at a time. It bounds memory, and it is part of what a seed means: another size gives other data.
CHUNK_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Recipe:
    """A generated sample.

    Attributes:
        name: What the user calls it.
        features: Column of each feature, in the order of the block's last axis.
        default_rows: Sequences written where the user names no number.
        make: (number of the chunk's first row, its random numbers) → the `CHUNK_ROWS` sequences from there on.
    """

    name: str
    features: tuple[str, ...]
    default_rows: int
    make: Callable[[int, np.random.Generator], SequenceBlock]


def blocks(recipe: Recipe, rows: int, seed: int) -> Iterator[SequenceBlock]:
    """Make the first `rows` sequences that `seed` gives.

    Every chunk is made whole and then cut, so that the first rows stay the same however many are asked for.
    """
    for chunk, first in enumerate(range(0, rows, CHUNK_ROWS)):
        generator = np.random.Generator(np.random.SFC64([seed, chunk]))
        yield recipe.make(first, generator).slice(0, min(CHUNK_ROWS, rows - first))


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where sequences of `lengths`, int64 (sequences), begin and end, int64 (sequences + 1)."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def step_numbers(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each step's number within its own sequence, counted from 0, int64 (steps)."""
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))
