"""From a window of sequences to padded batches of like length, and back to input order.

Padding is work thrown away. Sorting a window of thousands of sequences by length and cutting it into batches wastes
under one percent. How a window is cut depends on its lengths alone, so that no vector depends on the number of threads.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from data.sequences import SequenceBlock

_Kind = TypeVar("_Kind", bound=np.generic)


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
    starts = block.offsets[rows]
    shortest = int(lengths.min(initial=time))
    padding = None if shortest == time else np.arange(time) >= lengths[:, None]  # most batches have none
    return SequenceBatch(
        values=_gathered(block.values, starts, time, padding),
        lengths=lengths.astype(np.int32),
        rows=rows,
        categories=_gathered(block.categories, starts, time, padding),
    )


def _gathered(
    steps: NDArray[_Kind], starts: NDArray[np.int64], time: int, padding: NDArray[np.bool_] | None
) -> NDArray[_Kind]:
    """Return (batch, time, width): `time` of the steps (all, width) from each of `starts` on, and 0 at `padding`."""
    num_steps, width = steps.shape
    if not steps.size or not time:
        return np.zeros((len(starts), time, width), dtype=steps.dtype)
    # Copy runs of `time` steps, then put zeros over the few that belong to others: several times faster than to pick
    # the real steps by a mask.
    if int(starts.max(initial=0)) + time <= num_steps and steps.flags.c_contiguous:
        # All runs of that many steps there are, one at every step, without a copy: a run is taken by one memcpy.
        strides = (steps.strides[0], steps.itemsize)
        runs = np.ndarray((num_steps - time + 1, time * width), steps.dtype, steps, 0, strides)
        gathered = runs[starts].reshape(-1, time, width)
    else:  # a run would end beyond the last step
        gathered = np.take(steps, starts[:, None] + np.arange(time), axis=0, mode="clip")
    if padding is not None:
        gathered[padding] = 0
    return gathered


def plan_batches(
    lengths: NDArray[np.int64], batch_size: int, max_steps: int, *, multiple: int = 1, full_steps: int = 0
) -> list[NDArray[np.int64]]:
    """Cut a window into batches of like length; sequences of length 0 are in none.

    Args:
        lengths: int64 (sequences), steps of each.
        batch_size: Most sequences in a batch that has `full_steps` steps without more of them.
        max_steps: Most steps in a batch, padding included; a longer sequence makes a batch of its own.
        multiple: Short sequences are put together up to this many times `batch_size`, by whole batch sizes.
        full_steps: How many steps, padding included, such a batch may have.

    Returns:
        Row positions a batch, int64 (batch), shortest first; the order is stable, so equal input gives equal batches.
    """
    order = np.argsort(lengths, kind="stable")
    order = order[np.searchsorted(lengths[order], 1) :]
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        candidates = order[start : start + multiple * batch_size]
        padded = lengths[candidates] * np.arange(1, len(candidates) + 1)  # rises: lengths are sorted
        together = int(np.searchsorted(padded, full_steps, side="right")) // batch_size * batch_size
        fits = int(np.searchsorted(padded, max_steps, side="right"))
        stop = start + max(1, min(fits, max(together, batch_size)))
        batches.append(order[start:stop])
        start = stop
    return batches
