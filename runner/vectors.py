"""Embedded windows as the rows and arrays that Python callers get: what a part of a run holds, in memory."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.errors import BadRowError
from seqembed.data.ids import id_text, quoted_id
from seqembed.data.sequences import BadRow, SequenceBlock
from seqembed.runner.engines.local import EmbeddedWindow
from seqembed.runner.finite import REASON

OnBadRowInMemory = Literal["fail", "null"]
ON_BAD_ROW_IN_MEMORY: tuple[OnBadRowInMemory, ...] = ("fail", "null")


def refuse_bad(blocks: Iterator[SequenceBlock], name: str) -> Iterator[SequenceBlock]:
    """Yield blocks up to the first row that is no sequence.

    Raises:
        BadRowError: There is one.
    """
    for block in blocks:
        _refuse_first(block, name)
        yield block


def with_finite_vectors(
    windows: Iterator[EmbeddedWindow], name: str, on_bad_row: OnBadRowInMemory
) -> Iterator[EmbeddedWindow]:
    """Yield windows in which a sequence without a finite vector is a bad row.

    Raises:
        BadRowError: There is one, and `on_bad_row` says ``fail``.
    """
    first_row = 0
    for window in windows:
        finite = _only_finite(window, first_row)
        first_row += window.block.num_rows
        if on_bad_row == "fail":
            _refuse_first(finite.block, name)
        yield finite


def _only_finite(window: EmbeddedWindow, first_row: int) -> EmbeddedWindow:
    failed = np.flatnonzero(window.has_embedding & ~np.isfinite(window.embeddings).all(axis=1))
    if not len(failed):
        return window
    block, has_embedding = window.block, window.has_embedding.copy()
    has_embedding[failed] = False
    starts = first_row + np.cumsum(block.input_rows) - block.input_rows
    bad = dict(block.bad)
    for place in failed.tolist():
        nothing = pa.RecordBatch.from_pydict({})  # no quarantine takes it
        bad[place] = BadRow(int(starts[place]), id_text(block.ids[place]), REASON, nothing)
    return replace(window, block=replace(block, bad=tuple(sorted(bad.items()))), has_embedding=has_embedding)


def _refuse_first(block: SequenceBlock, name: str) -> None:
    if block.bad:
        _, bad = block.bad[0]
        raise BadRowError(
            f"{name}: row {bad.row} (id {quoted_id(bad.id)}): {bad.reason}. Fix the row, or pass on_bad_row='null'."
        )


def vectors_of(window: EmbeddedWindow) -> NDArray[np.float32]:
    """Return float32 (sequences, embedding_dim), NaN where a sequence has no vector."""
    if window.has_embedding.all():
        return window.embeddings
    return np.where(window.has_embedding[:, None], window.embeddings, np.float32(np.nan))


def rows_of(window: EmbeddedWindow, schema: pa.Schema) -> pa.RecordBatch:
    """Return id, kept columns, embedding and, where `schema` has it, the error, one row per sequence."""
    missing = None if window.has_embedding.all() else pa.array(~window.has_embedding)
    numbers = pa.array(np.where(window.has_embedding[:, None], window.embeddings, 0).ravel(), pa.float32())
    embedding = pa.FixedSizeListArray.from_arrays(numbers, type=schema.field("embedding").type, mask=missing)
    columns = [window.block.ids, *window.block.kept.values(), embedding]
    if len(columns) < len(schema):
        reasons: list[str | None] = [None] * window.block.num_sequences
        for place, row in window.block.bad:
            reasons[place] = row.reason
        columns.append(pa.array(reasons, pa.string()))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
