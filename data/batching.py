"""Cut a window of sequences into padded batches of similar length, and return results in input order.

Padding is wasted work. Sorting a window of thousands of sequences by length before cutting it into batches keeps it
under one percent. The cuts depend only on the lengths, so that no vector depends on the number of threads.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from seqembed.data.sequences import SequenceBlock

_Kind = TypeVar("_Kind", bound=np.generic)


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """Sequences padded to one length.

    Attributes:
        values: float32 (batch, time, features), raw units; NaN is missing, the padding is 0.
        lengths: int32 (batch), each in 1…time.
        rows: int64 (batch), position of each sequence in the window it came from.
        categories: int32 (batch, time, fields), ids by `seqembed.data.schema.vocabulary`; the padding is 0.
    """

    values: NDArray[np.float32]
    lengths: NDArray[np.int32]
    rows: NDArray[np.int64]
    categories: NDArray[np.int32]


def pad(block: SequenceBlock, rows: NDArray[np.int64], time: int | None = None) -> SequenceBatch:
    """Return the sequences at `rows`, int64 (batch), as one batch, padded with zeros to the longest or to `time` steps.

    Raises:
        ValueError: A sequence is longer than `time`.
    """
    starts = block.offsets[rows]
    lengths = block.offsets[rows + 1] - starts
    longest = int(lengths.max(initial=0))
    time = longest if time is None else time
    if longest > time:
        raise ValueError(f"a sequence of {longest} steps does not fit into time={time}")
    return _padded(block, rows, starts, lengths.astype(np.int32), int(lengths.min(initial=time)), time)


def _padded(
    block: SequenceBlock,
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    shortest: int,
    time: int,
) -> SequenceBatch:
    return SequenceBatch(
        values=_gathered(block.values, starts, lengths, shortest, time),
        lengths=lengths,
        rows=rows,
        categories=_gathered(block.categories, starts, lengths, shortest, time),
    )


def _gathered(
    steps: NDArray[_Kind], starts: NDArray[np.int64], lengths: NDArray[np.int32], shortest: int, time: int
) -> NDArray[_Kind]:
    """Return (batch, time, width): `lengths` of the steps (all, width) from each of `starts`, padded with zeros."""
    num_steps, width = steps.shape
    if not steps.size or not time:
        return np.zeros((len(starts), time, width), dtype=steps.dtype)
    # Copy runs of `time` steps, then zero the few that belong to other sequences: several times faster than selecting
    # the real steps by a mask.
    gathered = _runs(steps, starts, time)
    if gathered is None:
        gathered = np.take(steps, starts[:, None] + np.arange(time), axis=0, mode="clip")
    if shortest < time:  # in most batches all sequences have the same length
        gathered[:, shortest:][np.arange(shortest, time) >= lengths[:, None]] = 0
    return gathered


def _runs(steps: NDArray[_Kind], starts: NDArray[np.int64], time: int) -> NDArray[_Kind] | None:
    """Return runs of `time` steps, (batch, time, width); None if one would end beyond the last step."""
    num_steps, width = steps.shape
    if num_steps < time or not steps.flags.c_contiguous:
        return None
    # A view of all possible runs, one starting at every step: selecting a run is a single memcpy.
    strides = (steps.strides[0], steps.itemsize)
    runs = np.ndarray((num_steps - time + 1, time * width), steps.dtype, steps, 0, strides)
    try:
        return runs[starts].reshape(-1, time, width)
    except IndexError:
        return None


@dataclass(frozen=True, slots=True)
class BatchedBlock:
    """A block cut into batches of similar length, with everything precomputed that the batches need.

    A run has tens of thousands of batches, and computing this for each batch separately would cost some percent of it.

    Attributes:
        block: The sequences.
        order: int64 (sequences with a step), their positions in the block, shortest first.
        bounds: Start of each batch in `order`, and the end.
    """

    block: SequenceBlock
    order: NDArray[np.int64]
    bounds: list[int]
    _starts: NDArray[np.int64]
    _lengths: NDArray[np.int32]

    @classmethod
    def cut(
        cls, block: SequenceBlock, batch_size: int, max_steps: int, *, multiple: int = 1, full_steps: int = 0
    ) -> Self:
        """Cut a block; arguments as for `plan_batches`."""
        lengths = block.lengths
        order = _shortest_first(lengths)
        bounds = _bounds(lengths[order].tolist(), batch_size, max_steps, multiple, full_steps)
        return cls(block, order, bounds, block.offsets[order], lengths[order].astype(np.int32))

    @property
    def num_batches(self) -> int:
        """Number of batches."""
        return len(self.bounds) - 1

    @property
    def padded_steps(self) -> int:
        """Steps of all batches, padding included."""
        ends = np.array(self.bounds[1:], dtype=np.int64)
        return int((np.diff(self.bounds) * self._lengths[ends - 1].astype(np.int64)).sum())

    def batch(self, index: int) -> SequenceBatch:
        """Return a batch, padded with zeros to its longest sequence."""
        first, end = self.bounds[index], self.bounds[index + 1]
        lengths = self._lengths[first:end]
        shortest, longest = int(lengths[0]), int(lengths[-1])
        return _padded(self.block, self.order[first:end], self._starts[first:end], lengths, shortest, longest)

    def in_block_order(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one vector per sequence of the block, zeros for those without a step.

        Args:
            vectors: float32 (sequences with a step, width), in `order`.
        """
        num_sequences, in_order = self.block.num_sequences, np.arange(len(self.order))
        if len(self.order) == num_sequences and (self.order == in_order).all():  # all of one length
            return vectors
        if len(self.order) < num_sequences:
            vectors = np.concatenate([vectors, np.zeros((1, vectors.shape[1]), dtype=np.float32)])
        indices = np.full(num_sequences, len(self.order))
        indices[self.order] = in_order
        return vectors.take(indices, axis=0)


def plan_batches(
    lengths: NDArray[np.int64], batch_size: int, max_steps: int, *, multiple: int = 1, full_steps: int = 0
) -> list[NDArray[np.int64]]:
    """Cut a window into batches of similar length, without sequences of length 0.

    Args:
        lengths: int64 (sequences), steps of each.
        batch_size: Number of sequences per batch; less where `max_steps` is reached, more for short sequences.
        max_steps: Maximum steps of a batch, padding included; a longer sequence gets its own batch.
        multiple: Short sequences form batches of up to this multiple of `batch_size`.
        full_steps: Maximum steps of such a larger batch, padding included.

    Returns:
        Row positions per batch, int64 (batch), shortest first. The order is stable, so equal input gives equal batches.
    """
    order = _shortest_first(lengths)
    bounds = _bounds(lengths[order].tolist(), batch_size, max_steps, multiple, full_steps)
    return [order[first:end] for first, end in pairwise(bounds)]


def _shortest_first(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    order = np.argsort(lengths, kind="stable")
    return order[np.searchsorted(lengths[order], 1) :]


def _bounds(lengths: list[int], batch_size: int, max_steps: int, multiple: int, full_steps: int) -> list[int]:
    """Return the start of each batch of `plan_batches`, and the end; `lengths` are ascending."""
    bounds, num_sequences = [0], len(lengths)
    while (start := bounds[-1]) < num_sequences:
        left = num_sequences - start
        size = min(batch_size, left)
        for sizes in range(min(multiple, left // batch_size), 1, -1):
            together = sizes * batch_size
            if lengths[start + together - 1] * together <= full_steps:
                size = together
                break
        while size > 1 and lengths[start + size - 1] * size > max_steps:
            size -= 1
        bounds.append(start + size)
    return bounds
