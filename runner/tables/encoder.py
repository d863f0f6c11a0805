"""The encoder that Python callers load: tables in, vectors out, as `seqembed run` writes them."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from seqembed.data.contract import ModelContract
from seqembed.data.errors import UsageError
from seqembed.data.keywords import PathOrUri, in_python, several
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.engines.pipeline import EmbeddedWindow, Pipeline
from seqembed.runner.engines.rows import output_schema, rows_of
from seqembed.runner.options import RunOptions, usable_cores
from seqembed.runner.tables.arrays import ArraySource, array_source
from seqembed.runner.tables.arrow import ArrowData, ArrowStream
from seqembed.runner.tables.source import TableSource, batches_source, table_source
from seqembed.runner.tables.vectors import OnBadRowInMemory, embedded_windows, refuse_unknown, vectors_of

_SHOWN_NAMES = 8


class SequenceEncoder:
    """A model that turns sequences into vectors; made by `seqembed.load`, safe to use from several threads.

    Data is a table with the columns that the model was trained on, in the layout that it was trained on: anything with
    the Arrow PyCapsule interface (pyarrow, pandas 2.2 or later, polars, a DuckDB relation). Where the model reads
    numbers alone, it may be a list of arrays (time, features) instead. Vectors are those that `seqembed run` writes for
    the same rows, to the last bit. Rows are decoded on a thread of their own.

    Attributes:
        source: Path or URI of the bundle, without credentials.
        contract: What the model was trained on and how it was checked.
        golden_difference: How far the golden sequences were off on this host when the model was loaded.
    """

    def __init__(self, encoder: Encoder, threads: int) -> None:
        """Replay the golden sequences.

        Raises:
            BundleError: This host computes other vectors than the exporter did.
        """
        self._encoder, self._threads = encoder, threads
        self.source: str = encoder.source
        self.contract: ModelContract = encoder.contract
        self.golden_difference: float = encoder.replay_golden()

    def __repr__(self) -> str:
        """Return what goes in, what comes out."""
        fields = f", categories={_some(self.categories)}" if self.categories else ""
        return (
            f"SequenceEncoder({self.source!r}, layout={self.layout!r}, id={self.contract.schema.id!r}, "
            f"features={_some(self.features)}{fields}, embedding_dim={self.embedding_dim}, "
            f"precision={self.precision!r})"
        )

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the numbers of a step, in model order."""
        return self.contract.schema.feature_names

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categorical fields of a step, in model order."""
        return tuple(field.name for field in self.contract.schema.categorical)

    @property
    def layout(self) -> str:
        """``nested`` where a row is a sequence, ``events`` where it is one step."""
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
    def embed(
        self, data: ArrowData | Sequence[ArrayLike], *, on_bad_row: OnBadRowInMemory = "fail"
    ) -> NDArray[np.float32]:
        """Return one vector per sequence, in order.

        Args:
            data: A table, or a list of arrays (time, features).
            on_bad_row: ``fail`` at a row that is no sequence, or give it a vector of NaN (``null``).

        Returns:
            float32 (sequences, embedding_dim), NaN where a sequence has no step.

        Raises:
            InputError: A column is missing or of a wrong type, or `data` is no table.
            BadRowError: A row is no sequence, and `on_bad_row` is ``fail``.
            BundleError: The model fails on these values.
        """
        windows = self._windows(self._source(data, ()), on_bad_row)
        vectors = [vectors_of(window) for window in windows]
        return np.concatenate([np.empty((0, self.embedding_dim), dtype=np.float32), *vectors])

    @in_python("embed_table")
    def embed_table(
        self,
        data: ArrowData | Sequence[ArrayLike],
        keep: str | Sequence[str] = (),
        *,
        on_bad_row: OnBadRowInMemory = "fail",
    ) -> pa.Table:
        """Return a table with the columns of a part of `seqembed run`: id, kept columns, ``embedding``, other outputs.

        Args:
            data: A table, or a list of arrays, whose ids are their indices in it.
            keep: Columns to carry along; events give the value of the last.
            on_bad_row: ``fail`` at a row that is no sequence, or keep it with a null vector and the reason in a column
                ``error`` (``null``).

        Returns:
            Table (sequences); ``embedding`` is a list of fixed size, null where a sequence has no step.

        Raises:
            InputError, BadRowError, BundleError: See `embed`.
            UsageError: A kept column would stand in the table twice.
        """
        source = self._source(data, several(keep))
        schema = self._columns(source, on_bad_row)
        rows = [rows_of(window, source.name, schema, on_bad_row) for window in self._windows(source, on_bad_row)]
        return pa.Table.from_batches(rows, schema)

    @in_python("embed_batches")
    def embed_batches(
        self,
        batches: ArrowStream | Iterable[ArrowData],
        keep: str | Sequence[str] = (),
        *,
        on_bad_row: OnBadRowInMemory = "fail",
    ) -> Iterator[pa.RecordBatch]:
        """Embed a stream in bounded memory, in order.

        Args:
            batches: Record batches or tables with the same columns, or one stream of them (`pyarrow.RecordBatchReader`,
                a DuckDB relation). They are read on a thread of their own, some ahead of what is yielded. In the events
                layout an id may go on in the next batch.
            keep: As for `embed_table`.
            on_bad_row: As for `embed_table`.

        Returns:
            An iterator of record batches with the columns of `embed_table`, cut as the model likes, not as they came.

        Raises:
            InputError, BadRowError, BundleError: See `embed`; columns are checked at once, rows as they come.
            UsageError: A kept column would stand in the result twice.
        """
        source = batches_source(batches, self.contract, several(keep))
        if source is None:
            return iter(())
        return self._rows(source, self._columns(source, on_bad_row), on_bad_row)

    def _rows(self, source: TableSource, schema: pa.Schema, on_bad_row: OnBadRowInMemory) -> Iterator[pa.RecordBatch]:
        with in_python("embed_batches"):
            for window in self._windows(source, on_bad_row):
                yield rows_of(window, source.name, schema, on_bad_row)

    def _source(self, data: ArrowData | Sequence[ArrayLike], keep: tuple[str, ...]) -> TableSource | ArraySource:
        if isinstance(data, list | tuple | np.ndarray):
            return array_source(data, self.contract, keep)
        return table_source(data, self.contract, keep)

    def _columns(self, source: TableSource | ArraySource, on_bad_row: OnBadRowInMemory) -> pa.Schema:
        id_name = self.contract.schema.id
        standing = [id_name, *source.keep]
        twice = next((name for name in standing if standing.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"--keep {twice}: that column is in the output already. Name it once.")
        refuse_unknown(on_bad_row)
        options = RunOptions(keep=source.keep, on_bad_row=on_bad_row)
        return output_schema(source.columns(), source.name, self.contract, options)

    def _windows(self, source: TableSource | ArraySource, on_bad_row: OnBadRowInMemory) -> Iterator[EmbeddedWindow]:
        refuse_unknown(on_bad_row)
        with Pipeline(self._encoder, self._threads) as pipeline:
            yield from embedded_windows(source, pipeline, on_bad_row)


@in_python("load")
def load(model: PathOrUri, *, threads: int | None = None) -> SequenceEncoder:
    """Load a bundle that `seqembed export` made, and check that it computes the same vectors on this host.

    Args:
        model: Path or URI.
        threads: Threads that embed; None is one per core. The vectors do not depend on it.

    Raises:
        BundleError: The file is missing, no bundle, was changed, or its golden sequences come out differently here.
        UsageError: `threads` is below 1.
    """
    options = RunOptions(threads=usable_cores() if threads is None else threads)
    return SequenceEncoder(Encoder.open(model), options.threads)


def _some(found: Sequence[str]) -> str:
    shown = ", ".join(found[:_SHOWN_NAMES])
    return f"[{shown}]" if len(found) <= _SHOWN_NAMES else f"[{shown}, … {len(found):,} in all]"
