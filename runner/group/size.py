"""How large events are in memory, and how many buckets suit them."""

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from seqembed.data.files.inputs import InputFile
from seqembed.runner.group.carried import carrier_type
from seqembed.runner.group.columns import EventColumns

# Of a bucket in memory: small enough for DuckDB to sort without a file, large enough for few files.
_MAX_BUCKET_BYTES = 128 << 20
_MEMORY_SHARE = 1 / 8
_MAX_AUTO = 1024
_OFFSET_BYTES = 8
_SHORT_TEXT_BYTES = 8


class SizedFile(Protocol):
    """A file with a known number of rows."""

    @property
    def file(self) -> InputFile:
        """The file."""

    @property
    def num_rows(self) -> int:
        """Its rows."""


def event_bytes(files: Sequence[SizedFile], columns: EventColumns) -> float:
    """Return the approximate bytes of an event as it travels, from the types and the footer of the largest file."""
    kinds = [carrier_type(field.type) for field in columns.all]
    fixed = sum(_width(kind) for kind in kinds) + 8
    text = [field.name for field, kind in zip(columns.all, kinds, strict=True) if not _width(kind)]
    largest = max(files, key=lambda file: file.num_rows)
    if not text or not largest.num_rows:
        return float(fixed)
    metadata, stored = largest.file.open().metadata, 0
    for group in range(metadata.num_row_groups):
        chunks = [metadata.row_group(group).column(index) for index in range(metadata.num_columns)]
        stored += sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in text)
    # Parquet stores repeated text once, so that its size is a lower bound.
    return fixed + max(stored / largest.num_rows, len(text) * _SHORT_TEXT_BYTES) + len(text) * _OFFSET_BYTES


def _width(kind: pa.DataType) -> int:
    """Return the bytes of a value; 0 if they differ."""
    if pa.types.is_nested(kind) or pa.types.is_large_binary(kind):
        return 0
    return max(1, int(kind.bit_width) // 8)


def suitable_buckets(num_bytes: float, memory_bytes: int) -> int:
    """Return the number of buckets for data of `num_bytes`: a power of two, so that doubling cuts each in two."""
    most = min(memory_bytes * _MEMORY_SHARE, _MAX_BUCKET_BYTES)
    buckets = 1
    while buckets < _MAX_AUTO and num_bytes / buckets > most:
        buckets *= 2
    return buckets
