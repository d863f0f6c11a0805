"""The common interface of all generated samples: a name, columns, and sequences made in chunks from a seed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# Sequences per chunk. It bounds memory, and it affects the result of a seed: another size gives other data.
CHUNK_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class SampleBlock:
    """Consecutive sequences of a sample, concatenated, in columns of any type.

    Attributes:
        ids: Arrow array (sequences).
        offsets: int64 (sequences + 1), start of each sequence, and the end.
        columns: Arrow arrays (steps) by name; `time`, if present, is the time of each step.
        kept: Arrow arrays (sequences) by name, with values that describe a sequence.
    """

    ids: pa.Array
    offsets: NDArray[np.int64]
    columns: dict[str, pa.Array]
    kept: dict[str, pa.Array] = field(default_factory=dict)

    @property
    def num_sequences(self) -> int:
        """Number of sequences, including those without steps."""
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
    """A generator of a sample.

    Attributes:
        name: Name of the sample.
        columns: Columns of a step, in order.
        default_rows: Default number of sequences.
        start: The first day of its times in the events layout.
        make: (number of the chunk's first row, random generator) → the `CHUNK_ROWS` sequences of the chunk.
    """

    name: str
    columns: tuple[str, ...]
    default_rows: int
    make: Callable[[int, np.random.Generator], SampleBlock]
    start: np.datetime64 = np.datetime64("2026-01-01")


def blocks(generator: SampleGenerator, rows: int, seed: int) -> Iterator[SampleBlock]:
    """Generate the first `rows` sequences of `seed`.

    Every chunk is generated completely and then cut, so that the first rows do not depend on the number of rows.
    """
    for chunk, first in enumerate(range(0, rows, CHUNK_ROWS)):
        random = np.random.Generator(np.random.SFC64([seed, chunk]))
        yield generator.make(first, random).slice(0, min(CHUNK_ROWS, rows - first))


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the offsets, int64 (sequences + 1), of sequences of `lengths`, int64 (sequences)."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def step_numbers(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each step within its sequence, from 0, int64 (steps)."""
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))


def number_columns(names: Sequence[str], values: NDArray[np.float32]) -> dict[str, pa.Array]:
    """Return float32 (steps, features) as one column per name."""
    return {name: pa.array(np.ascontiguousarray(values[:, index])) for index, name in enumerate(names)}
