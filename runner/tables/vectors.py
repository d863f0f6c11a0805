"""Embed a source in windows, and apply the option for bad rows in memory."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seqembed.data.bad_rows import bad_row_error
from seqembed.data.errors import UsageError
from seqembed.data.outputs import ModelOutput
from seqembed.data.sequences import SequenceBlock
from seqembed.data.source import Source
from seqembed.runner.engines.finite import refuse_not_finite
from seqembed.runner.engines.pipeline import EmbeddedWindow, Pipeline

OnBadRowInMemory = Literal["fail", "null"]
ON_BAD_ROW_IN_MEMORY: tuple[OnBadRowInMemory, ...] = ("fail", "null")


def embedded_windows(
    source: Source,
    pipeline: Pipeline,
    on_bad_row: OnBadRowInMemory,
    outputs: Sequence[ModelOutput] | None = None,
) -> Iterator[EmbeddedWindow]:
    """Yield the sequences of a source with their vectors, in order; `outputs` are all of the model unless given.

    Raises:
        BadRowError: A row is not a sequence, or its vector is not finite, and `on_bad_row` is ``fail``.
        InputError: The source cannot be read.
        BundleError: The model fails on these values.
    """
    blocks = source.blocks()
    if on_bad_row == "fail":
        blocks = _good(blocks, source.name)
    first_row = source.first_row
    for embedded in pipeline.embed(blocks, outputs):
        window = refuse_not_finite(embedded, source, first_row)
        first_row += window.block.num_rows
        if on_bad_row == "fail":
            _refuse_first(window.block, source.name)
        yield window


def _good(blocks: Iterator[SequenceBlock], name: str) -> Iterator[SequenceBlock]:
    for block in blocks:
        _refuse_first(block, name)
        yield block


def _refuse_first(block: SequenceBlock, name: str) -> None:
    if block.bad:
        raise bad_row_error(name, block.bad[0][1], "Fix the row, or pass on_bad_row='null'.")


def refuse_kept_twice(id_name: str, keep: Sequence[str]) -> None:
    """Check that no kept column is the id, or kept twice.

    Raises:
        UsageError: One is.
    """
    names = [id_name, *keep]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--keep {twice}: that column is in the output already. Omit it from --keep.")


def refuse_unknown(on_bad_row: str) -> None:
    """Check the option.

    Raises:
        UsageError: The value is not supported for data in memory.
    """
    if on_bad_row not in ON_BAD_ROW_IN_MEMORY:
        raise UsageError(
            f"on_bad_row must be fail or null, was {on_bad_row!r}. Only files have a quarantine: seqembed.run."
        )


def vectors_of(window: EmbeddedWindow) -> NDArray[np.float32]:
    """Return float32 (sequences, embedding_dim), NaN where a sequence has no vector."""
    if window.has_embedding.all():
        return window.embeddings
    return np.where(window.has_embedding[:, None], window.embeddings, np.float32(np.nan))
