"""Treat rows whose vector is not finite as bad rows."""

from dataclasses import replace

import numpy as np

from seqembed.data.decode.ids import id_text
from seqembed.data.sequences import BadRow
from seqembed.data.source import Source
from seqembed.runner.engines.pipeline import EmbeddedWindow

REASON = "the model returned a vector that is not finite (NaN or ±inf)"


def refuse_not_finite(window: EmbeddedWindow, source: Source, first_row: int) -> EmbeddedWindow:
    """Return a window in which sequences without a finite vector are bad rows.

    Args:
        window: The embedded window.
        source: Source of its sequences, from which the rows that become bad are read again.
        first_row: Row of the source at which the window begins.

    Raises:
        InputError: The source can no longer be read.
    """
    num_sequences = window.block.num_sequences
    is_finite = [np.isfinite(array).reshape(num_sequences, -1).all(axis=1) for array in window.outputs.values()]
    failed = np.flatnonzero(window.has_embedding & ~np.logical_and.reduce(is_finite))
    if not len(failed):
        return window
    block = window.block
    starts = first_row + np.cumsum(block.input_rows) - block.input_rows
    spans = [(int(starts[index]), int(starts[index] + block.input_rows[index])) for index in failed]
    raw = source.rows_again(spans)
    bad = dict(block.bad)
    for index, (row, end), columns in zip(failed.tolist(), spans, raw, strict=True):
        bad[index] = BadRow(row, id_text(block.ids[index]), REASON, columns, end - row)
    has_embedding = window.has_embedding.copy()
    outputs = {name: array.copy() for name, array in window.outputs.items()}
    has_embedding[failed] = False
    for array in outputs.values():
        array[failed] = 0
    return EmbeddedWindow(replace(block, bad=tuple(sorted(bad.items()))), outputs, has_embedding, window.padded_steps)
