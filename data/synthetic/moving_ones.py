"""A one that moves: the smallest data on which a reconstruction is plainly right or wrong."""

import numpy as np
import pyarrow as pa

from seqembed.data.synthetic.generator import (
    CHUNK_ROWS,
    SampleBlock,
    SampleGenerator,
    number_columns,
    offsets_of,
    step_numbers,
)

NUM_FEATURES = 8
MAX_LENGTH = 10
NAMES = tuple(f"f{index}" for index in range(NUM_FEATURES))


def make(first_row: int, generator: np.random.Generator) -> SampleBlock:
    """Return rows of 0 to `MAX_LENGTH` steps; step k has a one at index k, and later steps than the eighth have none.

    Steps past the eighth are all zeros and still count, which tells a mask from lengths apart from a magic value.
    """
    offsets = offsets_of(generator.integers(0, MAX_LENGTH, size=CHUNK_ROWS, endpoint=True))
    steps = step_numbers(offsets)
    values = np.zeros((len(steps), NUM_FEATURES), dtype=np.float32)
    lit = np.flatnonzero(steps < NUM_FEATURES)
    values[lit, steps[lit]] = 1
    ids = pa.array(np.arange(first_row, first_row + CHUNK_ROWS))
    return SampleBlock(ids=ids, offsets=offsets, columns=number_columns(NAMES, values))


GENERATOR = SampleGenerator("moving-ones", NAMES, default_rows=1_000, make=make)
