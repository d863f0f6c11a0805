"""Embed the rows of a Ray Dataset, inside a pipeline of Ray Data; see `seqembed.ray.embed`."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from seqembed.data.errors import InputError, UsageError
from seqembed.data.keyword_types import checks_arguments
from seqembed.data.keywords import PathOrUri, in_python, several
from seqembed.runner.tables.partitions import PartitionEmbedder, not_a_table, partition_embedder
from seqembed.runner.tables.vectors import OnBadRowInMemory

_BATCH_ROWS = 4096


@in_python("embed")
@checks_arguments
def embed(
    dataset: Any,
    bundle: PathOrUri,
    keep: str | Sequence[str] = (),
    *,
    on_bad_row: OnBadRowInMemory = "fail",
    workers: int | tuple[int, int] = 1,
    threads: int = 1,
    batch_size: int = _BATCH_ROWS,
) -> Any:
    """Return a Ray Dataset with the id, kept columns and ``embedding`` of each row; it is computed when it is consumed.

    The rows of a block stay in order. Ray Data hands out blocks as they are finished, unless
    ``ray.data.DataContext.get_current().execution_options.preserve_order`` is set.

    Args:
        dataset: A `ray.data.Dataset` whose rows are sequences (the nested layout, or grouped events).
        bundle: Path or URI of an fp32 model.
        keep: Columns to copy.
        on_bad_row: For a row that is not a sequence: ``fail``, or a null vector and the reason in ``error`` (``null``).
        workers: Number of processes that embed, each with the model loaded once; or minimum and maximum.
        threads: Threads of each, and CPUs it reserves.
        batch_size: Rows embedded together; memory of a worker grows with it.

    Returns:
        The dataset; ``embedding`` is a list of float32, null for a sequence without steps. Vectors are those of
        `seqembed run` within 1e-6. If the bundle has a decoder, ``reconstruction_error`` is a float32, null where
        ``embedding`` is, and for a sequence without any known value. Ray Data gives a dataset without rows no columns.

    Raises:
        InputError: A column is missing, or the rows are single events.
        BundleError: The model cannot be loaded, or is int8.
        UsageError: A kept column is already a column of the result, or an option is out of range or of another type.
    """
    low, high = (workers, workers) if isinstance(workers, int) else workers
    if not 1 <= low <= high:
        raise UsageError(f"workers must be at least 1, or two numbers from 1 in ascending order, was {workers}.")
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, was {batch_size}.")
    from seqembed.runner.engines.ray import actors, is_dataset

    if not is_dataset(dataset):
        raise not_a_table(dataset, "a ray.data.Dataset")
    schema = dataset.schema()
    columns = None if schema is None else schema.base_schema
    if schema is not None and not isinstance(columns, pa.Schema):
        raise InputError(
            "the dataset has no Arrow columns. Read it with ray.data.read_parquet, or make it with ray.data.from_arrow."
        )
    embedder, content = partition_embedder(columns, bundle, several(keep), on_bad_row, threads, "Ray")
    return dataset.map_batches(
        _Worker,
        fn_constructor_args=(embedder, content),
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=actors(low, high),
        num_cpus=threads,
    )


class _Worker:
    """An actor of Ray Data that embeds batches."""

    def __init__(self, embedder: PartitionEmbedder, content: bytes) -> None:
        self._embedder, self._content = embedder, content

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = self._embedder(table.to_batches(), lambda: self._content)
        return pa.Table.from_batches(rows, self._embedder.columns)
