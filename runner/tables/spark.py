"""Embed the rows of a Spark DataFrame in a running session; see `seqembed.spark.embed`."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from seqembed.data.keyword_types import checks_arguments
from seqembed.data.keywords import PathOrUri, in_python, several
from seqembed.runner.tables.partitions import PartitionEmbedder, not_a_table, partition_embedder
from seqembed.runner.tables.vectors import OnBadRowInMemory


@in_python("embed", "spark")
@checks_arguments
def embed(
    frame: Any,
    bundle: PathOrUri,
    keep: str | Sequence[str] = (),
    *,
    on_bad_row: OnBadRowInMemory = "fail",
    threads: int = 1,
) -> Any:
    """Return a Spark DataFrame with the id, kept columns and ``embedding`` of each row; it is computed when it is used.

    Its partitions are those of `frame`, with the rows in the same order. It works with Spark Connect, too. A worker
    loads the model once, and holds some windows of rows beside the memory of its executor: see
    ``spark.executor.memoryOverhead``.

    Args:
        frame: A DataFrame whose rows are sequences: array columns, or an array of structs (the nested layout, or
            grouped events, such as ``groupBy("id").agg(collect_list(...))``).
        bundle: Path or URI of an fp32 model, readable by this process; executors get its bytes from Spark.
        keep: Columns to copy.
        on_bad_row: For a row that is not a sequence: ``fail``, or a null vector and the reason in ``error`` (``null``).
        threads: Threads of each task; as many as ``spark.task.cpus`` of the session, which is warned of otherwise.

    Returns:
        The DataFrame; ``embedding`` is an array of float, null for a sequence without steps. Vectors are those of
        `seqembed run` within 1e-6. If the bundle has a decoder, ``reconstruction_error`` is a float, null where
        ``embedding`` is, and for a sequence without any known value.

    Raises:
        InputError: A column is missing, or the rows are single events.
        BundleError: The model cannot be loaded, or is int8.
        UsageError: A kept column is already a column of the result, an option is out of range or of another type, or
            the extra ``spark`` is missing.
    """
    from seqembed.runner.engines.spark import (
        arrow_schema,
        is_frame,
        map_in_arrow,
        note_fewer_cpus,
        ship,
        spark_schema,
    )

    if not is_frame(frame):
        raise not_a_table(frame, "a DataFrame of Spark")
    embedder, content = partition_embedder(arrow_schema(frame), bundle, several(keep), on_bad_row, threads, "Spark")
    note_fewer_cpus(frame.sparkSession, threads)
    name = ship(frame.sparkSession, content)
    return map_in_arrow(frame, partial(_embed_partition, embedder, name), spark_schema(embedder.columns))


def _embed_partition(
    embedder: PartitionEmbedder, bundle: str, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Embed a partition; runs in a worker of Spark."""
    from seqembed.runner.engines.spark import shipped

    return embedder(batches, lambda: shipped(bundle))
