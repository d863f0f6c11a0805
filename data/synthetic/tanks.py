"""Levels of four tanks in a ring of pipes, one of them open: windows differ in which level follows which."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.synthetic.generator import (
    CHUNK_ROWS,
    SampleBlock,
    SampleGenerator,
    number_columns,
    offsets_of,
    step_numbers,
)

NAMES = ("level_a", "level_b", "level_c", "level_d")
PIPES = ("a to b", "b to c", "c to d", "d to a")
MIN_LENGTH, MAX_LENGTH = 50, 90
DELAY = 3  # steps until a level follows the one before it
MEMORY = 0.7  # of a level from step to step
# Shares of the followed level and of its own movement in a level that follows; their squares add up to one, so that no
# level has another mean or variance than the others.
FOLLOWED, OWN = 0.75, float(np.sqrt(1 - 0.75**2))
OFFSET = np.array([120, 85, 140, 60], dtype=np.float32)  # cm
SCALE = np.array([6, 5, 8, 4], dtype=np.float32)


def make(first_row: int, generator: np.random.Generator) -> SampleBlock:
    """Return windows of four levels in cm, with the pipe that is open as `open_pipe`.

    Every level is a first-order autoregression around its mean; the one behind the open pipe follows the one before it.
    Mean, spread and autocorrelation of each level are the same whichever pipe is open.
    """
    offsets = offsets_of(generator.integers(MIN_LENGTH, MAX_LENGTH + 1, size=CHUNK_ROWS))
    pipes = generator.integers(len(PIPES), size=CHUNK_ROWS)
    levels = _levels(generator, pipes)  # (sequences, MAX_LENGTH, features)
    sequences = np.repeat(np.arange(CHUNK_ROWS), np.diff(offsets))
    values = levels[sequences, step_numbers(offsets)] * SCALE + OFFSET
    return SampleBlock(
        ids=pa.array(np.arange(first_row, first_row + CHUNK_ROWS)),
        offsets=offsets,
        columns=number_columns(NAMES, values),
        kept={"open_pipe": pa.array(PIPES).take(pa.array(pipes))},
    )


def _levels(generator: np.random.Generator, pipes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return standardised levels, float32 (sequences, MAX_LENGTH, features)."""
    steps = MAX_LENGTH + DELAY
    free = generator.standard_normal((len(pipes), steps, len(NAMES)), dtype=np.float32)
    free[:, 1:] *= np.float32(np.sqrt(1 - MEMORY**2))
    for step in range(1, steps):
        free[:, step] += np.float32(MEMORY) * free[:, step - 1]
    levels = free[:, DELAY:].copy()
    rows = np.arange(len(pipes))
    followed, following = pipes, (pipes + 1) % len(NAMES)
    before = free[rows, :MAX_LENGTH, followed]
    levels[rows, :, following] = FOLLOWED * before + OWN * levels[rows, :, following]
    return levels


GENERATOR = SampleGenerator("tanks", NAMES, default_rows=1_000, make=make)
