"""Short rising lines of unequal length: four kinds that a two-number embedding must keep apart."""

import numpy as np
import pyarrow as pa

from seqembed.data.synthetic.generator import CHUNK_ROWS, SampleBlock, SampleGenerator, offsets_of, step_numbers

# (start, step, number of steps)
RAMPS = ((0.1, 0.1, 9), (0.1, 0.1, 8), (0.2, 0.2, 4), (0.3, 0.3, 4))
NAMES = tuple(f"{start:.1f} to {start + step * (steps - 1):.1f} by {step:.1f}" for start, step, steps in RAMPS)
NOISE = 0.01


def make(first_row: int, generator: np.random.Generator) -> SampleBlock:
    """Return ramps of each kind in turn, with normal noise of standard deviation `NOISE`, and their kind as `ramp`."""
    rows = np.arange(first_row, first_row + CHUNK_ROWS)
    kinds = rows % len(RAMPS)
    start, step, num_steps = (np.array(column)[kinds] for column in zip(*RAMPS, strict=True))
    offsets = offsets_of(num_steps)
    line = np.repeat(start, num_steps) + np.repeat(step, num_steps) * step_numbers(offsets)
    noise = generator.normal(scale=NOISE, size=len(line))
    return SampleBlock(
        ids=pa.array([f"ramp-{row:06d}" for row in rows.tolist()]),
        offsets=offsets,
        columns={"value": pa.array((line + noise).astype(np.float32))},
        kept={"ramp": pa.array(NAMES).take(pa.array(kinds))},
    )


GENERATOR = SampleGenerator("ramps", ("value",), default_rows=400, make=make)
