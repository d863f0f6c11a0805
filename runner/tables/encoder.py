"""The encoder for Python callers: embeds tables, with the same vectors as `seqembed run`."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.keyword_types import checks_arguments
from seqembed.data.keywords import PathOrUri, in_python, several
from seqembed.data.outputs import ModelOutput
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.engines.pipeline import EmbeddedWindow, Pipeline
from seqembed.runner.engines.rows import output_schema, rows_of
from seqembed.runner.engines.scores import outputs_of_run, profile_of
from seqembed.runner.options import RunOptions
from seqembed.runner.tables.arrays import ArraySource, array_source
from seqembed.runner.tables.arrow import ArrowData, ArrowStream
from seqembed.runner.tables.source import TableSource, batches_source, table_source
from seqembed.runner.tables.vectors import (
    OnBadRowInMemory,
    embedded_windows,
    refuse_kept_twice,
    refuse_unknown,
    vectors_of,
)

_SHOWN_NAMES = 8


class SequenceEncoder:
    """Embeds sequences; returned by `seqembed.load`, safe to use from several threads.

    Data is a table with the columns and in the layout that the model was trained on: any object with the Arrow
    PyCapsule interface (pyarrow, pandas 2.2 or later, polars, a DuckDB relation). If the model only reads numbers, it
    may also be a list of arrays (time, features). Vectors equal those of `seqembed run` for the same rows, to the last
    bit. Rows are decoded on a separate thread.

    Attributes:
        source: Path or URI of the bundle, without credentials.
        contract: Contract of the model.
        golden_difference: Difference of the golden sequences on this host, measured when the model was loaded.
    """

    def __init__(self, encoder: Encoder, threads: int) -> None:
        """Replay the golden sequences.

        Raises:
            BundleError: The golden sequences get other vectors on this host.
        """
        self._encoder, self._threads = encoder, threads
        self.source: str = encoder.source
        self.contract: ModelContract = encoder.contract
        self.golden_difference: float = encoder.replay_golden()

    def __repr__(self) -> str:
        """Return features, embedding_dim and precision."""
        fields = f", categories={_some(self.categories)}" if self.categories else ""
        return (
            f"SequenceEncoder({self.source!r}, layout={self.layout!r}, id={self.contract.schema.id!r}, "
            f"features={_some(self.features)}{fields}, embedding_dim={self.embedding_dim}, "
            f"precision={self.precision!r})"
        )

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the numeric features, in model order."""
        return self.contract.schema.feature_names

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categorical fields, in model order."""
        return tuple(field.name for field in self.contract.schema.categorical)

    @property
    def layout(self) -> str:
        """``nested`` if a row is a sequence, ``events`` if it is one step."""
        return self.contract.schema.layout

    @property
    def embedding_dim(self) -> int:
        """Width of a vector."""
        return self.contract.embedding_dim

    @property
    def precision(self) -> str:
        """``fp32`` or ``int8``."""
        return self.contract.precision

    @in_python("embed")
    @checks_arguments
    def embed(
        self, data: ArrowData | Sequence[ArrayLike], *, on_bad_row: OnBadRowInMemory = "fail"
    ) -> NDArray[np.float32]:
        """Return one vector per sequence, in order.

        Args:
            data: A table, or a list of arrays (time, features).
            on_bad_row: For a row that is not a sequence: ``fail``, or return a vector of NaN (``null``).

        Returns:
            float32 (sequences, embedding_dim), NaN for a sequence without steps.

        Raises:
            InputError: A column is missing or of a wrong type, or `data` is not a table.
            BadRowError: A row is not a sequence, and `on_bad_row` is ``fail``.
            BundleError: The model fails on these values.
        """
        windows = self._windows(self._source(data, ()), on_bad_row, outputs_of_run(self.contract, score=False))
        vectors = [vectors_of(window) for window in windows]
        return np.concatenate([np.empty((0, self.embedding_dim), dtype=np.float32), *vectors])

    @in_python("embed_table")
    @checks_arguments
    def embed_table(
        self,
        data: ArrowData | Sequence[ArrayLike],
        keep: str | Sequence[str] = (),
        *,
        on_bad_row: OnBadRowInMemory = "fail",
        score: bool = False,
    ) -> pa.Table:
        """Return a table with the columns that `seqembed run` writes: id, kept columns, ``embedding``, other outputs.

        Args:
            data: A table, or a list of arrays, whose ids are their indices.
            keep: Columns to copy; in the events layout, the value of the last event.
            on_bad_row: For a row that is not a sequence: ``fail``, or return a null vector and the reason in a column
                ``error`` (``null``).
            score: For a model with a decoder: return ``score`` and ``score_quantile``, as ``run --score`` does, instead
                of ``reconstruction_error``.

        Returns:
            Table (sequences); ``embedding`` is a list of fixed size, null for a sequence without steps.

        Raises:
            InputError, BadRowError, BundleError: See `embed`.
            UsageError: A kept column is already a column of the table.
            BundleError: `score` is asked of a model without a decoder.
        """
        source = self._source(data, several(keep))
        schema = self._columns(source, on_bad_row, score=score)
        return pa.Table.from_batches(self._rows(source, schema, on_bad_row), schema)

    @in_python("embed_batches")
    @checks_arguments
    def embed_batches(
        self,
        batches: ArrowStream | Iterable[ArrowData],
        keep: str | Sequence[str] = (),
        *,
        on_bad_row: OnBadRowInMemory = "fail",
        score: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Embed a stream in bounded memory, in order.

        Args:
            batches: Record batches or tables with the same columns, or one stream of them (`pyarrow.RecordBatchReader`,
                a DuckDB relation). They are read ahead on a separate thread. In the events layout an id may continue in
                the next batch.
            keep: See `embed_table`.
            on_bad_row: See `embed_table`.
            score: See `embed_table`.

        Returns:
            An iterator of record batches with the columns of `embed_table`; their sizes differ from those of the input.

        Raises:
            InputError, BadRowError, BundleError: See `embed`; columns are checked at once, rows while iterating.
            UsageError: A kept column is already a column of the result.
        """
        source = batches_source(batches, self.contract, several(keep))
        if source is None:
            return iter(())
        return self._batches(source, self._columns(source, on_bad_row, score=score), on_bad_row)

    def _batches(
        self, source: TableSource, schema: pa.Schema, on_bad_row: OnBadRowInMemory
    ) -> Iterator[pa.RecordBatch]:
        with in_python("embed_batches"):
            yield from self._rows(source, schema, on_bad_row)

    def _rows(
        self, source: TableSource | ArraySource, schema: pa.Schema, on_bad_row: OnBadRowInMemory
    ) -> Iterator[pa.RecordBatch]:
        for window in self._windows(source, on_bad_row):
            yield rows_of(window, source.name, schema, on_bad_row, self.contract.errors)

    def _source(self, data: ArrowData | Sequence[ArrayLike], keep: tuple[str, ...]) -> TableSource | ArraySource:
        if isinstance(data, list | tuple | np.ndarray):
            return array_source(data, self.contract, keep)
        return table_source(data, self.contract, keep)

    def _columns(self, source: TableSource | ArraySource, on_bad_row: OnBadRowInMemory, *, score: bool) -> pa.Schema:
        refuse_kept_twice(self.contract.schema.id, source.keep)
        refuse_unknown(on_bad_row)
        if score:
            profile_of(self.contract, self.source)
        options = RunOptions(keep=source.keep, on_bad_row=on_bad_row, score=score)
        return output_schema(source.columns(), source.name, self.contract, self.contract.outputs, options)

    def _windows(
        self,
        source: TableSource | ArraySource,
        on_bad_row: OnBadRowInMemory,
        outputs: Sequence[ModelOutput] | None = None,
    ) -> Iterator[EmbeddedWindow]:
        refuse_unknown(on_bad_row)
        with Pipeline(self._encoder, self._threads) as pipeline:
            yield from embedded_windows(source, pipeline, on_bad_row, outputs)


@in_python("load")
@checks_arguments
def load(model: PathOrUri, *, threads: int | None = None) -> SequenceEncoder:
    """Load a bundle of `seqembed export`, and check that it computes the same vectors on this host.

    Args:
        model: Path or URI.
        threads: Threads that embed; None for one per core. The vectors do not depend on it.

    Raises:
        BundleError: The file is missing, not a bundle, or was changed, or its golden sequences get other vectors here.
        UsageError: `threads` is below 1.
    """
    return SequenceEncoder(Encoder.open(model), RunOptions(threads=threads).num_threads)


def _some(found: Sequence[str]) -> str:
    shown = ", ".join(found[:_SHOWN_NAMES])
    return f"[{shown}]" if len(found) <= _SHOWN_NAMES else f"[{shown}, … {len(found):,} in total]"
