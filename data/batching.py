"""From a window of sequences to padded batches of like length, and back to input order.

Padding is work thrown away. Sorting a window of thousands of sequences by length and cutting it into batches wastes
under one percent. How a window is cut depends on its lengths alone, so that no vector depends on the number of threads.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.sequences import SequenceBlock


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """Sequences padded to one length.

    Attributes:
        values: float32 (batch, time, features), raw units; NaN is missing, the padding is 0.
        lengths: int32 (batch), each in 1…time.
        rows: int64 (batch), position of each sequence in the window it came from.
        categories: int32 (batch, time, fields), ids by `data.vocabulary`; the padding is 0.
    """

    values: NDArray[np.float32]
    lengths: NDArray[np.int32]
    rows: NDArray[np.int64]
    categories: NDArray[np.int32]


def pad(block: SequenceBlock, rows: NDArray[np.int64], time: int | None = None) -> SequenceBatch:
    """Return the sequences at `rows`, int64 (batch), as one batch padded with zeros to the longest or to `time` steps.

    Raises:
        ValueError: A sequence is longer than `time`.
    """
    lengths = block.offsets[rows + 1] - block.offsets[rows]
    longest = int(lengths.max(initial=0))
    time = longest if time is None else time
    if longest > time:
        raise ValueError(f"a sequence of {longest} steps does not fit into time={time}")
    values = np.zeros((len(rows), time, block.values.shape[1]), dtype=np.float32)
    steps = np.arange(time)
    valid = steps < lengths[:, None]  # (batch, time)
    source = block.offsets[rows][:, None] + steps
    places = source[valid]
    values[valid] = block.values[places]
    categories = np.zeros((len(rows), time, block.categories.shape[1]), dtype=np.int32)
    categories[valid] = block.categories[places]
    return SequenceBatch(values=values, lengths=lengths.astype(np.int32), rows=rows, categories=categories)


def plan_batches(lengths: NDArray[np.int64], batch_size: int, max_steps: int) -> list[NDArray[np.int64]]:
    """Cut a window into batches of like length; sequences of length 0 are in none.

    Args:
        lengths: int64 (sequences), steps of each.
        batch_size: Most sequences in a batch.
        max_steps: Most steps in a batch, padding included; a longer sequence makes a batch of its own.

    Returns:
        Row positions a batch, int64 (batch), shortest first; the order is stable, so equal input gives equal batches.
    """
    order = np.argsort(lengths, kind="stable")
    order = order[np.searchsorted(lengths[order], 1) :]
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        stop = min(start + batch_size, len(order))
        padded = lengths[order[start:stop]] * np.arange(1, stop - start + 1)
        fits = int(np.searchsorted(padded, max_steps, side="right"))  # padded rises: lengths are sorted
        stop = start + max(1, fits)
        batches.append(order[start:stop])
        start = stop
    return batches
