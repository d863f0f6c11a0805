"""What every generated sample has in common: a name, columns, and sequences made chunk by chunk from a seed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# Sequences made at a time. It bounds memory, and it is part of what a seed means: another size gives other data.
CHUNK_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class SampleBlock:
    """Consecutive sequences of a sample, end to end, in columns of any type.

    Attributes:
        ids: Arrow array (sequences).
        offsets: int64 (sequences + 1), where sequences begin and end.
        columns: By name, Arrow arrays (steps); a `time` among them is when each step happened.
        kept: By name, Arrow arrays (sequences): what describes a whole sequence.
    """

    ids: pa.Array
    offsets: NDArray[np.int64]
    columns: dict[str, pa.Array]
    kept: dict[str, pa.Array] = field(default_factory=dict)

    @property
    def num_sequences(self) -> int:
        """How many sequences, those without steps included."""
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sequence, int64 (sequences)."""
        return np.diff(self.offsets)

    def slice(self, start: int, stop: int) -> Self:
        """Return sequences `start` to `stop` without copying."""
        first, last = int(self.offsets[start]), int(self.offsets[stop])
        return type(self)(
            ids=self.ids.slice(start, stop - start),
            offsets=self.offsets[start : stop + 1] - first,
            columns={name: column.slice(first, last - first) for name, column in self.columns.items()},
            kept={name: column.slice(start, stop - start) for name, column in self.kept.items()},
        )


@dataclass(frozen=True, slots=True)
class SampleGenerator:
    """A generated sample.

    Attributes:
        name: What the user calls it.
        columns: Of a step, in the order of the blocks.
        default_rows: Sequences written where the user names no number.
        make: (number of the chunk's first row, its random numbers) → the `CHUNK_ROWS` sequences from there on.
    """

    name: str
    columns: tuple[str, ...]
    default_rows: int
    make: Callable[[int, np.random.Generator], SampleBlock]


def blocks(recipe: SampleGenerator, rows: int, seed: int) -> Iterator[SampleBlock]:
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


def number_columns(names: Sequence[str], values: NDArray[np.float32]) -> dict[str, pa.Array]:
    """Return float32 (steps, features) as a column for each name."""
    return {name: pa.array(np.ascontiguousarray(values[:, index])) for index, name in enumerate(names)}
