"""Vectors that are not finite: a model that returns one has failed on that row, and it must not pass for a result."""

from dataclasses import replace

import numpy as np

from seqembed.data.ids import id_text
from seqembed.data.sequences import BadRow
from seqembed.data.source import Source
from seqembed.runner.engines.pipeline import EmbeddedWindow

REASON = "the model returned a vector that is not finite (NaN or ±inf)"


def refuse_not_finite(window: EmbeddedWindow, source: Source, first_row: int) -> EmbeddedWindow:
    """Return a window whose sequences without a finite vector are bad rows.

    Args:
        window: As it was embedded.
        source: Where its sequences come from; asked once more for the rows that become bad.
        first_row: Number of the row of the source that the window begins at.

    Raises:
        InputError: The source cannot be read any more.
    """
    failed = np.flatnonzero(window.has_embedding & ~np.isfinite(window.embeddings).all(axis=1))
    if not len(failed):
        return window
    block = window.block
    starts = first_row + np.cumsum(block.input_rows) - block.input_rows
    spans = [(int(starts[place]), int(starts[place] + block.input_rows[place])) for place in failed]
    raw = source.rows_again(spans)
    bad = dict(block.bad)
    for place, (row, _), columns in zip(failed.tolist(), spans, raw, strict=True):
        bad[place] = BadRow(row, id_text(block.ids[place]), REASON, columns)
    has_embedding, embeddings = window.has_embedding.copy(), window.embeddings.copy()
    has_embedding[failed], embeddings[failed] = False, 0
    return EmbeddedWindow(
        replace(block, bad=tuple(sorted(bad.items()))), embeddings, has_embedding, window.padded_steps
    )
