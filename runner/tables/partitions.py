"""Embed the partitions of a distributed table: what `seqembed.ray.embed` and `seqembed.spark.embed` share.

Partitions come in batches that an engine chooses, so the batches of the encoder differ from those of a run. A vector of
an fp32 model does not depend on them but for the last bits. Every vector of an int8 model does, since the values of a
batch share one scale.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from seqembed.data.decode.arrow import plain_type
from seqembed.data.errors import BundleError, InputError
from seqembed.data.keywords import PathOrUri
from seqembed.data.schema.check import as_stored
from seqembed.runner.bundle.bundle_file import bundle_sha256, read_bundle
from seqembed.runner.bundle.encoder import Encoder
from seqembed.runner.engines.rows import output_schema
from seqembed.runner.options import RunOptions
from seqembed.runner.tables.encoder import SequenceEncoder
from seqembed.runner.tables.vectors import OnBadRowInMemory, refuse_kept_twice, refuse_unknown

_encoders: dict[str, SequenceEncoder] = {}


@dataclass(frozen=True, slots=True)
class PartitionEmbedder:
    """Embeds the batches of a partition in the process of a worker; small and picklable.

    Attributes:
        sha256: sha256 of the bundle.
        source: Path or URI of the bundle, for messages.
        keep: Columns to copy.
        on_bad_row: ``fail``, or ``null`` for a null vector and the reason in a column ``error``.
        threads: Threads that embed.
        columns: Columns of the result, as Arrow types that every engine has.
    """

    sha256: str
    source: str
    keep: tuple[str, ...]
    on_bad_row: OnBadRowInMemory
    threads: int
    columns: pa.Schema

    def __call__(self, batches: Iterable[pa.RecordBatch], read_bundle: Callable[[], bytes]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the result, in order; nothing for a partition without batches.

        Raises:
            InputError, BadRowError, BundleError: See `SequenceEncoder.embed_batches`.
        """
        encoder = _shared_encoder(self.sha256, self.source, self.threads, read_bundle)
        for rows in encoder.embed_batches(batches, self.keep, on_bad_row=self.on_bad_row):
            columns = [rows.column(field.name).cast(field.type) for field in self.columns]
            yield pa.RecordBatch.from_arrays(columns, schema=self.columns)


def _shared_encoder(sha256: str, source: str, threads: int, read_bundle: Callable[[], bytes]) -> SequenceEncoder:
    """Return the encoder of a bundle, opened once in this process for consecutive partitions."""
    if sha256 not in _encoders:
        _encoders.clear()
        _encoders[sha256] = SequenceEncoder(Encoder.from_bytes(read_bundle(), source=source), threads)
    return _encoders[sha256]


def partition_embedder(
    columns: pa.Schema | None,
    bundle: PathOrUri,
    keep: tuple[str, ...],
    on_bad_row: OnBadRowInMemory,
    threads: int,
    engine: str,
) -> tuple[PartitionEmbedder, bytes]:
    """Check the columns of a table and the model, before any row is read.

    Args:
        columns: Columns of the table; None if it has neither rows nor columns, so that there is nothing to check.
        bundle: Path or URI of the model.
        keep: Columns to copy.
        on_bad_row: See `PartitionEmbedder`.
        threads: Threads of each worker.
        engine: Name of the engine, for messages.

    Returns:
        The embedder, and the bytes of the bundle.

    Raises:
        InputError: A column is missing, or the table holds single events.
        BundleError: The model cannot be loaded, or is int8.
        UsageError: A kept column is already a column of the result, or `threads` is below 1.
    """
    refuse_unknown(on_bad_row)
    options = RunOptions(keep=keep, on_bad_row=on_bad_row, threads=threads)
    content = read_bundle(bundle)
    encoder = Encoder.from_bytes(content, source=str(bundle))
    encoder.replay_golden()
    contract = encoder.contract
    if contract.precision == "int8":
        raise BundleError(
            f"{encoder.source}: an int8 model. Its vectors depend on the rows embedded in the same batch, and {engine} "
            f"forms batches anew each time. Use the fp32 model, or `seqembed run --engine {engine.lower()}`, whose "
            "batches are fixed."
        )
    needed = contract.schema.id, *contract.schema.feature_columns, *keep
    if columns is None:
        columns = pa.schema([(name, pa.null()) for name in dict.fromkeys(needed)])
    for name in needed:
        if name not in columns.names:
            raise InputError(
                f"the table has no column '{name}'. It has: {', '.join(columns.names)}. Give it the columns that the "
                "model was trained on, under their names."
            )
    if as_stored(contract.schema, columns).layout == "events":
        raise InputError(
            f"the table holds single events, and those of one '{contract.schema.id}' may lie in several partitions. "
            "Group them into one row per id first, for example with `seqembed group`."
        )
    refuse_kept_twice(contract.schema.id, keep)
    result = output_schema(columns, "the table", contract, contract.outputs, options)
    fields = [pa.field(field.name, _portable(field.type)) for field in result]
    sha256 = bundle_sha256(content)
    return PartitionEmbedder(sha256, encoder.source, keep, on_bad_row, threads, pa.schema(fields)), content


def not_a_table(found: object, expected: str) -> InputError:
    """Return the error for an object that is no table of an engine."""
    return InputError(
        f"found {type(found).__name__}; expected {expected}. For tables in memory use "
        "seqembed.load(…).embed_table, for files seqembed.run."
    )


def _portable(kind: pa.DataType) -> pa.DataType:
    """Return a plain type without fixed-size lists and large lists, which Spark does not have."""
    kind = plain_type(kind)
    return pa.list_(kind.value_type) if pa.types.is_fixed_size_list(kind) else kind
