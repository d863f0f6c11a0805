"""Write a block of sequences to Parquet and read it back: the sample that lies beside a trained model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seqembed.data.listing import resolve_inputs
from seqembed.data.reader import read_blocks
from seqembed.data.schema import CategoricalField, Feature, SequenceSchema
from seqembed.data.sequences import SequenceBlock, concatenate


def write_sequences(path: Path, block: SequenceBlock, schema: SequenceSchema) -> None:
    """Write `block` as Parquet: the id column, one list<float> column a feature and one list<int32> column a field.

    Features and fields stand there as the model reads them, features made of times and ids included, in columns named
    like them. So the sample can be read without the time column and the vocabularies.
    """
    offsets = pa.array(block.offsets, pa.int64())
    columns = {schema.id: block.ids}
    for index, name in enumerate(schema.feature_names):
        columns[name] = pa.LargeListArray.from_arrays(offsets, pa.array(block.values[:, index]))
    for index, field in enumerate(schema.categorical):
        columns[field.name] = pa.LargeListArray.from_arrays(offsets, pa.array(block.categories[:, index]))
    pq.write_table(pa.table(columns), path, compression="zstd")


def read_sequences(path: Path) -> tuple[SequenceBlock, SequenceSchema]:
    """Read what `write_sequences` wrote.

    Returns:
        The sequences, ids of categories included, and a schema in which each feature and each field is a column of its
        own; the fields have no vocabulary, since their ids are what the file holds.

    Raises:
        InputError: The file is missing or damaged.
    """
    (file,) = resolve_inputs([str(path)])
    id_column, *columns = file.open().schema_arrow
    is_field = [pa.types.is_large_list(column.type) and column.type.value_type == pa.int32() for column in columns]
    # Ids are read as the numbers they are: float32 holds them exactly (`seqembed.data.learn.MAX_VOCABULARY`).
    numbers = tuple(Feature(column.name, column.name) for column in columns)
    block = concatenate(list(read_blocks(file, SequenceSchema(id_column.name, numbers, "nested"))))
    fields = np.array(is_field, dtype=bool)
    schema = SequenceSchema(
        id_column.name,
        tuple(feature for feature, is_one in zip(numbers, is_field, strict=True) if not is_one),
        "nested",
        categorical=tuple(
            CategoricalField(feature.name, feature.column)
            for feature, is_one in zip(numbers, is_field, strict=True)
            if is_one
        ),
    )
    return replace(block, values=block.values[:, ~fields], categories=block.values[:, fields].astype(np.int32)), schema
