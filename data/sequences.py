"""Sequences in memory: flat values with offsets.

A block holds many concatenated sequences, like an Arrow list array, so that nothing between Parquet and a padded batch
loops over rows in Python.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.parquet.sizes import row_bytes

_WINDOW_BYTES = 32 << 20  # a run holds several windows at a time
Truncate = Literal["head", "tail"]
TRUNCATES: tuple[Truncate, ...] = ("head", "tail")


@dataclass(frozen=True, slots=True)
class LengthPolicy:
    """How long sequences are truncated.

    Attributes:
        max_length: Maximum number of steps; None keeps all.
        truncate: ``tail`` keeps the newest (last) steps, ``head`` the oldest.
    """

    max_length: int | None = None
    truncate: Truncate = "tail"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is not a valid sequence, and the reason.

    Attributes:
        row: Position of the row in its file, from 0; in the events layout, of the first event of the sequence.
        id: The id as text, None if it is null.
        reason: What was found and what was expected.
        raw: The columns that were read, unchanged, as one row; in the events layout with lists of the events' values.
        num_rows: How many rows of the file the sequence has: in the events layout its events, else 1.
    """

    row: int
    id: str | None
    reason: str
    raw: pa.RecordBatch
    num_rows: int = 1


_NONE = np.zeros((0, 0), dtype=np.int32)
_ONE_EACH = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class SequenceBlock:
    """Consecutive sequences of one file, concatenated.

    Attributes:
        values: float32 (steps, features), raw units; NaN is a missing value, ±inf never occurs. Without features its
            shape is (steps, 0).
        offsets: int64 (sequences + 1); sequence i is ``values[offsets[i]:offsets[i + 1]]``.
        ids: Arrow array (sequences), converted by `seqembed.data.decode.arrow.plain_values`.
        kept: Kept columns, one row per sequence, converted likewise, in the requested order.
        bad: Invalid rows with their index in this block, where their length is 0.
        num_truncated: Number of sequences truncated by the length policy.
        categories: int32 (steps, fields), ids by `seqembed.data.schema.vocabulary`; by default without fields.
        input_rows: int64 (sequences), file rows per sequence: 1 in the nested layout, the number of events in the
            events layout, bad and truncated ones included; by default 1.
    """

    values: NDArray[np.float32]
    offsets: NDArray[np.int64]
    ids: pa.Array
    kept: dict[str, pa.Array] = field(default_factory=dict)
    bad: tuple[tuple[int, BadRow], ...] = ()
    num_truncated: int = 0
    categories: NDArray[np.int32] = field(default_factory=lambda: _NONE)
    input_rows: NDArray[np.int64] = field(default_factory=lambda: _ONE_EACH)

    def __post_init__(self) -> None:
        """Set the default arrays to the right size."""
        if self.input_rows is _ONE_EACH:
            object.__setattr__(self, "input_rows", np.ones(self.num_sequences, dtype=np.int64))
        if self.categories is _NONE:
            object.__setattr__(self, "categories", np.zeros((len(self.values), 0), dtype=np.int32))

    @property
    def num_sequences(self) -> int:
        """Number of sequences, including bad and empty ones."""
        return len(self.offsets) - 1

    @property
    def num_rows(self) -> int:
        """Number of file rows of all sequences."""
        return int(self.input_rows.sum())

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sequence, int64 (sequences)."""
        return np.diff(self.offsets)

    def slice(self, start: int, stop: int) -> Self:
        """Return sequences `start` to `stop` without copying; `num_truncated` stays with the first slice."""
        first, last = self.offsets[start], self.offsets[stop]
        return type(self)(
            values=self.values[first:last],
            offsets=self.offsets[start : stop + 1] - first,
            ids=self.ids.slice(start, stop - start),
            kept={name: column.slice(start, stop - start) for name, column in self.kept.items()},
            bad=tuple((index - start, row) for index, row in self.bad if start <= index < stop),
            num_truncated=self.num_truncated if start == 0 else 0,
            categories=self.categories[first:last],
            input_rows=self.input_rows[start:stop],
        )

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the sequences at `rows`, int64 (n), in that order, without the records of bad rows."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        steps = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        indices = pa.array(rows)
        return type(self)(
            values=self.values[steps],
            offsets=offsets,
            ids=self.ids.take(indices),
            kept={name: column.take(indices) for name, column in self.kept.items()},
            categories=self.categories[steps],
            input_rows=self.input_rows[rows],
        )


def concatenate(blocks: Sequence[SequenceBlock]) -> SequenceBlock:
    """Concatenate blocks of one file, in order.

    Raises:
        ValueError: `blocks` is empty.
    """
    if not blocks:
        raise ValueError("concatenate needs at least one block")
    if len(blocks) == 1:
        return blocks[0]
    starts = np.cumsum([0, *(block.offsets[-1] for block in blocks)])
    firsts = np.cumsum([0, *(block.num_sequences for block in blocks)])
    offsets = [block.offsets[:-1] + start for block, start in zip(blocks, starts[:-1], strict=True)]
    return SequenceBlock(
        values=np.concatenate([block.values for block in blocks]),
        offsets=np.concatenate([*offsets, starts[-1:]]).astype(np.int64),
        ids=pa.concat_arrays([block.ids for block in blocks]),
        kept={name: pa.concat_arrays([block.kept[name] for block in blocks]) for name in blocks[0].kept},
        bad=tuple(
            (index + int(first), row)
            for block, first in zip(blocks, firsts[:-1], strict=True)
            for index, row in block.bad
        ),
        num_truncated=sum(block.num_truncated for block in blocks),
        categories=np.concatenate([block.categories for block in blocks]),
        input_rows=np.concatenate([block.input_rows for block in blocks]),
    )


def at_most(blocks: Iterator[SequenceBlock], limit: int | None) -> Iterator[SequenceBlock]:
    """Yield blocks up to the first `limit` sequences; None yields all."""
    left = limit
    for block in blocks:
        if left is not None and block.num_sequences >= left:
            yield block.slice(0, left)
            return
        left = None if left is None else left - block.num_sequences
        yield block


def windows(
    blocks: Iterator[SequenceBlock], max_sequences: int, max_steps: int, first_sequences: int | None = None
) -> Iterator[SequenceBlock]:
    """Regroup blocks into windows that depend only on the sequences, not on how the file is divided.

    A window is complete with `max_sequences` sequences, or before it would exceed `max_steps` steps, or 32 MiB of text,
    bytes and lists in ids and kept columns; a single larger sequence gets its own window. Memory is bounded by one
    window and one incoming block.

    Args:
        blocks: Blocks of one file, in order.
        max_sequences: Maximum sequences of a window.
        max_steps: Maximum steps of a window of several sequences.
        first_sequences: Maximum sequences of the first window, so that it is available soon; doubled with every window
            up to `max_sequences`. None starts with `max_sequences`.
    """
    pending: list[SequenceBlock] = []
    num_sequences = num_steps = num_bytes = 0
    limit = max_sequences if first_sequences is None else min(first_sequences, max_sequences)
    for incoming in blocks:
        block = incoming
        sizes = row_bytes([block.ids, *block.kept.values()])
        ends = None if sizes is None else np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        while block.num_sequences:
            room = int(np.searchsorted(block.offsets, max_steps - num_steps, side="right")) - 1
            if ends is not None:
                room = min(room, int(np.searchsorted(ends, ends[0] + _WINDOW_BYTES - num_bytes, side="right")) - 1)
            fits = min(room, limit - num_sequences, block.num_sequences)
            if fits <= 0 and not pending:
                fits = 1
            if fits > 0:
                pending.append(block.slice(0, fits))
                num_sequences += fits
                num_steps += int(block.offsets[fits])
                block = block.slice(fits, block.num_sequences)
                if ends is not None:
                    num_bytes += int(ends[fits] - ends[0])
                    ends = ends[fits:]
            if block.num_sequences or num_sequences >= limit:
                yield concatenate(pending)
                pending, num_sequences, num_steps, num_bytes = [], 0, 0, 0
                limit = min(2 * limit, max_sequences)
    if pending:
        yield concatenate(pending)
